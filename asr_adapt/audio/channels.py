"""Several channels become one: their mean, a chosen one, or the louder one where mixing would cancel them out."""

import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from asr_adapt.audio.locators import warn
from asr_adapt.errors import AudioError, InputError

Channel = int | Literal["left", "right"]
"""a channel: its number from 1 on, or `left` (1) or `right` (2)"""

MAX_CHANNELS = 64

# Energy of the mean against what it would be if the channels had nothing in common. One voice in all of n channels
# gives n, different voices or one silent channel 1, a copy with the opposite sign 0, and 0.0003 as AAC of 128 kb/s.
_CANCELLED = 0.1
# A second channel is taken for its level only from here on, so that the choice does not change from second to second.
_LOUDER = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Track:
    """An audio track of a file."""

    number: int
    """from 1 on"""
    channels: int
    language: str
    """as the container has it, such as `eng`; empty where it has none"""
    title: str
    is_default: bool
    """whether it is read where none is chosen"""

    def __str__(self) -> str:
        """Return the track for a list of them: `track 2 (fra, 6 channels, Commentary)`."""
        about = (self.language, f"{self.channels} channel{'s' * (self.channels != 1)}", self.title)
        return f"track {self.number} ({', '.join(filter(None, about))})"


@dataclass(frozen=True)
class ChannelReport:
    """What a recording's channels hold, and what becomes of them when none is chosen."""

    track: Track
    """the track that was read"""
    other_tracks: tuple[Track, ...]
    levels_dbfs: tuple[float, ...] | None
    """mean power of each channel; 0 dB is a square wave at full scale, silence -inf; None for a mono file"""
    cancelled: float
    """share of the seconds in which mixing would cancel the channels out, in [0, 1]"""
    used: int | None
    """number of the channel that is used in those seconds, most often; None where there are none"""

    @property
    def note(self) -> str:
        """One line for people, empty where there is nothing to say."""
        parts = []
        if self.used is not None:
            parts.append(f"its channels cancel out when mixed; channel {self.used} is used instead")
        if self.other_tracks:
            parts.append(f"{self.track} is read, not {', '.join(map(str, self.other_tracks))}")
        return "; ".join(parts)


def check_channels(channels: int, place: str) -> None:
    """Refuse more channels than any recorder of speech has.

    Raises:
        AudioError: there are more than 64.
    """
    if channels > MAX_CHANNELS:
        raise AudioError(
            f"has {channels} channels, more than {MAX_CHANNELS}", place=place, remedy="Export the ones with speech."
        )


def check_track(number: int | None, tracks: Sequence[Track], place: str) -> Track:
    """Return the track of a number; the default one, or else the first, for None.

    Raises:
        AudioError: there is no such track.
    """
    if number is None:
        return next((track for track in tracks if track.is_default), tracks[0])
    if not 1 <= number <= len(tracks):
        raise AudioError(f"has no audio track {number}", place=place, remedy=f"It has {', '.join(map(str, tracks))}.")
    return tracks[number - 1]


def number(channel: Channel, channels: int, place: str) -> int:
    """Return a channel's index from 0 on.

    Raises:
        AudioError: there are not so many channels.
    """
    index = {"left": 1, "right": 2}.get(channel, channel) if isinstance(channel, str) else channel
    if not isinstance(index, int) or not 1 <= index <= channels:
        raise AudioError(
            f"has no channel '{channel}': it has {channels}", place=place, remedy=f"Choose one of 1 to {channels}."
        )
    return index - 1


def chosen(choice: str, channels: int, place: str) -> tuple[int, ...]:
    """Return the numbers, from 1 on, of the channels that a user chose: `left`, `right`, `each`, or a number.

    Raises:
        InputError: it is none of these.
        AudioError: the recording has not so many channels.
    """
    if choice == "each":
        return tuple(range(1, channels + 1))
    if choice not in ("left", "right") and not (choice.isascii() and choice.isdigit() and len(choice) < 4):
        raise InputError(
            f"'{choice}' is no channel", place="--channel", remedy="Give left, right, each, or a number."
        )
    channel: Channel = int(choice) if choice.isdigit() else choice  # type: ignore[assignment]
    return (number(channel, channels, place) + 1,)


def mixed(
    decoded: Iterator[tuple[int, np.ndarray]], channel: Channel | None, place: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield mono chunks of `(sample rate, chunk (num_samples, channels))`: a channel, or the mean of all.

    Where nearly all of the mean's energy is lost because channels cancel out, the louder channel is taken, for whole
    seconds from the beginning of what is decoded, with a warning.
    """
    warned = False
    for rate, window in _seconds(decoded, whole=channel is None):
        channels = window.shape[1]
        if channel is not None:
            yield rate, window[:, number(channel, channels, place)]
        elif channels == 1:
            yield rate, window[:, 0]
        elif (index := cancelled(window)) is None:
            yield rate, window.mean(axis=1)
        else:
            if not warned:
                warn(_log, place, "its channels cancel out when mixed; channel %d is used instead", index + 1)
                warned = True
            yield rate, window[:, index]


def cancelled(window: np.ndarray) -> int | None:
    """Return the index of the channel to take where the mean of the channels loses nearly all energy, else None.

    Args:
        window: float32 (num_samples, channels).
    """
    power = np.einsum("sc,sc->c", window, window, dtype=np.float64)
    if not np.isfinite(power).all() or not power.any():
        return None
    mean = window.mean(axis=1, dtype=np.float64)
    if np.dot(mean, mean) * len(power) ** 2 >= _CANCELLED * power.sum():
        return None
    loudest = int(power.argmax())
    return loudest if power[loudest] > _LOUDER * power[0] else 0


def _seconds(decoded: Iterator[tuple[int, np.ndarray]], whole: bool) -> Iterator[tuple[int, np.ndarray]]:
    """Yield windows of a second of several channels; chunks as they are where they are mono, or if not `whole`."""
    waiting: list[np.ndarray] = []
    filled, shape = 0, (0, 0)
    for rate, chunk in decoded:
        if waiting and shape != (rate, chunk.shape[1]):
            yield shape[0], np.concatenate(waiting)
            waiting, filled = [], 0
        shape = (rate, chunk.shape[1])
        if not whole or chunk.shape[1] == 1:
            yield rate, chunk
            continue
        while len(chunk):
            taken, chunk = chunk[: rate - filled], chunk[rate - filled :]
            waiting.append(taken)
            filled += len(taken)
            if filled == rate:
                yield rate, np.concatenate(waiting)
                waiting, filled = [], 0
    if waiting:
        yield shape[0], np.concatenate(waiting)


def reported(
    decoded: Iterator[tuple[int, np.ndarray]], track: Track, other_tracks: tuple[Track, ...], end_s: float
) -> ChannelReport:
    """Return the report of what is decoded, up to `end_s`."""
    power = np.zeros(track.channels)
    samples, seconds, used = 0, 0.0, Counter[int]()
    for rate, window in _seconds(decoded, whole=True):
        if seconds >= end_s or window.shape[1] != len(power):
            break
        power += np.einsum("sc,sc->c", window, window, dtype=np.float64)
        samples += len(window)
        seconds += len(window) / rate
        if (index := cancelled(window)) is not None:
            used[index + 1] += 1
    with np.errstate(divide="ignore"):
        levels = 10 * np.log10(power / max(samples, 1))
    share = used.total() / max(1, math.ceil(seconds))
    return ChannelReport(
        track, other_tracks, tuple(map(float, levels)), share, used.most_common(1)[0][0] if used else None
    )
