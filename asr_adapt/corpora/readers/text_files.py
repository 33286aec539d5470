"""Recordings in a folder, each with a `.txt` of the same stem beside it; subfolders named as splits are splits."""

import logging
from collections.abc import Iterator
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora.provenance import Drafts, Span
from asr_adapt.corpora.readers import audacity
from asr_adapt.corpora.splits import innermost_split
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance
from asr_adapt.storage import read_text

LAYOUT = "recordings with a .txt of the same name beside each"
_log = logging.getLogger(__name__)


def recognises(root: Path) -> bool:
    """Whether some recording in `root` has a text beside it."""
    recordings = {path.with_suffix("") for path in media.below(root, media.SUFFIXES)}
    return any(
        path.with_suffix("") in recordings and not audacity.is_labels(path) for path in media.below(root, (".txt",))
    )


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield an utterance for each recording that has a text; its lines are one transcript.

    Of one recording in two formats (`a.wav`, `a.mp3`) the first of `media.SUFFIXES` is taken.

    Raises:
        InputError: a text is not UTF-8 or UTF-16.
    """
    recordings = media.below(root, media.SUFFIXES)
    written = [path for path in recordings if path.with_suffix(".txt").is_file() and path == media.beside(path)]
    stems = {path.with_suffix("") for path in written}
    silent = [path for path in recordings if path.with_suffix("") not in stems]
    if silent:
        _log.warning("%s: %d recordings have no .txt beside them, the first: %s", root, len(silent), silent[0])
    drafts = Drafts()
    for path in written:
        place = path.with_suffix(".txt")
        text = " ".join(read_text(place).split("\n")).replace("\r", "").strip()
        yield Utterance(
            id=path.relative_to(root).as_posix(),
            audio=str(path),
            split=innermost_split(path.relative_to(root).parts[:-1], source.splits),
            language=language,
            text=text,
            provenance=drafts.judge(place, [Span(0, 0, text)])[0],
        )
