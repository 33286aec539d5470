"""Files elsewhere, by URL: whatever fsspec reaches (`s3://`, `gs://`, `hf://`, `memory://` and others)."""

import errno
import glob
import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from asr_adapt.errors import InputError, printable

_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "hf", "memory")
_URL = re.compile(r"(?!file:|local:)[a-z][a-z0-9+.-]*://")
_EXTRAS = {"s3": "asr-adapt[s3]", "s3a": "asr-adapt[s3]"}
_IN_MEMORY_BYTES = 2**25  # of a fetched file; a larger one goes to a temporary file
_COPIED_BYTES = 2**23
_READ_AT_ONCE_BYTES = 2**23  # of a file that is opened; of a larger one, blocks of this size
_TIMES = ("LastModified", "mtime", "updated", "last_modified", "created")  # as filesystems name it


class RemoteFile(NamedTuple):
    """A file in a listing."""

    url: str
    size: int
    changed_ns: int
    """time of its last change, nanoseconds since 1970; 0 where the filesystem does not tell"""
    relative: str
    """its name below the folder that was listed, or that a pattern begins with; empty where it was named itself"""


def is_url(name: str) -> bool:
    """Whether a name is the URL of a file elsewhere; `file://` is here."""
    return bool(_URL.match(name))


def is_in_store(name: str) -> bool:
    """Whether a name is the URL of an object in a store that is reached with the user's own rights, as `s3://`."""
    return is_url(name) and name.partition("://")[0] in _STORES


def base_name(place: object) -> str:
    """Return the last part of a path or URL."""
    return str(place).rstrip("/").rpartition("/")[2]


def filesystem(url: str) -> tuple[Any, str]:
    """Return fsspec's filesystem of a URL, which keeps no listing, and the path in it.

    Raises:
        InputError: there is no such filesystem, or its package is not installed.
    """
    from fsspec.core import url_to_fs

    scheme = url.partition("://")[0]
    try:
        return url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        package = _EXTRAS.get(scheme)
        remedy = f"Install it: pip install '{package}'." if package else "Install fsspec's package for it."
        raise InputError(
            f"{scheme}:// needs a package that is not installed ({error})", place=printable(url), remedy=remedy
        ) from error
    except ValueError as error:
        raise InputError(f"no filesystem for {scheme}://", place=printable(url), remedy="Look at the URL.") from error


@contextmanager
def errors_of(url: str, problem: str) -> Iterator[None]:
    """Turn whatever a filesystem raises (each has its own exceptions) into a one-line error.

    Raises:
        InputError: `problem`, and the reason.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError("no such file or folder", place=printable(url), remedy="Look at the URL.") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{problem} ({reason})", place=printable(url)) from error


def files(url: str) -> Iterator[RemoteFile]:
    """Yield the file of a URL, all files below the folder of a URL, or those that match its pattern.

    On S3 a listing is never held: a page of 1,000 files follows the other. Elsewhere one folder's is held.

    Raises:
        InputError: nothing is there, or it cannot be listed.
    """
    fs, path = filesystem(url)
    with errors_of(url, "cannot be listed"):
        if glob.has_magic(path) and not fs.isfile(path):
            from fsspec.utils import glob_translate

            wanted = re.compile(glob_translate(path))
            above = re.split(r"[*?[]", path, maxsplit=1)[0].rpartition("/")[0]
            yield from (_file(fs, info, above) for info in _below(fs, above) if wanted.match(info["name"]))
            return
        info = fs.info(path)
        if info["type"] == "file":
            yield _file(fs, info, info["name"])
        else:
            yield from (_file(fs, info, path) for info in _below(fs, path))


def below(url: str) -> Iterator[RemoteFile]:
    """Yield all files below a folder, as `files` does; none of one that is not there.

    Raises:
        InputError: it cannot be listed.
    """
    fs, path = filesystem(url)
    with errors_of(url, "cannot be listed"), suppress(FileNotFoundError):
        yield from (_file(fs, info, path) for info in _below(fs, path))


def _file(fs: Any, info: dict[str, Any], above: str) -> RemoteFile:
    name = info["name"]
    relative = name.removeprefix(above).lstrip("/")
    return RemoteFile(fs.unstrip_protocol(name), int(info.get("size") or 0), _changed_ns(info), relative)


def _changed_ns(info: dict[str, Any]) -> int:
    """Return when a file of a listing changed, nanoseconds since 1970; 0 where the filesystem does not tell."""
    found = next((info[name] for name in _TIMES if info.get(name)), 0)
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    return int((found.timestamp() if isinstance(found, datetime) else float(found)) * 1e9)


def _below(fs: Any, folder: str) -> Iterator[dict[str, Any]]:
    if hasattr(fs, "call_s3"):
        yield from _pages(fs, folder)
        return
    for info in sorted(fs.ls(folder, detail=True), key=lambda info: str(info["name"])):
        if info["type"] == "directory":
            if info["name"].rstrip("/") != folder.rstrip("/"):
                yield from _below(fs, info["name"])
        else:
            yield info


def _pages(fs: Any, folder: str) -> Iterator[dict[str, Any]]:
    """Yield the objects below a prefix of S3, page by page; s3fs itself would collect them all."""
    bucket, key, _ = fs.split_path(folder)
    token: dict[str, str] = {}
    while True:
        page = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{key.rstrip('/')}/" if key else "", **token)
        for found in page.get("Contents", ()):
            if not found["Key"].endswith("/"):  # an empty object that stands for a folder
                yield {"name": f"{bucket}/{found['Key']}", "size": found["Size"], **found}
        if not page.get("IsTruncated"):
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}


class _Fetched(tempfile.SpooledTemporaryFile):
    """A copy of a file elsewhere, under its URL."""

    url = ""

    @property
    def name(self) -> str:
        return self.url


def fetched(url: str) -> BinaryIO:
    """Return a copy of a file, in memory or in a temporary file, to be closed by the caller.

    Raises:
        OSError: it cannot be fetched.
    """
    file = _Fetched(_IN_MEMORY_BYTES)
    file.url = printable(url)
    try:
        fs, path = filesystem(url)
        with fs.open(path, "rb") as source:
            shutil.copyfileobj(source, file, _COPIED_BYTES)
    except FileNotFoundError as error:
        raise FileNotFoundError("No such file") from error
    except InputError as error:
        raise OSError(error.problem) from error
    except Exception as error:
        raise OSError(f"cannot be fetched: {' '.join(str(error).split()) or type(error).__name__}") from error
    file.seek(0)
    return cast(BinaryIO, file)


@contextmanager
def opened(url: str) -> Iterator[BinaryIO]:
    """Give a file elsewhere as a seekable binary file; of one larger than 8 MiB only the blocks that are read come.

    Raises:
        FileNotFoundError: it is not there.
        InputError: it cannot be fetched. Of a large one this may come at the end, since decoders written in C take a
            read that fails for the end of the file.
    """
    fs, path = filesystem(url)
    with _fetching(url):
        source = fs.open(path, "rb", block_size=_READ_AT_ONCE_BYTES)
    with source:
        if source.seekable() and source.size > _READ_AT_ONCE_BYTES:
            blocks = _Blocks(source, url)
            try:
                yield cast(BinaryIO, blocks)
            finally:
                if blocks.failure is not None:
                    with _fetching(url):
                        raise blocks.failure
        else:
            with _Fetched(_IN_MEMORY_BYTES) as copy:
                with _fetching(url):
                    shutil.copyfileobj(source, copy, _COPIED_BYTES)
                copy.url = url
                copy.seek(0)
                yield cast(BinaryIO, copy)


@contextmanager
def _fetching(url: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"cannot be fetched ({reason})", place=printable(url), remedy="Run the same command again."
        ) from error


class _Blocks(io.RawIOBase):
    """A large file elsewhere; a read that fails is its end, and is kept."""

    def __init__(self, source: Any, url: str) -> None:
        self._source, self.name = source, url
        self.failure: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._source.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._source.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._source.read(len(buffer))
        except Exception as error:
            self.failure = error
            return 0
        buffer[: len(data)] = data
        return len(data)


def digest(url: str) -> str | None:
    """Return the BLAKE2b digest of a file's content, which is not held; None where it is not there.

    Raises:
        InputError: it cannot be fetched.
    """
    fs, path = filesystem(url)
    found = hashlib.blake2b()
    try:
        with _fetching(url), fs.open(path, "rb", block_size=_READ_AT_ONCE_BYTES) as source:
            while data := source.read(_COPIED_BYTES):
                found.update(data)
    except FileNotFoundError:
        return None
    return found.hexdigest()


def copy_file(url: str, path: Path) -> None:
    """Write the content of a file elsewhere to a file here.

    Raises:
        FileNotFoundError: it is not there.
        InputError: it cannot be fetched.
        OSError: it cannot be written.
    """
    fs, source = filesystem(url)
    with path.open("wb") as file:
        with _fetching(url):
            read = fs.open(source, "rb", block_size=_READ_AT_ONCE_BYTES)
        with read:
            while True:
                with _fetching(url):
                    data = read.read(_COPIED_BYTES)
                if not data:
                    return
                file.write(data)
