"""Corpora elsewhere (`s3://`, `gs://`, `hf://`): annotations are copied, recordings are read where they are.

Readers find such a corpus in the user's cache, as a folder like any other: annotations as they are, and a stand-in
for every other file, which has its size and time, and takes no room. The folder is brought up to date whenever the
corpus is read: what has another size or time is copied again, and what is gone is deleted.
"""

import errno
import itertools
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from asr_adapt import remote, storage
from asr_adapt.artifacts import TranscriptionRecord
from asr_adapt.audio import media
from asr_adapt.corpora import tabular
from asr_adapt.corpora.unpacked import locked
from asr_adapt.errors import InputError, printable
from asr_adapt.keys import KeyTable, key
from asr_adapt.remote import RemoteFile
from asr_adapt.storage import atomic_file, cache_folder, disk_full_as_error

# What readers open; Kaldi's tables have no suffix.
_ANNOTATIONS = (
    *tabular.SUFFIXES,
    *(".txt", ".json", ".jsonl", ".jsonl.gz", ".xlsx", ".scp"),
    *(".srt", ".vtt", ".cha", ".eaf", ".trs", ".textgrid"),
)
_TABLES = frozenset(("text", "segments", "utt2spk"))
_MARKS = (TranscriptionRecord.FILE, TranscriptionRecord.PARTS)
"""of drafts: hidden, and still read"""
_MOST_FILES = 2_000_000  # as below the folder of a corpus on this machine
_AT_ONCE = 16  # requests to a store that takes some 30 ms for each
_IMPOSSIBLE = (errno.EINVAL, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
_ROOM = "Make room, or set ASR_ADAPT_CACHE to a folder elsewhere."

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Copy:
    """The folder of a corpus elsewhere, as readers find it."""

    root: Path
    """the copy of what `corpus.root` names: a folder, or a table"""
    bucket: Path
    """the copy of what all its URLs begin with"""
    url: str
    """of the bucket"""

    @classmethod
    def of(cls, root: str) -> "Copy":
        """Return the copy of a corpus, up to date.

        Args:
            root: The URL of its folder, or of a table.

        Raises:
            InputError: it cannot be reached, is not there, has too many files, or cannot be read elsewhere.
            DiskFull: there is no room for its annotations.
        """
        scheme, _, path = root.rstrip("/").partition("://")
        parts = path.split("/")
        if not _can_be_a_path(parts):
            raise InputError("is not the URL of a folder or table", place=printable(root), remedy="Look at the URL.")
        bucket = cache_folder() / "remote" / scheme / parts[0]
        copy = cls(bucket.joinpath(*parts[1:]), bucket, f"{scheme}://{parts[0]}")
        fs, place = remote.filesystem(root)
        with remote.errors_of(root, "cannot be read"):
            is_file = fs.info(place)["type"] == "file"
        if is_file and not _is_annotation(parts[-1]):
            raise InputError(
                "is neither a folder nor a table, and archives and data sets are read on this machine only",
                place=printable(root),
                remedy="Download it; or unpack it there, and give the URL of its folder.",
            )
        with disk_full_as_error(bucket, _ROOM), locked(bucket):
            copy._update_marks_above()
            copy._update(copy.root.parent if is_file else copy.root)
        return copy

    def url_of(self, path: Path | str) -> str:
        """Return the URL of what a path in the copy stands for; another path as it is."""
        plain = os.path.normpath(path)
        return self.named(plain) if f"{plain}{os.sep}".startswith(f"{self.bucket}{os.sep}") else str(path)

    def named(self, text: str) -> str:
        """Return a text in which paths in the copy are the URLs that they stand for."""
        return text.replace(str(self.bucket), self.url)

    @contextmanager
    def errors_by_url(self) -> Iterator[None]:
        """Let errors name URLs.

        Raises:
            InputError: as was raised.
        """
        try:
            yield
        except InputError as error:
            error.problem, error.place, error.remedy = map(self.named, (error.problem, error.place, error.remedy))
            raise

    def _update_marks_above(self) -> None:
        """Copy the records of drafts in the folders above, which may name files of the corpus."""
        for folder in itertools.takewhile(lambda above: above.is_relative_to(self.bucket), self.root.parents):
            for path in (folder / name for name in _MARKS):
                there = KeyTable()
                with suppress(InputError):  # there mostly is none
                    for file in remote.files(self.url_of(path)):
                        there.add(key(file.relative))
                        _copied(path / file.relative, file)
                if path.is_dir():
                    _delete_others(path, there)
                elif not len(there):
                    path.unlink(missing_ok=True)

    def _update(self, folder: Path) -> None:
        for _ in range(2):  # what was a file may be a folder now: in its place once the file is deleted
            there = KeyTable()
            impossible: list[str] = []
            listing = self._listing(folder, there, impossible)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                while some := list(itertools.islice(listing, 4 * _AT_ONCE)):
                    list(pool.map(lambda file: _copied(folder / file.relative, file), some))
            deleted = _delete_others(folder, there)
            if not (impossible and deleted):
                break
        if impossible:
            _log.warning(
                "%s: %d objects have names that no file can have, and are not read, the first: %s",
                self.url_of(folder),
                len(impossible),
                impossible[0],
            )

    def _listing(self, folder: Path, there: KeyTable, impossible: list[str]) -> Iterator[RemoteFile]:
        """Yield the annotations that are to be copied; stand-ins are made on the way."""
        url = self.url_of(folder)
        for count, file in enumerate(remote.below(url), start=1):
            if count > _MOST_FILES:
                raise InputError(
                    f"more than {_MOST_FILES:,} files are below it",
                    place=printable(url),
                    remedy="Put the corpus into a folder of its own.",
                )
            parts, path = file.relative.split("/"), folder / file.relative
            if any(media.is_hidden(part) and part not in _MARKS for part in parts):
                continue
            try:
                if not _can_be_a_path(parts):
                    raise OSError(errno.EINVAL, "no name of a file")
                there.add(key(file.relative))
                is_annotation = _is_annotation(parts[-1])
                if _is_current(path, file, needs_time=is_annotation):
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                if not is_annotation or path.is_dir():  # of a folder, it raises
                    _stand_in(path, file)
                else:
                    yield file
            except OSError as error:
                if error.errno not in _IMPOSSIBLE:
                    raise
                impossible.append(printable(file.url))


def _is_annotation(name: str) -> bool:
    return name.lower().endswith(_ANNOTATIONS) or name in _TABLES


def _can_be_a_path(parts: Collection[str]) -> bool:
    return not any(part in ("", ".", "..") or "\0" in part for part in parts)


def _is_current(path: Path, file: RemoteFile, *, needs_time: bool) -> bool:
    try:
        found = os.stat(path)  # noqa: PTH116 - a third of the time, for a million files
    except (OSError, ValueError):
        return False
    return (found.st_size, found.st_mtime_ns) == (file.size, file.changed_ns) and bool(
        file.changed_ns or not needs_time
    )


def _stand_in(path: Path, file: RemoteFile) -> None:
    with path.open("wb") as stand_in:
        stand_in.truncate(file.size)
    os.utime(path, ns=(file.changed_ns, file.changed_ns))


def _copied(path: Path, file: RemoteFile) -> None:
    if _is_current(path, file, needs_time=True):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError), atomic_file(path) as partial:  # it was deleted after it was listed
        remote.copy_file(file.url, partial)
        os.utime(partial, ns=(file.changed_ns, file.changed_ns))


def _delete_others(folder: Path, there: KeyTable) -> bool:
    """Delete what is not in a listing, and return whether there was any."""
    deleted = False
    for above, _, names in os.walk(folder, topdown=False):
        relative = os.path.relpath(above, folder)
        for name in names:
            if key(name if relative == "." else f"{relative}/{name}") not in there:
                Path(above, name).unlink()
                deleted = True
        with suppress(OSError):  # something is in it
            Path(above).rmdir()
    return deleted


def content_digests(recordings: Iterable[str]) -> dict[str, str | None]:
    """Return what `storage.content_digests` does, also of recordings elsewhere.

    Those are read once: their digests are kept in the user's cache, by size and time.

    Raises:
        InputError: one cannot be fetched, for another reason than that it is not there.
    """
    names = {*recordings}
    found: dict[str, str | None] = {}
    by_bucket: dict[tuple[str, str], list[str]] = {}
    for url in sorted(filter(remote.is_url, names)):
        scheme, _, path = url.partition("://")
        by_bucket.setdefault((scheme, path.partition("/")[0]), []).append(url)
    for (scheme, bucket), urls in by_bucket.items():
        found |= _Digests(cache_folder() / "remote" / scheme / bucket).of(urls)
    return found | storage.content_digests(names - found.keys())


class _Digests:
    """Digests of recordings elsewhere that are known, a line for each: key of the URL, size, time, digest."""

    _LINE = re.compile(rb"([0-9a-f]{16}) (\d+) (\d+) ([0-9a-f]{128})")

    def __init__(self, bucket: Path) -> None:
        self._bucket = bucket
        self._file = bucket.with_name(f"{bucket.name}.digests")

    def of(self, urls: list[str]) -> dict[str, str | None]:
        known = self._known({key(url) for url in urls})
        identities = {url: self._identity(url) for url in urls}
        found: dict[str, str | None] = {url: known.get((key(url), *(identities[url] or (0, 0)))) for url in urls}
        new = [url for url, digest in found.items() if digest is None]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for first in range(0, len(new), 4 * _AT_ONCE):
                some = new[first : first + 4 * _AT_ONCE]
                digests = dict(zip(some, pool.map(remote.digest, some), strict=True))
                found |= digests
                self._keep({(url, identities[url]): digest for url, digest in digests.items()})
        return found

    def _identity(self, url: str) -> tuple[int, int] | None:
        """Return size and time of a recording, by its stand-in; None where that does not tell."""
        try:
            found = (self._bucket / url.partition("://")[2].partition("/")[2]).stat()
        except (OSError, ValueError):
            return None
        return (found.st_size, found.st_mtime_ns) if found.st_mtime_ns else None

    def _known(self, wanted: set[int]) -> dict[tuple[int, int, int], str]:
        known: dict[tuple[int, int, int], str] = {}
        with suppress(FileNotFoundError), self._file.open("rb") as lines:
            for line in lines:
                if (fields := self._LINE.match(line)) and (number := int(fields[1], 16)) in wanted:
                    known[number, int(fields[2]), int(fields[3])] = fields[4].decode()
        return known

    def _keep(self, digests: dict[tuple[str, tuple[int, int] | None], str | None]) -> None:
        lines = [
            f"{key(url):016x} {of[0]} {of[1]} {digest}\n" for (url, of), digest in digests.items() if of and digest
        ]
        if lines:
            with disk_full_as_error(self._file, _ROOM), locked(self._bucket), self._file.open("a") as file:
                file.write("\n" + "".join(lines))  # a process that was killed may have left half a line
