"""The recordings that a corpus names: one rule for every reader.

Corpora are moved: between folders, machines and operating systems. A name is looked for, in this order,

1. as it is written: absolute, or relative to the file that names it, or to the corpus's folder;
2. in `clips/`, `audio/`, `audios/`, `wav/` and `wavs/`, there;
3. in those places with another audio suffix, or with one where the name has none;
4. anywhere below the corpus's folder, by its base name and as many of its folders as fit. This finds
   `C:\\Users\\anna\\corpus\\wav\\a.wav` in `wav/a.wav`.

What is nowhere keeps its first place, and is listed when it is decoded. URLs of object stores (`s3://`) stay as they
are.
"""

# os.path takes a third of the time of Path, and a corpus may name a million files.
# ruff: noqa: PTH111, PTH113, PTH120, PTH122
import ntpath
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

from asr_adapt import audio, remote
from asr_adapt.audio import media
from asr_adapt.errors import AudioError, InputError
from asr_adapt.records import Utterance

FOLDERS = ("clips", "audio", "audios", "wav", "wavs")
_MOST_FILES = 2_000_000  # below a root; a table on a network drive's top level must not search all of the drive
_MOST_REMEMBERED = 100_000  # names; a long recording is named by many rows that follow one another
_ADDRESS = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+://")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_RANK = {suffix: number for number, suffix in enumerate(media.SUFFIXES, start=2)}


class AudioFinder:
    """Finds recordings below one root. Its index of the files there is made once, when a name is not in its place.

    Args:
        root: The corpus's folder, or a file in it.
        above: How many folders above the naming file's are places for relative paths, too.
    """

    def __init__(self, root: Path, above: int = 0) -> None:
        self._root = root.parent if root.is_file() else root
        self._above = above
        self._outermost = [self._root, *self._root.absolute().parents[:above]][-1]
        self._remembered: dict[tuple[Path, str], str] = {}
        self._places: dict[Path, list[str]] = {}
        self._index: dict[str, list[str]] | None = None
        self._named_by: dict[str, tuple[str, bool]] = {}  # path found -> (name, whether it was searched for)

    def find(self, name: str, place: object, beside: Path | None = None) -> str:
        """Return where the recording is; where it is nowhere, the first place that was tried.

        Args:
            name: As the corpus writes it: a path of any system, a `file://` URL, the URL of an object in a store, or
                `ARCHIVE#MEMBER`.
            place: For errors: the file and line that name it.
            beside: The folder of that file; None: the root.

        Raises:
            InputError: the name is empty, leads out of the root by `..`, is an address on the network, fits several
                files equally well, or fits a file that another name fits as well.
        """
        beside = self._root if beside is None else beside
        found = self._remembered.get((beside, name))
        if found is None:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            found = self._remembered[beside, name] = self._found(name, place, beside)
        return found

    def annotated(self, annotations: Path, names: Iterable[str]) -> str:
        """Return the recording of an annotation file, by the first of several names that is found.

        Where none is, the first place of the first one. A recording that has an annotation file of the same name
        nearer to it is that one's: `b/1.srt` is not read with the `a/1.wav` of `a/1.srt`.

        Raises:
            InputError: see `find`.
        """
        found = {name: self.find(name, annotations, annotations.parent) for name in names}
        missing = str(annotations.parent / next(iter(found)))
        audio = next((path for path in found.values() if os.path.isfile(path)), missing)
        above = (folder for folder in Path(audio).parents if (folder / annotations.name).is_file())
        return audio if next(above, annotations.parent) == annotations.parent else missing

    def _found(self, name: str, place: object, beside: Path) -> str:
        if remote.is_in_store(name):
            return name
        path, foreign = self._plain(name, place, beside)
        places = self._places_of(beside)
        direct = list(dict.fromkeys(str(Path(folder, path)) for folder in places))  # one, of an absolute path
        for candidate in () if foreign else direct:
            if os.path.isfile(candidate):
                return self._claim(candidate, path, place, searched=False)
            archive, mark, member = candidate.rpartition("#")
            if mark and os.path.isfile(archive):
                return f"{archive}#{member}"
        found = self._searched(path, direct, place)
        if found is not None:
            return self._claim(found, path, place, searched=True)
        return name if foreign else direct[0]

    def _plain(self, name: str, place: object, beside: Path) -> tuple[str, bool]:
        """Return a name as a path of this system, and whether it is an absolute one of another system."""
        if _ADDRESS.match(name):
            raise InputError(
                f"audio {name!r} is an address on the network, which is not fetched",
                place=place,
                remedy="Download the recordings, and name the files, or their URLs in a store (s3://).",
            )
        if name.startswith("file:"):
            name = unquote(name.removeprefix("file:").removeprefix("//").removeprefix("localhost"))
            name = name[1:] if re.match(r"/[A-Za-z]:", name) else name
        if foreign := bool(_WINDOWS.match(name)):
            name = posixpath.join(*ntpath.splitdrive(name.replace("\\", "/"))[1:])
        elif "\\" in name and "/" not in name:
            name = name.replace("\\", "/")
        if name.startswith("~/"):
            name = os.path.expanduser(name)
        inside = name and "\0" not in name
        if inside and ".." in name.split("/") and not name.startswith("/"):
            inside = _is_below(beside / name, self._outermost)
        if not inside:
            raise InputError(
                f"path {name!r} is not a file inside {self._root.absolute()}",
                place=place,
                remedy="Give an absolute path, or move the audio.",
            )
        return name, foreign

    def _places_of(self, beside: Path) -> list[str]:
        """Return the folders that a relative path may start in; those that are there, after the first."""
        if beside not in self._places:
            above = beside.absolute().parents[: self._above] if self._above else ()
            bases = [beside, self._root, *above]
            folders = [*bases, *(base / name for base in bases[:2] for name in FOLDERS)]
            kept = [str(folder) for number, folder in enumerate(folders) if number == 0 or folder.is_dir()]
            self._places[beside] = list(dict.fromkeys(kept))
        return self._places[beside]

    def _searched(self, path: str, direct: list[str], place: object) -> str | None:
        """Return the file in the index that fits a path best."""
        if self._index is None:
            self._index = _index(self._root)
        *folders, base = [part for part in path.split("/") if part not in ("", ".", "..")] or [""]
        stem, suffix = _stem_and_suffix(base)
        candidates = self._index.get(_key(stem), [])
        for wanted in direct:
            relative = os.path.relpath(os.path.dirname(wanted) or ".", self._root)
            there = [c for c in candidates if os.path.normpath(os.path.dirname(c) or ".") == relative]
            if there:
                return str(self._root / min(there, key=lambda c: _rank(c, base, suffix)))
        best: list[str] = []
        most: tuple[int, int] | None = None
        for candidate in candidates:
            fit = (_common_tail(candidate.split("/")[:-1], folders), -_rank(candidate, base, suffix))
            if most is None or fit > most:
                best, most = [candidate], fit
            elif fit == most:
                best.append(candidate)
        if len(best) > 1:
            raise InputError(
                f"audio {path!r} may be {best[0]} or {best[1]}" + (f" or {len(best) - 2} more" if best[2:] else ""),
                place=place,
                remedy="Write the folder into the path.",
            )
        return str(self._root / best[0]) if best else None

    def _claim(self, found: str, path: str, place: object, *, searched: bool) -> str:
        """Remember which name a file was found by: `train/1.wav` must not be read as `dev/1.wav`."""
        other, other_searched = self._named_by.setdefault(found, (path if searched else found, searched))
        if searched or other_searched:
            names = [
                name if was_searched else os.path.relpath(name, self._root)
                for name, was_searched in ((path if searched else found, searched), (other, other_searched))
            ]
            if not _is_tail(*names):
                raise InputError(
                    f"'{names[0]}' and '{names[1]}' both fit only {found}",
                    place=place,
                    remedy="A recording is missing; or write its path from the corpus's folder.",
                )
        return found


def missing_audio(utterances: Iterable[Utterance], root: Path) -> str | None:
    """Return one line on the recordings that are nowhere and the places tried, if that is most of them."""
    named = dict.fromkeys(u.audio for u in utterances if not remote.is_url(u.audio))
    missing = [name for name in named if not os.path.isfile(name) and not os.path.isfile(name.rpartition("#")[0])]
    if not named or len(missing) * 2 <= len(named):
        return None
    if len(missing) == len(named):
        counted = f"none of the {len(named):,} recordings is there"
    else:
        counted = f"{len(missing):,} of {len(named):,} recordings are missing"
    folders = ", ".join(f"{folder}/" for folder in FOLDERS)
    return (
        f"{counted}, the first: {missing[0]}. Looked for as written, beside the file that names it, in {folders} and "
        f"by name anywhere below {root.parent if root.is_file() else root}"
    )


def _index(root: Path) -> dict[str, list[str]]:
    """Return stem → paths of the recordings below `root`, relative to it."""
    index: dict[str, list[str]] = {}
    for path in _recordings(root):
        stem, _ = _stem_and_suffix(posixpath.basename(path))
        index.setdefault(_key(stem), []).append(path)
    return index


def _recordings(root: Path) -> Iterator[str]:
    for count, path in enumerate(media.files_below(root), start=1):
        if count > _MOST_FILES:
            raise InputError(
                f"more than {_MOST_FILES:,} files are below it, which are not searched for recordings",
                place=root,
                remedy="Put the corpus into a folder of its own, or write paths that lead to the recordings.",
            )
        if os.path.splitext(path)[1].lower() in media.SUFFIXES:
            yield path


def _key(stem: str) -> str:
    """Return what spellings of one file name share: macOS decomposes letters, and Windows does not tell cases."""
    return unicodedata.normalize("NFC", stem).casefold()


def _stem_and_suffix(base: str) -> tuple[str, str]:
    stem, suffix = os.path.splitext(base)
    return (stem, suffix.lower()) if suffix.lower() in media.SUFFIXES else (base, "")


def _rank(candidate: str, base: str, suffix: str) -> int:
    """Return how a file's own name fits: 0 as written, 1 but for its case, else by its suffix."""
    own = posixpath.basename(candidate)
    if unicodedata.normalize("NFC", own) == unicodedata.normalize("NFC", base):
        return 0
    own_suffix = os.path.splitext(own)[1].lower()
    return 1 if own_suffix == suffix else _RANK[own_suffix]


def _common_tail(one: list[str], other: list[str]) -> int:
    count = 0
    while count < min(len(one), len(other)) and _key(one[-1 - count]) == _key(other[-1 - count]):
        count += 1
    return count


def _is_tail(one: str, other: str) -> bool:
    """Whether one path ends with the other, but for suffixes."""
    parts = [[_key(p) for p in os.path.splitext(path)[0].split("/") if p not in ("", ".")] for path in (one, other)]
    return _common_tail(*parts) == min(map(len, parts))


def _is_below(path: Path, root: Path) -> bool:
    return Path(os.path.normpath(path.absolute())).is_relative_to(os.path.normpath(root.absolute()))


def duration_s(utterance: Utterance) -> float:
    """Return an utterance's duration; 0 if it cannot be read, which is named when it is decoded."""
    if utterance.duration_s is not None:
        return utterance.duration_s
    if utterance.end_s is not None:
        return utterance.end_s - (utterance.start_s or 0.0)
    try:
        return audio.duration_s(utterance.audio) - (utterance.start_s or 0.0)
    except AudioError:
        return 0.0
