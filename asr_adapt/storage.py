"""Files: atomic replacement of files and folders, disk-full errors, tolerant text reading, content digests."""

import codecs
import errno
import fcntl
import functools
import gzip
import hashlib
import io
import logging
import os
import re
import secrets
import shutil
import stat
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from asr_adapt.errors import DiskFull, InputError, printable

_DISK_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is exhausted",
    errno.EFBIG: "the file exceeds the size limit",
}
MAX_JSON_BYTES = 16 * 2**20
"""of a small JSON file: a configuration, a vocabulary, metadata"""
_REMEMBERED_BYTES = 16 * 2**20  # smaller files are read each time
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MAX_LINE = 16_000_000  # characters; no transcript is as long
_WAS_URL = re.compile(r"[a-z][a-z0-9+.-]+:/")  # Path makes one slash of two
_PARTIAL = re.compile(r"\.asr-adapt-[0-9a-f]{16}\.partial")

_log = logging.getLogger(__name__)


@contextmanager
def disk_full_as_error(place: Path, remedy: str) -> Iterator[None]:
    """Turn a failed write for lack of space, or an exception caused by one, into a one-line error.

    Raises:
        DiskFull: the disk is full, or a quota or file size limit was hit.
    """
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        reasons = (_DISK_FULL[number] for number in map(_errno_of, _cause_chain(error)) if number in _DISK_FULL)
        if (reason := next(reasons, None)) is None:
            raise
        raise DiskFull(f"cannot be written: {reason}", place=place, remedy=remedy) from error


@contextmanager
def unwritable_as_error(place: Path, remedy: str) -> Iterator[None]:
    """Turn any failed write of a file or folder into a one-line error: no space, no permission, no folder.

    Raises:
        DiskFull: the disk is full, or a quota or file size limit was hit.
        InputError: it cannot be written for another reason.
    """
    with disk_full_as_error(place, remedy):
        try:
            yield
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise
            reason = error.strerror or error
            raise InputError(f"cannot be written ({reason})", place=printable(place), remedy=remedy) from error


def _cause_chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _errno_of(error: BaseException) -> int | None:
    """Return the errno of an exception; safetensors raises its own type, with the number in the message only."""
    if isinstance(error, OSError):
        return error.errno
    match = re.search(r"os error (\d+)", str(error))
    return int(match[1]) if match else None


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give the path of an empty partial file beside `path`; on success it replaces `path`, else it is removed.

    Whenever the process is killed, `path` holds all of the new content or what it held before. The partial file has
    an unpredictable name and is created anew, so that it never writes through a link; where `path` itself is a link,
    the link is replaced. Partial files that killed processes left in the folder are removed by the next process that
    writes there.
    """
    remove_stale_partials(path.parent)
    with _partial(path.parent, is_folder=False) as partial:
        yield partial
        partial.replace(path)


@contextmanager
def marker_file(folder: Path) -> Iterator[Path]:
    """Give an empty file of an unpredictable name in a folder; it is removed in the end, as partial files are."""
    with _partial(folder, is_folder=False) as marker:
        yield marker


@contextmanager
def atomic_folder(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Give an empty partial folder beside `path`; on success it replaces `path`, else it is removed.

    The same guarantees as `atomic_file`, with one exception: a folder cannot be replaced in one step, so a process
    killed between the two renames leaves the old folder under a hidden name only; `surviving` finds it. Files in the
    folder get the permissions of the umask (safetensors and ONNX Runtime's quantiser write for the owner alone, and a
    server may run as another user).

    Args:
        path: Folder to create or replace; its parent is created where it is missing.
        sync: Flush files and folders to the disk before the partial folder is renamed, and the rename after it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_partials(path.parent)
    with _partial(path.parent, is_folder=True) as partial:
        yield partial
        allowed = partial.stat().st_mode & 0o666
        for file in (file for file in partial.rglob("*") if file.is_file() and not file.is_symlink()):
            if file.stat().st_mode & 0o777 != allowed:
                file.chmod(allowed)
            if sync:
                _fsync(file)
        if sync:
            for folder in (*(f for f in partial.rglob("*") if f.is_dir() and not f.is_symlink()), partial):
                _fsync(folder)
        replaced = _replaced(path)
        if path.is_symlink() or path.exists():
            _remove(replaced)
            path.rename(replaced)
        partial.rename(path)
        if sync:
            _fsync(path.parent)
        _remove(replaced)


def surviving(path: Path) -> Path:
    """Return where the content of `path` is: the old folder, if a process was killed while it replaced it."""
    return _replaced(path) if not path.exists() and _replaced(path).exists() else path


def _replaced(path: Path) -> Path:
    """Return where a folder is kept while a new one takes its place."""
    return path.with_name(f".{path.name}.old")


@contextmanager
def _partial(parent: Path, *, is_folder: bool) -> Iterator[Path]:
    """Create a partial file or folder, locked while it is in use; remove it if it is still there at the end."""
    partial, descriptor = _create_locked(parent, is_folder)
    try:
        yield partial
    finally:
        _remove(partial)  # gone already, after success
        os.close(descriptor)


def _create_locked(parent: Path, is_folder: bool) -> tuple[Path, int]:
    while True:
        partial = parent / f".asr-adapt-{secrets.token_hex(8)}.partial"
        if is_folder:
            partial.mkdir()  # fails where the name exists, even as a dangling link
            descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(partial, flags, 0o666)
        if _lock(descriptor) and partial.exists():
            return partial, descriptor
        os.close(descriptor)  # another process took it for a stale one, between creation and lock


def _lock(descriptor: int) -> bool:
    """Take the advisory lock of an open file or folder; False where another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without such locks: nothing there is ever taken for stale
        return True
    return True


@functools.lru_cache(maxsize=256)
def remove_stale_partials(folder: Path) -> None:
    """Remove the partial files and folders that killed processes left in a folder; looks once in a process's life."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if not _PARTIAL.fullmatch(entry.name) or entry.is_symlink():
                continue
            with suppress(OSError):
                descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system releases a dead process's
                    _remove(Path(entry.path))
                finally:
                    os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it; never what a link points at."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically (`atomic_file`)."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def name_as_text(name: str) -> str:
    """Return a file name as UTF-8 can hold it: unchanged, or as the hexadecimal digits of its bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "bytes:" + os.fsencode(name).hex()
    return name


def name_of_text(text: str) -> str:
    """Return the file name that `name_as_text` made a text of."""
    return os.fsdecode(bytes.fromhex(text.removeprefix("bytes:"))) if text.startswith("bytes:") else text


def refuse_url(path: Path) -> None:
    """Refuse a URL where a path is needed: it would be a folder of that name, such as `s3:`, on this machine.

    Raises:
        InputError: it is one.
    """
    if _WAS_URL.match(str(path)) and not path.exists():
        raise InputError(
            "is a URL, and must be a path on this machine",
            place=printable(path),
            remedy="URLs are for corpora to train on or score, and for transcribe's recordings and --out.",
        )


def make_folder(path: Path, remedy: str) -> None:
    """Create an output folder, if it is missing, before the work starts; removes stale partial files in it.

    Raises:
        InputError: it cannot be created, or is not writable.
    """
    refuse_url(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be created ({error.strerror})", place=printable(path), remedy=remedy) from error
    if not os.access(path, os.W_OK):
        raise InputError("is not writable", place=printable(path), remedy=remedy)
    remove_stale_partials(path)


def digest_of_folder(folder: Path, patterns: Sequence[str], salt: str) -> str:
    """Return the SHA-256 digest of `salt` and of the names and contents of a folder's files that match `patterns`."""
    digests = hashlib.sha256(salt.encode())
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as file:
                digests.update(os.fsencode(path.name) + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digests.hexdigest()


def cache_folder() -> Path:
    """Return the user's cache of this package; it need not be there yet."""
    return Path(os.environ.get("ASR_ADAPT_CACHE") or Path.home() / ".cache" / "asr_adapt").absolute()


def file_digest(path: Path) -> str:
    """Return the SHA-256 digest of a file's content.

    That of a large file is computed once (300 MB take 0.26 s with SHA instructions) and kept in the user's cache by
    path, inode, size and times. Nobody can set the time of the last change (ctime), so that a file whose modification
    time was put back is read again.

    Raises:
        OSError: the file cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        found = os.fstat(file.fileno())
        if found.st_size < _REMEMBERED_BYTES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        identity = (os.path.realpath(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        name = hashlib.sha256(repr((*identity, found.st_ctime_ns)).encode()).hexdigest()
        remembered = cache_folder() / "digests" / name
        with suppress(OSError, ValueError):
            known = remembered.read_text("ascii")
            if re.fullmatch("[0-9a-f]{64}", known):
                return known
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        with suppress(OSError):  # it is computed again next time
            if os.fstat(file.fileno()).st_ctime_ns == found.st_ctime_ns:
                remembered.parent.mkdir(parents=True, exist_ok=True)
                write_text(remembered, digest)
    return digest


def content_digests(recordings: Iterable[str]) -> dict[str, str | None]:
    """Return a digest of the content of each recording's file, by locator; None where the file cannot be read.

    A repaired clip has another digest and is prepared again. Modification times do not count: a corpus that was
    copied or unpacked again is the same corpus, and must not cost hours of training.
    """
    file_of = {name: _file_of(name) for name in sorted(recordings)}
    files = sorted(set(file_of.values()))
    with ThreadPoolExecutor() as pool:  # an archive is read once for all of its clips
        digests = dict(zip(files, pool.map(_digest, files), strict=True))
    return {name: digests[file] for name, file in file_of.items()}


def _file_of(recording: str) -> str:
    """Return the file that a locator refers to: the recording itself, or the archive that holds it."""
    with suppress(OSError, ValueError):
        if Path(recording).is_file():
            return recording
    return recording.partition("#")[0]


def open_regular(path: Path | str) -> BufferedReader:
    """Open a file for reading; never waits for a fifo.

    Raises:
        OSError: it cannot be opened, or is a fifo, a device, a socket or a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def _digest(path: str) -> str | None:
    with suppress(OSError, ValueError), open_regular(path) as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
    return None


def read_bounded(path: Path, max_bytes: int, remedy: str = "") -> bytes:
    """Return the content of a small regular file; never waits for a fifo.

    Raises:
        InputError: the file cannot be read, is no regular file, or is larger than `max_bytes`.
    """
    try:
        with open_regular(path) as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot be read ({reason})", place=printable(path), remedy=remedy) from error
    if len(data) > max_bytes:
        raise InputError(f"damaged: larger than {max_bytes:,} bytes", place=printable(path), remedy=remedy)
    return data


def read_json(path: Path, remedy: str, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Return the content of a small JSON file, which is at most some 200 levels deep.

    Raises:
        InputError: the file cannot be read, is larger than `max_bytes`, or is not JSON.
    """
    from pydantic_core import from_json

    text = decode_text(read_bounded(path, max_bytes, remedy), path, remedy=remedy)
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InputError(f"damaged: not JSON ({error})", place=printable(path), remedy=remedy) from error


def read_text(path: Path, *, legacy: bool = False) -> str:
    """Return a text file's content without its byte order mark; line endings are kept.

    Args:
        path: UTF-8, or UTF-16 with a byte order mark, or UTF-16 of mostly ASCII text without one.
        legacy: Decode anything else as Windows-1252, with a warning, instead of raising.

    Raises:
        InputError: the file cannot be read, or has another encoding.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"cannot be read ({getattr(error, 'strerror', None) or error})", place=path) from error
    return decode_text(data, path, legacy=legacy)


def decode_text(data: bytes, path: Path, *, legacy: bool = False, remedy: str = "Save it as UTF-8.") -> str:
    """Return the text of a file's content, as `read_text` does.

    Raises:
        InputError: it is neither UTF-8 nor UTF-16.
    """
    try:
        return data.decode(_encoding(data[:2]))
    except UnicodeDecodeError as error:
        if legacy:
            _log.warning("%s: not UTF-8; decoded as Windows-1252, check its letters", path)
            return data.decode("cp1252", errors="replace")
        raise InputError(f"not UTF-8 ({error.reason})", place=path, remedy=remedy) from error


def iterate_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield `(number, line)` from 1 on, each line with its ending, without holding the file in memory.

    Only LF and CRLF end a line: sentences may contain U+2028 and the like. A file whose name ends in `.gz` is
    unpacked as it is read. Encodings are those of `read_text`.

    Raises:
        InputError: the file cannot be read, a line has another encoding, is longer than 16 million characters, or
            holds a NUL character; the error names the line.
    """
    number = 0
    try:
        with open_regular(path) as raw, gzip.open(raw) if path.suffix == ".gz" else raw as file:
            encoding = _encoding(file.peek(4)[:4])
            if encoding == "utf-8-sig":
                for number, data in enumerate(_bounded_lines(file), start=1):
                    yield number, _without_nul(data.decode("utf-8-sig" if number == 1 else "utf-8"))
                return
            text = io.TextIOWrapper(file, encoding=encoding, newline="\n")
            for number, line in enumerate(_bounded_lines(text), start=1):
                yield number, _without_nul(line.removeprefix("\ufeff") if number == 1 else line)
    except UnicodeDecodeError as error:
        problem = f"not {encoding.removesuffix('-sig').upper()} ({error.reason})"
        # In UTF-8 the line was split off before it was decoded; in UTF-16 it is in the block after `number`.
        where = f"{path}:{number}" if encoding == "utf-8-sig" else path
        raise InputError(problem, place=where, remedy="Save the file as UTF-8.") from error
    except _BadLine as error:
        raise InputError(str(error), place=f"{path}:{number}", remedy="The file may be damaged.") from error
    except _LongLine as error:
        raise InputError(str(error), place=f"{path}:{number + 1}", remedy="The file may be damaged.") from error
    except (OSError, ValueError, EOFError, zlib.error) as error:  # ValueError: a NUL in the name
        raise InputError(f"cannot be read ({getattr(error, 'strerror', None) or error})", place=path) from error


class _BadLine(Exception):
    pass


class _LongLine(Exception):
    pass


def _encoding(head: bytes) -> str:
    if head.startswith(_UTF16):
        return "utf-16"
    if 0 in head[:2]:  # half of an ASCII letter: UTF-16 without a byte order mark
        return "utf-16-be" if head[0] == 0 else "utf-16-le"
    return "utf-8-sig"


def _bounded_lines(file: Any) -> Iterator[Any]:
    while line := file.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            raise _LongLine(f"the line is longer than {_MAX_LINE:,} characters")
        yield line


def _without_nul(line: str) -> str:
    if "\0" in line:
        raise _BadLine("the line holds a NUL character")
    return line


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file. Only LF and CRLF end a line: sentences may contain U+2028 and the like."""
    return [line.removesuffix("\r") for line in read_text(path).split("\n")]
