"""Kaldi data folders: `wav.scp` and `text`, with `segments` and `utt2spk` where there are some.

`root` is one such folder, or holds one for each split (`train`, `dev`, `test`, also with a suffix: `train_clean_5`).
https://kaldi-asr.org/doc/data_prep.html
"""

import shlex
from collections.abc import Iterator
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.splits import split_named
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import Split, Utterance
from asr_adapt.storage import read_lines

LAYOUT = "wav.scp and text, in the folder or in one for each split"
# Paths are relative to where Kaldi's scripts are run: often two folders above data/train.
_LEVELS_UP = 3
# Commands that only unpack: the file itself is read.
_PLAIN = {"cat": set(), "flac": {"-c", "-d", "-s", "-cd", "-dc", "-cds", "--stdout", "--decode", "--silent"}}


def recognises(root: Path) -> bool:
    """Whether `root` is a data folder or holds some."""
    return bool(_folders(root))


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the utterances of `text`, in each data folder.

    Raises:
        InputError: a line of a table is cut short, an utterance has no recording, or a recording is the output of
            a command.
    """
    finder = AudioFinder(root, above=_LEVELS_UP)
    for split, folder in _folders(root):
        yield from _utterances(folder, split, language, finder)


def _folders(root: Path) -> list[tuple[Split | None, Path]]:
    """Return the data folders; where some are named as splits, those alone."""
    if not root.is_dir():
        return []
    if (root / "wav.scp").is_file():
        return [(None, root)]
    folders = [(split_named(path.parent.name), path.parent) for path in media.visible(root, "*/wav.scp")]
    return [pair for pair in folders if pair[0]] or folders


def _utterances(folder: Path, split: Split | None, language: str, finder: AudioFinder) -> Iterator[Utterance]:
    recordings = _table(folder / "wav.scp", columns=2)
    pieces = _table(folder / "segments", columns=4) if (folder / "segments").is_file() else {}
    speakers = _table(folder / "utt2spk", columns=2) if (folder / "utt2spk").is_file() else {}
    for name, (place, said) in _table(folder / "text", columns=1).items():
        start_s = end_s = None
        recording = name
        if pieces:
            if name not in pieces:
                raise InputError(f"utterance '{name}' is not in segments", place=place)
            place, (recording, start, end) = pieces[name]
            start_s, end_s = start, None if end.startswith("-") else end  # -1: to the recording's end
        if recording not in recordings:
            raise InputError(f"recording '{recording}' is not in wav.scp", place=place)
        yield utterance_at(
            place,
            id=name,
            audio=_audio(finder, folder, *recordings[recording]),
            start_s=start_s,
            end_s=end_s,
            split=split,
            language=language,
            speaker=speakers[name][1][0] if name in speakers else None,
            text=said[0] if said else "",
        )


def _table(path: Path, columns: int) -> dict[str, tuple[str, list[str]]]:
    """Return first column → `(place, the other columns)`; the last column holds all that is left of the line."""
    rows: dict[str, tuple[str, list[str]]] = {}
    if not path.is_file():
        raise InputError("is missing", place=path)
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        name, *fields = line.strip().split(maxsplit=max(1, columns - 1))
        if len(fields) < columns - 1:
            raise InputError(f"{1 + len(fields)} columns where there must be {columns}", place=place)
        if name in rows:
            raise InputError(f"'{name}' stands twice", place=place)
        rows[name] = place, fields
    return rows


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
