"""Kaldi data folders: `wav.scp` and `text`, with `segments` and `utt2spk` where there are some.

`root` is one such folder, or holds one for each split (`train`, `dev`, `test`, also with a suffix: `train_clean_5`).
https://kaldi-asr.org/doc/data_prep.html
"""

import shlex
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.splits import parts_by_split
from asr_adapt.corpora.times import seconds
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import LeftOut, Split, Utterance
from asr_adapt.storage import iterate_lines

LAYOUT = "wav.scp and text, in the folder or in one for each split"
# Paths are relative to where Kaldi's scripts are run: often two folders above data/train.
_LEVELS_UP = 3
# Commands that only unpack: the file itself is read.
_PLAIN = {"cat": set(), "flac": {"-c", "-d", "-s", "-cd", "-dc", "-cds", "--stdout", "--decode", "--silent"}}


def recognises(root: Path) -> bool:
    """Whether `root` is a data folder or holds some."""
    return bool(_folders(root))


def read(root: Path, language: str, source: Source) -> Generator[Utterance, None, Sequence[LeftOut]]:
    """Yield the utterances of `text`, in each data folder.

    Raises:
        InputError: a line of a table is cut short, an utterance has no recording, or a recording is the output of
            a command.
    """
    finder = AudioFinder(root, above=_LEVELS_UP)
    folders = _folders(root)
    if folders == [root]:
        yield from _utterances(root, None, language, finder)
        return []
    splits, unused = parts_by_split([folder.name for folder in folders], source.splits, unknown_is_train=True)
    for folder in folders:
        if folder.name in splits:
            yield from _utterances(folder, splits[folder.name], language, finder)
    return [
        LeftOut.of("split", folder.name, [folder], utterances=sum(1 for _ in iterate_lines(folder / "text")))
        for folder in folders
        if folder.name in unused and (folder / "text").is_file()
    ]


def _folders(root: Path) -> list[Path]:
    """Return the data folders."""
    if not root.is_dir():
        return []
    if (root / "wav.scp").is_file():
        return [root]
    return [path.parent for path in media.visible(root, "*/wav.scp")]


def _utterances(folder: Path, split: Split | None, language: str, finder: AudioFinder) -> Iterator[Utterance]:
    recordings = _Table(folder / "wav.scp", columns=2)
    segments = _Table(folder / "segments", columns=4) if (folder / "segments").is_file() else None
    speakers = _Table(folder / "utt2spk", columns=2) if (folder / "utt2spk").is_file() else None
    for place, name, text in _rows(folder / "text", columns=1):
        start_s = end_s = None
        recording = name
        if segments:
            if (row := segments.take(name)) is None:
                raise InputError(f"utterance '{name}' is not in segments", place=place)
            place, (recording, start, end) = row
            start_s = seconds(start, "start", place)
            end_s = None if end.startswith("-") else seconds(end, "end", place)  # -1: to the recording's end
        # Segments name a recording again and again; without them each recording is an utterance.
        if (where := recordings.get(recording) if segments else recordings.take(recording)) is None:
            raise InputError(f"recording '{recording}' is not in wav.scp", place=place)
        spoken = speakers.take(name) if speakers else None
        yield utterance_at(
            place,
            id=name,
            audio=_audio(finder, folder, *where),
            start_s=start_s,
            end_s=end_s,
            split=split,
            language=language,
            speaker=spoken[1][0] if spoken else None,
            text=text[0] if text else "",
        )
    for table in (recordings, segments, speakers):
        if table:
            table.finish()


class _Table:
    """Rows by their first column, which is found once in each table.

    Kaldi sorts its tables alike, so that a row is found soon after the one before it; only rows that come too early
    are kept. Unsorted tables take more memory.
    """

    def __init__(self, path: Path, columns: int) -> None:
        self._rows = _rows(path, columns)
        self._kept: dict[str, tuple[str, list[str]]] = {}
        self._seen: set[int] = set()  # hashes of names: 60 MB for a million

    def take(self, name: str) -> tuple[str, list[str]] | None:
        """Return `(place, the other columns)` of a row that is asked for once."""
        return self._kept.pop(name, None) or self._advance(name)

    def get(self, name: str) -> tuple[str, list[str]] | None:
        """Return `(place, the other columns)` of a row that is asked for any number of times."""
        if name not in self._kept and (row := self._advance(name)) is not None:
            self._kept[name] = row
        return self._kept.get(name)

    def finish(self) -> None:
        """Read what is left, whose names may be duplicates."""
        for place, name, _ in self._rows:
            self._once(name, place)

    def _advance(self, wanted: str) -> tuple[str, list[str]] | None:
        for place, name, fields in self._rows:
            self._once(name, place)
            if name == wanted:
                return place, fields
            self._kept[name] = place, fields
        return None

    def _once(self, name: str, place: str) -> None:
        if hash(name) in self._seen:
            raise InputError(f"'{name}' occurs twice", place=place)
        self._seen.add(hash(name))


def _rows(path: Path, columns: int) -> Iterator[tuple[str, str, list[str]]]:
    """Yield `(place, first column, the other columns)`; the last column holds all that is left of the line."""
    if not path.is_file():
        raise InputError("is missing", place=path)
    for number, line in iterate_lines(path):
        if not line.strip():
            continue
        name, *fields = line.strip().split(maxsplit=max(1, columns - 1))
        if len(fields) < columns - 1:
            raise InputError(f"{1 + len(fields)} columns where there must be {columns}", place=f"{path}:{number}")
        yield f"{path}:{number}", name, fields


def _audio(finder: AudioFinder, folder: Path, place: str, fields: list[str]) -> str:
    name = fields[0].strip()
    if name.endswith("|"):
        name = _unpacked_by(name.removesuffix("|"), place)
    return finder.find(name, place, folder)


def _unpacked_by(command: str, place: str) -> str:
    """Return the file that a plain command unpacks, such as `flac -c -d -s a.flac`."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    program = Path(words[0]).name if words else ""
    files = [word for word in words[1:] if not word.startswith("-")]
    if program in _PLAIN and len(files) == 1 and {*words[1:]} - {*files} <= _PLAIN[program]:
        return files[0]
    raise InputError(
        f"the recording is a command's output: {command.strip()!r}",
        place=place,
        remedy="Commands are not run: write its output to a file, and the file's path here.",
    )
