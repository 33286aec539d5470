"""LibriSpeech's tree and Multilingual LibriSpeech's.

LibriSpeech (Panayotov et al. 2015): `train-clean-100/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt`, with the clips
beside it. MLS (Pratap et al. 2020, arXiv:2012.03411): `train/transcripts.txt` and
`train/audio/SPEAKER/BOOK/SPEAKER_BOOK_NUMBER.flac`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora.splits import innermost_split
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source, Splits
from asr_adapt.records import Split, Utterance
from asr_adapt.storage import read_lines

_PART = re.compile(r"^(?:train|dev|test)-(?:clean|other).*")
LAYOUT = "LibriSpeech's SPEAKER/CHAPTER/*.trans.txt, or MLS's transcripts.txt beside audio/"


def recognises(root: Path) -> bool:
    """Whether one of the two kinds of transcripts is somewhere below."""
    return root.is_dir() and bool(_mls(root) or _transcripts(root))


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the utterances; a folder on the way that is named as a split says which it is.

    Raises:
        InputError: a line has no transcript, or names no clip as the tree does.
    """
    for table in _mls(root):
        for place, name, text in _lines(table):
            parts = name.split("_")
            if len(parts) < 3:
                raise InputError(f"'{name}' is not SPEAKER_BOOK_NUMBER", place=place)
            clip = media.beside(table.parent / "audio" / parts[0] / parts[1] / f"{name}.flac")
            yield _utterance(name, clip, _split(root, table, source.splits), language, parts[0], text)
    for table in _transcripts(root):
        for _, name, text in _lines(table):
            clip = media.beside(table.parent / f"{name}.flac")
            yield _utterance(name, clip, _split(root, table, source.splits), language, name.partition("-")[0], text)


def _transcripts(root: Path) -> list[Path]:
    return [path for path in media.below(root, (".txt",)) if path.name.endswith(".trans.txt")]


def _mls(root: Path) -> list[Path]:
    return [
        path
        for path in (*media.visible(root, "transcripts.txt"), *media.visible(root, "*/transcripts.txt"))
        if (path.parent / "audio").is_dir()
    ]


def _lines(table: Path) -> Iterator[tuple[str, str, str]]:
    """Yield `(place, clip, transcript)`."""
    for number, line in enumerate(read_lines(table), start=1):
        if line.strip():
            name, *text = line.split(maxsplit=1)
            yield f"{table}:{number}", name, text[0].strip() if text else ""


def _split(root: Path, table: Path, choice: Splits) -> Split | None:
    """Return the split of the innermost folder named as one; `root` itself counts where it is LibriSpeech's."""
    return innermost_split([*_PART.findall(root.name), *table.relative_to(root).parts[:-1]], choice)


def _utterance(name: str, clip: Path, split: Split | None, language: str, speaker: str, text: str) -> Utterance:
    return Utterance(id=name, audio=str(clip), split=split, language=language, speaker=speaker, text=text)
