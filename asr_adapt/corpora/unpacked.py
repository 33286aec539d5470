"""What has to be unpacked to be read at random: done once, kept in the user's cache, the original left as it is.

A gzip stream can only be read from its beginning, and clips inside a Parquet file only by the row group: both are
unpacked as they are, without decoding. The cache is `$ASR_ADAPT_CACHE`, else `~/.cache/asr_adapt`.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from asr_adapt.errors import InputError
from asr_adapt.storage import atomic_folder, disk_full_as_error


def cache_folder() -> Path:
    """Return where unpacked things are kept; it need not be there yet."""
    return Path(os.environ.get("ASR_ADAPT_CACHE") or Path.home() / ".cache" / "asr_adapt").absolute()


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
    with disk_full_as_error(cache, remedy), _locked(folder):
        if not folder.is_dir():
            with atomic_folder(folder) as partial:
                fill(partial)
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold what is to become a folder of the cache: several processes of one run come here at once."""
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
