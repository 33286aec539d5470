"""Inputs to transcribe: files, folders, patterns, manifests, standard input."""

# os.path takes a third of the time of Path, and a folder may hold a million files.
# ruff: noqa: PTH109, PTH114, PTH120, PTH122
import contextlib
import functools
import glob
import os
import pickle
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from asr_adapt import audio, remote
from asr_adapt.audio import media
from asr_adapt.audio.locators import absolute
from asr_adapt.corpora.readers import manifest
from asr_adapt.errors import AudioError, InputError, printable
from asr_adapt.formats.writers import Media
from asr_adapt.keys import KeyTable, key
from asr_adapt.records import Utterance

_STANDARD_INPUT = "-"
_HELD_BYTES = 2**17  # of a list of recordings; a longer one goes to a temporary file
_READ_AT_ONCE = 256


@dataclass(frozen=True)
class Selection:
    """What is read of a recording: one channel, or the mix of all (None), of one audio track, or the default one.

    A `source` that is an error is raised where the recording would be read, so that it costs this recording only.
    """

    source: audio.Audio | Utterance | AudioError
    channel: audio.Channel | None = None
    track: int | None = None


@dataclass(frozen=True)
class Input:
    """A recording to transcribe.

    `recording` is None for standard input, and a `str` is the URL of a file elsewhere. `name` is for errors, `stem`
    is the stem of its transcript's name, and `folder` (absolute) is the one that holds it.
    """

    recording: Path | str | Utterance | None
    name: str
    stem: str
    folder: Path
    size: int = 0
    """of its file in bytes, as far as a listing tells"""
    changed_ns: int | None = None
    """when its file changed, nanoseconds since 1970, as a listing tells; None: it is looked up"""

    @property
    def media(self) -> Media | None:
        """The file that holds it, and where in that file it begins; None unless it is on this machine."""
        if isinstance(self.recording, Utterance):
            file = Path(self.recording.audio)  # a URL's is no file
            return Media(file, self.recording.start_s or 0.0) if file.is_file() else None
        return Media(self.recording) if isinstance(self.recording, Path) else None

    def source(self, out: Path | None) -> str:
        """Return what tells it from other recordings, seen from the folder of the transcripts where that is here."""
        if self.recording is None:
            return _STANDARD_INPUT
        if isinstance(self.recording, str):
            return self.recording
        if isinstance(self.recording, Path):
            return _seen_from(out, _resolved(self.folder, self.recording))
        start_s, end_s = self.recording.start_s, self.recording.end_s
        segment = "" if start_s is None and end_s is None else f"#t={start_s or 0},{end_s or ''}"
        audio = self.recording.audio
        return (audio if remote.is_url(audio) else _seen_from(out, str(Path(audio).resolve()))) + segment

    def absolute(self) -> "Input":
        """Return it for a process that works in another folder."""
        if isinstance(self.recording, Path):
            return replace(self, recording=self.recording.absolute())
        if isinstance(self.recording, Utterance):
            return replace(
                self, recording=self.recording.model_copy(update={"audio": absolute(self.recording.audio)})
            )
        return self

    def opened(self) -> Path | Utterance | BinaryIO | AudioError:
        """Return what a transcriber reads. What cannot be sought, a pipe or a file elsewhere, is copied first."""
        if isinstance(self.recording, str):
            try:
                return remote.fetched(self.recording)
            except OSError as error:
                return AudioError(f"cannot be opened ({error})", place=self.name, remedy="Look at the URL.")
        if self.recording is not None:
            return self.recording
        file = tempfile.TemporaryFile()  # noqa: SIM115 - it is read after we return
        shutil.copyfileobj(sys.stdin.buffer, file)
        return file

    def selections(self, channel: str | None, track: int | None) -> list[tuple[str | None, Selection]]:
        """Return what is read, with the speaker of each; a speaker for each channel where `channel` is `each`.

        Args:
            channel: `left`, `right`, `each`, or a number from 1 on; None mixes all.
            track: From 1 on; None is the default one.
        """
        opened = self.opened()
        if channel != "each" or isinstance(opened, AudioError):
            return [(None, Selection(opened, None if channel == "each" else as_channel(channel), track))]
        locator = opened.audio if isinstance(opened, Utterance) else opened
        try:
            channels = audio.chosen_channels(locator, channel, track=track)
        except AudioError as error:
            return [(None, Selection(error))]
        return [(f"channel {number}", Selection(opened, number, track)) for number in channels]

    def is_newer_than(self, written_ns: int) -> bool:
        """Whether the recording changed after its transcript was written, nanoseconds since 1970."""
        changed_ns = self.changed_ns
        if changed_ns is None:
            media = self.media
            changed_ns = media.file.stat().st_mtime_ns if media else 0
        return changed_ns > written_ns


class Recordings(Collection[Input]):
    """Recordings, each once, in the order in which they were found.

    They are listed once, into a file on the disk from a thousand on; of each, 8 bytes are held.
    """

    def __init__(self, found: Iterable[Input]) -> None:
        self._file = tempfile.SpooledTemporaryFile(_HELD_BYTES)  # noqa: SIM115 - it is read as long as we live
        self._reading = threading.Lock()
        keys = KeyTable()
        for item in found:
            keys.add(_identity(item))
            is_listed = isinstance(item.recording, Path | str)
            kept = (str(item.recording), item.size, item.changed_ns) if is_listed else item
            self._file.write(pickle.dumps(kept, pickle.HIGHEST_PROTOCOL))
        self._end = self._file.tell()
        repeated = keys.repeated()
        self._repeated = repeated if len(repeated) else None
        self._count = len(keys) if self._repeated is None else sum(1 for _ in self)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Input]:
        seen: set[int] = set()
        for item in self._spooled():
            if self._repeated is not None and (identity := _identity(item)) in self._repeated:
                if identity in seen:
                    continue
                seen.add(identity)
            yield item

    def __contains__(self, item: object) -> bool:
        return any(item == found for found in self)

    def _spooled(self) -> Iterator[Input]:
        position = 0
        while position < self._end:
            with self._reading:  # several iterations share the file
                self._file.seek(position)
                some = [pickle.load(self._file)]
                while self._file.tell() < self._end and len(some) < _READ_AT_ONCE:
                    some.append(pickle.load(self._file))
                position = self._file.tell()
            for kept in some:
                yield kept if isinstance(kept, Input) else _of_listed(*kept)


def _identity(item: Input) -> int:
    return key(f"{item.source(None)}\0{item.stem}")


def find(inputs: Sequence[str]) -> Recordings:
    """Return the recordings that are named, each once.

    Args:
        inputs: Files; folders, whose audio files are taken, hidden ones left out; patterns such as `clips/*.m4a`,
            where no file has that very name (`**` is any depth); `.jsonl` manifests; `-` for standard input; URLs of
            files, folders and patterns elsewhere.

    Raises:
        InputError: an input does not exist, a manifest has a mistake, or there is no recording at all.
    """
    found = Recordings(recording for given in inputs for recording in _expanded(given))
    if not found:
        raise InputError("no audio file in here", place=", ".join(inputs), remedy="Name a file.")
    return found


def _expanded(given: str) -> Iterator[Input]:
    if given == _STANDARD_INPUT:
        if sys.stdin.isatty():
            raise InputError("standard input is a terminal", place=given, remedy="Pipe a recording into it.")
        yield Input(None, "standard input", "stdin", Path.cwd())
        return
    if remote.is_url(given):
        yield from _elsewhere(given)
        return
    # Path.glob takes no absolute pattern.
    paths = [Path(given)] if exists(Path(given)) else sorted(map(Path, glob.glob(given, recursive=True)))  # noqa: PTH207
    if not paths:
        what = "no file matches" if glob.has_magic(given) else "no such file or folder"
        raise InputError(what, place=printable(given), remedy="Look at the path.")
    for path in paths:
        if path.is_dir():
            for entry in media.entries_below(path):
                if media.is_audio(Path(entry.name)):
                    with contextlib.suppress(FileNotFoundError):  # it is gone again
                        stat = entry.stat()
                        yield _of_listed(entry.path, stat.st_size, stat.st_mtime_ns)
        elif manifest.recognises(path):
            for _, utterance in manifest.located(path):
                # An id may be anything; a file's name has no slash and, to be seen, no dot at its beginning.
                stem = re.sub(r"[/\\\x00-\x1f]|^\.", "_", utterance.id)
                name = printable(f"{utterance.id} ({utterance.audio})")
                yield Input(utterance, name, stem, path.resolve().parent)
        else:
            stat = path.stat()
            yield _of_listed(str(path), stat.st_size, stat.st_mtime_ns)


def _elsewhere(given: str) -> Iterator[Input]:
    is_pattern = glob.has_magic(given)
    for file in remote.files(given):
        if not file.relative and file.url.endswith(".jsonl"):
            raise InputError("manifests are read on this machine only", place=printable(given), remedy="Download it.")
        if any(map(media.is_hidden, filter(None, file.relative.split("/")))):
            continue
        if is_pattern or not file.relative or media.is_audio(Path(file.relative)):
            yield _of_listed(file.url, file.size, file.changed_ns)


def _of_listed(place: str, size: int, changed_ns: int | None) -> Input:
    if remote.is_url(place):
        folder, _, base = place.rpartition("/")
        return Input(place, printable(place), os.path.splitext(base)[0], _folder_of_url(folder), size, changed_ns)
    path = Path(place)
    return Input(path, printable(path), path.stem, _real(os.path.dirname(place), os.getcwd()), size, changed_ns)


@functools.lru_cache(maxsize=4096)
def _folder_of_url(folder: str) -> Path:
    return Path("/", folder.replace("://", "/"))


@functools.lru_cache(maxsize=4096)
def _real(folder: str, working_folder: str) -> Path:
    return Path(working_folder, folder).resolve()


def _resolved(folder: Path, path: Path) -> str:
    """Return what `path.resolve()` does, of a file in a folder that is resolved, in a tenth of the time."""
    there = f"{folder}/{path.name}"
    return os.path.realpath(there) if os.path.islink(there) else there


def _seen_from(out: Path | None, path: str) -> str:
    return path if out is None else os.path.relpath(path, _real(str(out), os.getcwd()))


def exists(path: Path) -> bool:
    """Whether something is there; under a name that no file can have, nothing is."""
    try:
        return path.exists()
    except OSError:
        return False


def as_channel(channel: str | None) -> audio.Channel | None:
    """Return one channel from its option: `left`, `right`, or a number from 1 on; None mixes all."""
    if channel is None or channel == "left" or channel == "right":
        return channel  # type: ignore[return-value]
    return int(channel)
