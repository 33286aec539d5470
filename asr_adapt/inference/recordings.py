"""Inputs to transcribe: files, folders, patterns, manifests, standard input."""

import glob
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from asr_adapt import audio
from asr_adapt.audio import media
from asr_adapt.corpora.readers import manifest
from asr_adapt.errors import AudioError, InputError, printable
from asr_adapt.formats.writers import Media
from asr_adapt.records import Utterance

AUDIO_SUFFIXES = frozenset(media.SUFFIXES)
_STANDARD_INPUT = "-"


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

    `recording` is None for standard input. `name` is for errors, `stem` is the stem of its transcript's name, and
    `folder` (absolute) is the one that holds it.
    """

    recording: Path | Utterance | None
    name: str
    stem: str
    folder: Path

    @property
    def media(self) -> Media | None:
        """The file that holds it, and where in that file it begins."""
        if isinstance(self.recording, Utterance):
            file = Path(self.recording.audio)
            return Media(file, self.recording.start_s or 0.0) if file.is_file() else None
        return Media(self.recording) if self.recording else None

    def source(self, out: Path) -> str:
        """Return what tells it from other recordings, seen from the folder of the transcripts."""
        if self.recording is None:
            return _STANDARD_INPUT
        if isinstance(self.recording, Path):
            return os.path.relpath(self.recording.resolve(), out.resolve())
        start_s, end_s = self.recording.start_s, self.recording.end_s
        segment = "" if start_s is None and end_s is None else f"#t={start_s or 0},{end_s or ''}"
        return os.path.relpath(Path(self.recording.audio).resolve(), out.resolve()) + segment

    def opened(self) -> Path | Utterance | BinaryIO:
        """Return what a transcriber reads. Standard input is copied to the disk first: a pipe cannot be sought."""
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
        if channel != "each":
            return [(None, Selection(opened, as_channel(channel), track))]
        locator = opened.audio if isinstance(opened, Utterance) else opened
        try:
            channels = audio.chosen_channels(locator, channel, track=track)
        except AudioError as error:
            return [(None, Selection(error))]
        return [(f"channel {number}", Selection(opened, number, track)) for number in channels]

    def is_newer_than(self, place: Path) -> bool:
        """Whether the recording changed after its transcript was written."""
        media = self.media
        return media is not None and media.file.stat().st_mtime_ns > place.stat().st_mtime_ns


def find(inputs: Sequence[str]) -> list[Input]:
    """Return the recordings that are named, each once.

    Args:
        inputs: Files; folders, whose audio files are taken, hidden ones left out; patterns such as `clips/*.m4a`,
            where no file has that very name (`**` is any depth); `.jsonl` manifests; `-` for standard input.

    Raises:
        InputError: an input does not exist, a manifest has a mistake, or there is no recording at all.
    """
    found: dict[tuple[str, str], Input] = {}
    for given in inputs:
        for recording in _expanded(given):
            found.setdefault((recording.source(Path()), recording.stem), recording)
    if not found:
        raise InputError("no audio file in here", place=", ".join(inputs), remedy="Name a file.")
    return list(found.values())


def _expanded(given: str) -> Iterator[Input]:
    if given == _STANDARD_INPUT:
        if sys.stdin.isatty():
            raise InputError("standard input is a terminal", place=given, remedy="Pipe a recording into it.")
        yield Input(None, "standard input", "stdin", Path.cwd())
        return
    # Path.glob takes no absolute pattern.
    paths = [Path(given)] if exists(Path(given)) else sorted(map(Path, glob.glob(given, recursive=True)))  # noqa: PTH207
    if not paths:
        what = "no file matches" if glob.has_magic(given) else "no such file or folder"
        raise InputError(what, place=printable(given), remedy="Look at the path.")
    for path in paths:
        if path.is_dir():
            for file in media.visible(path):
                if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file():
                    yield _of_file(file)
        elif manifest.recognises(path):
            for _, utterance in manifest.located(path):
                # An id may be anything; a file's name has no slash and, to be seen, no dot at its beginning.
                stem = re.sub(r"[/\\\x00-\x1f]|^\.", "_", utterance.id)
                name = printable(f"{utterance.id} ({utterance.audio})")
                yield Input(utterance, name, stem, path.resolve().parent)
        else:
            yield _of_file(path)


def _of_file(path: Path) -> Input:
    return Input(path, printable(path), path.stem, path.resolve().parent)


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
