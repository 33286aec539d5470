"""Files: text that is written whole or not at all, errors that say which, and what tells contents apart."""

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from asr_adapt.errors import DiskFull, InputError

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file is too big",
}


@contextmanager
def disk_full_is_said(place: Path, remedy: str) -> Iterator[None]:
    """Turn a write that finds no room, or an error that it caused, into one line.

    Raises:
        DiskFull: no room, no quota, or a limit on the size of files.
    """
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        found = (_FULL[number] for number in map(_number, _causes(error)) if number in _FULL)
        if (what := next(found, None)) is None:
            raise
        raise DiskFull(f"cannot be written: {what}", place=place, remedy=remedy) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _number(error: BaseException) -> int | None:
    """Return the system's number of an error; safetensors raises its own, which has it in the text alone."""
    if isinstance(error, OSError):
        return error.errno
    told = re.search(r"os error (\d+)", str(error))
    return int(told[1]) if told else None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file, with or without a byte order mark.

    Raises:
        InputError: it is not there, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", place=path, remedy="Look at the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 ({error.reason} at byte {error.start})", place=path,
                         remedy="Save it as UTF-8.") from error  # fmt: skip


def write_whole(path: Path, text: str) -> None:
    """Write a UTF-8 text file; killed at any moment, `path` holds either all of it or what it held before."""
    # A long name and the suffix of a temporary one may not fit a file system's 255 bytes; a hash does.
    partial = path.parent / f".{hashlib.sha1(path.name.encode()).hexdigest()[:16]}.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def printable(path: Path | str) -> str:
    """Return a path as text that UTF-8 can hold, whatever bytes the file's name is made of."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def make_folder(path: Path, remedy: str) -> None:
    """Make a folder where there is none, before the work whose results go there.

    Raises:
        InputError: it cannot be made, or nothing can be written there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be made ({error.strerror})", place=printable(path), remedy=remedy) from error
    if not os.access(path, os.W_OK):
        raise InputError("nothing can be written here", place=printable(path), remedy=remedy)


def digest_of_folder(folder: Path, patterns: Sequence[str], salt: str) -> str:
    """Return SHA-256 over names and contents of the files of a folder that `patterns` name, and over `salt`."""
    digests = hashlib.sha256(salt.encode())
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as file:
                digests.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digests.hexdigest()


def contents(recordings: Iterable[str]) -> dict[str, str | None]:
    """Return a digest of each recording's file, so that a clip that was mended is prepared again; None without one.

    Not its time: a corpus that was copied or unpacked anew is the same corpus, and hours of training hang on that.
    """
    file_of = {name: _file_of(name) for name in sorted(recordings)}
    files = sorted(set(file_of.values()))
    with ThreadPoolExecutor() as pool:  # an archive is read once, however many clips it holds
        digests = dict(zip(files, pool.map(_digest, files), strict=True))
    return {name: digests[file] for name, file in file_of.items()}


def _file_of(recording: str) -> str:
    """Return the file that a locator is in: itself, or its archive."""
    with suppress(OSError, ValueError):
        if Path(recording).is_file():
            return recording
    return recording.partition("#")[0]


def _digest(path: str) -> str | None:
    with suppress(OSError, ValueError), Path(path).open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
    return None
