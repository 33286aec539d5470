"""Recordings in one folder and their texts in another beside it: `wav/a.wav` and `txt/a.txt`, as in VCTK."""

import logging
from collections.abc import Iterator
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.provenance import Drafts, Span
from asr_adapt.corpora.splits import innermost_split
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance
from asr_adapt.storage import read_text

LAYOUT = "a folder of texts (txt/) beside one of recordings (wav/), with the same names"
_TEXT_FOLDERS = frozenset(("txt", "text", "texts", "transcript", "transcripts", "transcription", "transcriptions"))
_log = logging.getLogger(__name__)


def recognises(root: Path) -> bool:
    """Whether some text in such a folder has a recording of its name in another folder."""
    if not root.is_dir():
        return False
    texts = {path.with_suffix("") for path in _texts(root)}
    recordings = {path.with_suffix("") for path in media.below(root, media.SUFFIXES)} if texts else set()
    return not texts & recordings and bool({path.name for path in texts} & {path.name for path in recordings})


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield an utterance for each text that has a recording; its lines are one transcript.

    Raises:
        InputError: a text is not UTF-8 or UTF-16, or a name fits two recordings.
    """
    finder, drafts = AudioFinder(root), Drafts()
    alone: list[Path] = []
    for path in _texts(root):
        relative = path.relative_to(root)
        depth = max(i for i, part in enumerate(relative.parts[:-1]) if part.lower() in _TEXT_FOLDERS)
        name = Path(*relative.parts[depth + 1 :]).with_suffix("").as_posix()
        audio = finder.find(name, path, root.joinpath(*relative.parts[:depth]))
        if not Path(audio).is_file():
            alone.append(path)
            continue
        text = " ".join(read_text(path).split())
        yield Utterance(
            id=Path(audio).relative_to(root).as_posix(),
            audio=audio,
            split=innermost_split(relative.parts[:-1], source.splits),
            language=language,
            text=text,
            provenance=drafts.judge(path, [Span(0, 0, text)])[0],
        )
    if alone:
        _log.warning("%s: %d texts have no recording, the first: %s", root, len(alone), alone[0])


def _texts(root: Path) -> list[Path]:
    found = media.below(root, (".txt",))
    return [path for path in found if _TEXT_FOLDERS & {part.lower() for part in path.relative_to(root).parts[:-1]}]
