"""What has to be unpacked to be read at random: done once, kept in the user's cache, the original left as it is.

A gzip stream can only be read from its beginning, and clips inside a Parquet file only by the row group: both are
unpacked as they are, without decoding. The cache is `$ASR_ADAPT_CACHE`, else `~/.cache/asr_adapt`.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def cache_folder() -> Path:
    """Return where unpacked things are kept; it need not be there yet."""
    return Path(os.environ.get("ASR_ADAPT_CACHE") or Path.home() / ".cache" / "asr_adapt").absolute()


def unpacked(key: str, fill: Callable[[Path], None]) -> Path:
    """Return the folder that `fill` has filled, now or earlier under the same key; whole or not at all."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / hashlib.sha256(key.encode()).hexdigest()[:16]
    with FileLock(f"{folder}.lock"):  # several processes of one run come here at once
        if not folder.is_dir():
            partial = Path(f"{folder}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                fill(partial)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            partial.rename(folder)
    return folder


def stamp(path: Path) -> str:
    """Return what tells a file from an earlier one at the same place: path, size, time."""
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
