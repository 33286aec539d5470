"""Files: text that is written whole or not at all, errors that say which, and what tells contents apart."""

import codecs
import errno
import hashlib
import logging
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


_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


_log = logging.getLogger(__name__)


def read_text(path: Path, *, legacy: bool = False) -> str:
    """Return a text file's content, without byte order mark; line ends stay as they are.

    Args:
        path: UTF-8, or UTF-16 with a byte order mark, or UTF-16 of mostly ASCII without.
        legacy: Take what is neither for Windows-1252, with a warning, instead of raising.

    Raises:
        InputError: the file cannot be read, or is in no such encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", place=path) from error
    try:
        if data.startswith(_UTF16):
            return data.decode("utf-16")
        if 0 in data[:2]:  # half of an ASCII letter: UTF-16 of a program that writes no mark
            return data.decode("utf-16-be" if data[0] == 0 else "utf-16-le")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if legacy:
            _log.warning("%s: not UTF-8; taken for Windows-1252, look at its letters", path)
            return data.decode("cp1252", errors="replace")
        raise InputError(f"not UTF-8 ({error.reason})", place=path, remedy="Save it as UTF-8.") from error


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file; only LF and CRLF end one, since sentences hold U+2028 and its like."""
    return [line.removesuffix("\r") for line in read_text(path).split("\n")]
