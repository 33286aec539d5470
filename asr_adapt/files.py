"""Text files: written whole or not at all, and read with an error that says which."""

import errno
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
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
