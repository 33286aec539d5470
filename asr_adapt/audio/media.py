"""Recordings beside their transcripts."""

import itertools
import os
from collections.abc import Collection, Iterator
from pathlib import Path

# The one list of the suffixes of recordings. Of one recording in several formats the first is taken: formats that can
# be sought without decoding are first, video is last.
# fmt: off
SUFFIXES = (
    ".wav", ".flac", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".sph", ".mp3", ".ogg", ".oga",
    ".opus", ".spx", ".m4a", ".m4b", ".aac", ".wv", ".mp2", ".mka", ".weba", ".amr", ".awb", ".wma", ".mp4", ".m4v",
    ".mov", ".webm", ".mkv", ".3gp", ".3g2", ".ogv", ".avi", ".wmv", ".mpg", ".mpeg", ".mts", ".flv",
)
# fmt: on


def is_audio(path: Path) -> bool:
    """Whether a file's name is a recording's."""
    return path.suffix.lower() in SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a file's or folder's name is one that `visible` leaves out."""
    return name.startswith(".") or name == "__MACOSX"


def visible(folder: Path, pattern: str = "**/*") -> list[Path]:
    """Return what matches a pattern in a folder, sorted, but nothing hidden, below the folder itself.

    Left out as hidden: names that begin with a dot, such as the `._NAME` that macOS puts beside each file on other
    disks, and `__MACOSX`, where its archives keep those.
    """
    return sorted(path for path in folder.glob(pattern) if not any(map(is_hidden, path.relative_to(folder).parts)))


def below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the files with one of some suffixes, in small letters, anywhere in a folder, in the order of `visible`.

    It lists a million files in seconds, where `visible` makes a path of each.
    """
    wanted = tuple(suffixes)
    return [folder / path for path in files_below(folder) if path.lower().endswith(wanted)]


def files_below(folder: Path) -> Iterator[str]:
    """Yield the visible files of a folder, as paths relative to it, sorted; links to folders are not followed."""
    start = len(os.path.join(folder, ""))  # noqa: PTH118 - "./" of the folder ".", which Path drops
    return (entry.path[start:] for entry in entries_below(folder, sort_up_to=None))


def entries_below(folder: Path, sort_up_to: int | None = 10_000) -> Iterator[os.DirEntry[str]]:
    """Yield the visible files of a folder; links to folders are not followed.

    Args:
        folder: The folder.
        sort_up_to: Each folder's entries are sorted, unless they are more than this: then they are not held, and come
            in the order of the file system. None: always sorted.
    """
    stack = [_entries(str(folder), sort_up_to)]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif entry.is_dir(follow_symlinks=False):
            stack.append(_entries(entry.path, sort_up_to))
        elif entry.is_file():
            yield entry


def _entries(folder: str, sort_up_to: int | None) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            shown = (entry for entry in found if not is_hidden(entry.name))
            first = sorted(itertools.islice(shown, sort_up_to), key=lambda entry: entry.name)
            yield from first
            yield from shown
    except OSError:  # no folder, or one that may not be read
        return


def beside(path: Path) -> Path:
    """Return the recording of the same stem in the same folder; `STEM.wav` where there is none."""
    for suffix in SUFFIXES:
        for shape in (suffix, suffix.upper()):
            if (found := path.with_suffix(shape)).is_file():
                return found
    return path.with_suffix(".wav")
