"""Folders that results are written to, here or elsewhere: files by their names in it, each whole or not at all."""

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import Protocol

from filelock import FileLock

from asr_adapt import remote
from asr_adapt.errors import DiskFull, InputError, printable
from asr_adapt.keys import KeyTable, key
from asr_adapt.storage import disk_full_as_error, write_text

_FREE_SPACE = "Free some space, then run the same command again."
_PROBE = ".asr-adapt.probe"
_AT_ONCE = 32  # requests to a store that takes some 30 ms for each


class Folder(Protocol):
    """Where results go. Names are relative to it, with `/` between their parts."""

    @property
    def path(self) -> Path | None:
        """The folder, where it is on this machine."""

    def create(self) -> None:
        """Create it where it is missing.

        Raises:
            InputError: nothing can be written there.
        """

    def place(self, name: str = "") -> str:
        """Return how the folder, or a file in it, is named to people."""

    def changed_ns(self, name: str) -> int | None:
        """Return when a file changed, nanoseconds since 1970; None: it is not there."""

    def names(self, below: str) -> list[str]:
        """Return the names of the files directly in a folder of it, sorted."""

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: it cannot be read.
        """

    def write(self, name: str, text: str) -> None:
        """Write a UTF-8 text file, whole or not at all.

        Raises:
            DiskFull: there is no room.
            InputError: it cannot be written for another reason.
        """

    def write_all(self, texts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, InputError | None]]:
        """Write files, and yield each name with None, or with why it could not be written.

        Raises:
            DiskFull: there is no room; those before are complete.
        """

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""

    def locked(self) -> AbstractContextManager:
        """Hold the folder against other processes, where that is possible."""


def folder_of(place: Path | str) -> Folder:
    """Return the folder of a path or URL."""
    return RemoteFolder(str(place)) if remote.is_url(str(place)) else LocalFolder(Path(place))


class LocalFolder:
    """A folder on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """See `Folder`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self.locked():
                pass
        except OSError as error:
            raise InputError(f"nothing can be written here ({error.strerror})", place=printable(self.path)) from error

    def place(self, name: str = "") -> str:
        """See `Folder`."""
        return printable(self.path / name)

    def changed_ns(self, name: str) -> int | None:
        """See `Folder`."""
        try:
            return (self.path / name).stat().st_mtime_ns
        except OSError:  # nothing is under a name that no file can have
            return None

    def names(self, below: str) -> list[str]:
        """See `Folder`."""
        with suppress(FileNotFoundError):
            return sorted(f"{below}/{file.name}" for file in (self.path / below).iterdir())
        return []

    def read(self, name: str) -> bytes:
        """See `Folder`."""
        return (self.path / name).read_bytes()

    def write(self, name: str, text: str) -> None:
        """See `Folder`."""
        place = self.path / name
        try:
            with disk_full_as_error(place, _FREE_SPACE):
                place.parent.mkdir(parents=True, exist_ok=True)
                write_text(place, text)
        except OSError as error:
            raise InputError(f"cannot be written ({error.strerror})", place=printable(place)) from error

    def write_all(self, texts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, InputError | None]]:
        """See `Folder`."""
        for name, text in texts:
            try:
                self.write(name, text)
            except DiskFull:
                raise
            except InputError as error:
                yield name, error
            else:
                yield name, None

    def delete(self, name: str) -> None:
        """See `Folder`."""
        (self.path / name).unlink(missing_ok=True)

    def locked(self) -> AbstractContextManager:
        """See `Folder`."""
        return FileLock(self.path / ".asr-adapt.lock")


class RemoteFolder:
    """A folder elsewhere, by URL. An object is there whole or not at all; nothing locks out another process.

    What is there is listed once, and held as 16 bytes a file.
    """

    path: Path | None = None

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def create(self) -> None:
        """See `Folder`."""
        fs, path = remote.filesystem(self._url)
        with remote.errors_of(self._url, "nothing can be written here"):
            if not hasattr(fs, "call_s3"):  # on S3 there are no folders, and this would make a bucket
                fs.makedirs(path, exist_ok=True)
            fs.pipe_file(f"{path}/{_PROBE}", b"")
        self.delete(_PROBE)

    def place(self, name: str = "") -> str:
        """See `Folder`."""
        return printable(f"{self._url}/{name}" if name else self._url)

    def changed_ns(self, name: str) -> int | None:
        """See `Folder`."""
        found = self._listing.get(key(name))
        return None if found is None else found[0]

    @cached_property
    def _listing(self) -> KeyTable:
        table = KeyTable(1)
        for file in remote.below(self._url):
            table.add(key(file.relative), file.changed_ns)
        return table

    def names(self, below: str) -> list[str]:
        """See `Folder`."""
        fs, path = remote.filesystem(f"{self._url}/{below}")
        with remote.errors_of(self._url, "cannot be listed"):
            try:
                found = fs.ls(path, detail=False)
            except FileNotFoundError:
                return []
        return sorted(f"{below}/{name.rpartition('/')[2]}" for name in found)

    def read(self, name: str) -> bytes:
        """See `Folder`."""
        fs, path = remote.filesystem(f"{self._url}/{name}")
        try:
            return bytes(fs.cat_file(path))
        except OSError:
            raise
        except Exception as error:
            raise OSError(str(error)) from error

    def write(self, name: str, text: str) -> None:
        """See `Folder`."""
        fs, path = remote.filesystem(f"{self._url}/{name}")
        with remote.errors_of(self.place(name), "cannot be written"):
            fs.pipe_file(path, text.encode())

    def write_all(self, texts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, InputError | None]]:
        """See `Folder`."""

        def write(pair: tuple[str, str]) -> tuple[str, InputError | None]:
            try:
                self.write(*pair)
            except InputError as error:
                return pair[0], error
            return pair[0], None

        rest = iter(texts)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while some := list(itertools.islice(rest, 4 * _AT_ONCE)):
                yield from pool.map(write, some)

    def delete(self, name: str) -> None:
        """See `Folder`."""
        fs, path = remote.filesystem(f"{self._url}/{name}")
        with remote.errors_of(self.place(name), "cannot be deleted"), suppress(FileNotFoundError):
            fs.rm_file(path)

    def locked(self) -> AbstractContextManager:
        """See `Folder`."""
        return nullcontext()
