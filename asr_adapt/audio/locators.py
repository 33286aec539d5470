"""Sources of audio: a path, the URL of a file elsewhere, a member of an archive, bytes, or an open file."""

import io
import logging
import lzma
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from asr_adapt import remote
from asr_adapt.errors import AudioError
from asr_adapt.storage import open_regular

Audio = str | Path | bytes | BinaryIO

MAX_MEMBER_MB = 1_000
"""largest file that is read out of an archive, in MB after unpacking: 1.5 hours of stereo at 48 kHz in 16 bits"""
_IN_MEMORY_BYTES = 2**25  # of an unpacked member; a larger one goes to a temporary file
_COPIED_BYTES = 2**20
_MAX_WARNED = 10_000

_warned: set[tuple[str, str]] = set()

_OPEN_ERRORS = (
    *(OSError, ValueError),  # ValueError: a NUL in the name
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError),  # a damaged archive
    *(NotImplementedError, RuntimeError),  # a zip that is packed in an unknown way, or encrypted
)


def place_of(audio: Audio) -> str:
    """Return the name of a recording in errors and warnings."""
    if isinstance(audio, bytes):
        return "<bytes>"
    if isinstance(audio, str | Path):
        return str(audio)
    name = getattr(audio, "name", None)
    return name if isinstance(name, str) else "<file>"


def warn(log: logging.Logger, place: str, message: str, *values: object) -> None:
    """Log `place: message`, once for each file and message, however many of its segments are decoded.

    Bytes and files without a name cannot be told apart, and are warned of each time.
    """
    if not place.startswith("<"):
        if (place, message) in _warned:
            return
        if len(_warned) >= _MAX_WARNED:
            _warned.clear()
        _warned.add((place, message))
    log.warning("%s: " + message, place, *values)


def absolute(locator: str) -> str:
    """Return the locator for a process that works in another folder."""
    return locator if remote.is_url(locator) else str(Path(locator).absolute())


@contextmanager
def opened(audio: Audio) -> Iterator[BinaryIO]:
    """Give a seekable binary file; one that the caller has opened is not closed.

    Raises:
        AudioError: it cannot be opened, is not a regular file, or is larger than `MAX_MEMBER_MB` in its archive.
        InputError: it is elsewhere, and may well be there but cannot be fetched.
    """
    if isinstance(audio, bytes):
        yield io.BytesIO(audio)
    elif not isinstance(audio, str | Path):
        yield audio
    else:
        with ExitStack() as stack:
            try:
                file = stack.enter_context(_open_locator(str(audio)))
            except _OPEN_ERRORS as error:
                raise AudioError(
                    f"cannot be opened ({getattr(error, 'strerror', None) or error})",
                    place=audio,
                    remedy="Check the path, and whether it can be read.",
                ) from error
            yield file


def _open_locator(locator: str) -> AbstractContextManager[BinaryIO]:
    if remote.is_url(locator):
        return remote.opened(locator)
    if not Path(locator).exists():
        for at in (index for index, letter in enumerate(locator) if letter == "#"):
            if Path(locator[:at]).is_file():
                return _member(Path(locator[:at]), locator[at + 1 :], locator)
    return open_regular(locator)


def _member(archive: Path, name: str, place: str) -> BinaryIO:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed, packed.open(name) as member:
                return _copy(member, packed.getinfo(name).file_size, place)
        with tarfile.open(archive) as tar:
            entry = tar.getmember(name)
            if entry.issparse():  # its header may claim any amount of zeros
                raise OSError("a sparse file in the archive")
            content = tar.extractfile(entry)
            if content is None:
                raise KeyError(name)
            return _copy(content, entry.size, place)
    except KeyError as error:
        raise FileNotFoundError(f"no file '{name}' in the archive") from error


def _copy(member: IO[bytes], claimed_bytes: int, place: str) -> BinaryIO:
    """Return an unpacked member as a seekable file, in memory or in a temporary file."""
    copied = 0
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 — the caller closes it
    try:
        while claimed_bytes <= MAX_MEMBER_MB * 1e6 and (data := member.read(_COPIED_BYTES)):
            copied += len(data)
            claimed_bytes = max(claimed_bytes, copied)
            file.write(data)
        if claimed_bytes > MAX_MEMBER_MB * 1e6:
            raise AudioError(
                f"has {claimed_bytes / 1e6:,.0f} MB, more than {MAX_MEMBER_MB} MB",
                place=place,
                remedy="Unpack the archive, and read the file from its folder.",
            )
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return cast(BinaryIO, file)
