"""What has to be unpacked to be read at random: done once, kept in the user's cache, the original left as it is.

A gzip stream can only be read from its beginning, and clips inside a Parquet file only by the row group: both are
unpacked as they are, without decoding. The cache is `$ASR_ADAPT_CACHE`, else `~/.cache/asr_adapt`.
"""

import bz2
import gzip
import hashlib
import logging
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from filelock import FileLock

from asr_adapt.errors import InputError
from asr_adapt.storage import atomic_folder, cache_folder, disk_full_as_error, open_regular

# What may lie between two members' contents: headers with long names. Real ones take a few kB.
_MAX_HEADER_BYTES = 1 << 20
_DECOMPRESSED: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {
    b"\x1f\x8b": lambda file: cast(BinaryIO, gzip.GzipFile(fileobj=file)),
    b"BZ": lambda file: cast(BinaryIO, bz2.BZ2File(file)),
}
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, RecursionError)

_log = logging.getLogger(__name__)


def unpacked(key: str, fill: Callable[[Path], None]) -> Path:
    """Return the folder that `fill` has filled, now or earlier under the same key; whole or not at all.

    Raises:
        InputError: the cache cannot be written.
        DiskFull: there is no room in it.
    """
    cache = cache_folder()
    folder = cache / hashlib.sha256(key.encode()).hexdigest()[:16]
    if folder.is_dir():  # it may be in a cache that is for reading alone
        return folder
    remedy = "Make room, or set ASR_ADAPT_CACHE to a folder elsewhere."
    with disk_full_as_error(cache, remedy), locked(folder):
        if not folder.is_dir():
            with atomic_folder(folder) as partial:
                fill(partial)
    return folder


def unpack_tar(
    archive: Path, folder: Path, wanted: Callable[[PurePosixPath], PurePosixPath | None], max_mb: float
) -> None:
    """Write files of a tar archive (plain, gzip, bzip2) into `folder`, in one pass and in constant memory.

    Links, devices and fifos are not created; a warning counts them.

    Args:
        archive: The archive.
        folder: Where to write.
        wanted: Given a member's path, returns the path to write below `folder`, or None to skip the member.
        max_mb: Largest member, in MB after unpacking.

    Raises:
        InputError: the archive is damaged, or a wanted member is larger than `max_mb` or a sparse file.
    """
    special: list[str] = []
    try:
        with open_regular(archive) as file:
            magic = file.peek(2)[:2]
            stream = _Metered(_DECOMPRESSED[magic](file) if magic in _DECOMPRESSED else file)
            with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|") as tar:
                for member in tar:
                    stream.left = member.size + _MAX_HEADER_BYTES
                    if member.isdir() or (relative := wanted(PurePosixPath(member.name))) is None:
                        continue
                    if not member.isfile():
                        special.append(member.name)
                        continue
                    _refuse_bomb(member, archive, max_mb)
                    target = folder / relative
                    target.parent.mkdir(parents=True, exist_ok=True)
                    content = tar.extractfile(member)
                    assert content is not None
                    with target.open("wb") as output:
                        shutil.copyfileobj(content, output)
    except _DAMAGED as error:
        raise InputError(f"cannot be unpacked ({error})", place=archive, remedy="Download it again.") from error
    if special:
        _log.warning("%s: %d links or devices were not unpacked, the first: %r", archive, len(special), special[0])


def _refuse_bomb(member: tarfile.TarInfo, archive: Path, max_mb: float) -> None:
    place = f"{archive}#{member.name}"
    if member.issparse():
        raise InputError("is a sparse file", place=place, remedy="Pack the archive without --sparse.")
    refuse_large(member.size, max_mb, place)


def refuse_large(num_bytes: int, max_mb: float, place: object) -> None:
    """Raise `InputError` for a file of more than `max_mb`, the recipe's `corpus.max_clip_mb`."""
    if num_bytes > max_mb * 1e6:
        raise InputError(
            f"has {num_bytes / 1e6:,.0f} MB, more than {max_mb:g} MB",
            place=place,
            remedy="If that is right, raise corpus.max_clip_mb.",
        )


class _Metered:
    """A stream that refuses to be read beyond `left` bytes: tarfile holds a member's headers in memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.left = _MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise tarfile.ReadError("the headers of a member are too long")
        return data


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder of the cache while it is written: several processes of one run unpack the same archive."""
    lock = FileLock(f"{folder}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise InputError(
            f"the cache cannot be written ({error.strerror})",
            place=folder.parent,
            remedy="Set ASR_ADAPT_CACHE to a folder that can be.",
        ) from error
    try:
        yield
    finally:
        lock.release()


def stamp(path: Path) -> str:
    """Return what tells a file from an earlier one at the same place: path, size, time."""
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
