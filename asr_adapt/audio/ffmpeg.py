"""FFmpeg, by PyAV: the packets and frames of any container become chunks of float32 on the container's time line."""

import itertools
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from asr_adapt.audio.channels import Track, check_channels, check_track
from asr_adapt.audio.clock import Clock
from asr_adapt.audio.locators import warn
from asr_adapt.errors import AudioError

_SILENCE_SAMPLES = 2**14  # of one chunk
_JOINED_S = 0.5  # packets of Opus have 20 ms: handled one by one, they cost more than their decoding

_log = logging.getLogger(__name__)


class CannotDecode(Exception):
    """A decoder gives up: at once, or after what it has yielded."""


def decode(file: BinaryIO, from_s: float, track: int | None, place: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield `(sample rate, float32 chunk (num_samples, channels))` of a track, from a time on.

    Chunks have half a second, or what is left.

    Args:
        file: At its beginning.
        from_s: Samples before it are decoded and dropped.
        track: The track's number, from 1 on; None for the container's default.
        place: The name of the file in errors and warnings.

    Raises:
        CannotDecode: FFmpeg finds no audio, or damage; what could be decoded was yielded before.
        AudioError: there is no such track, or too many channels.
    """
    chunks, failure = _frames(file, from_s, track, place), None
    held: list[np.ndarray] = []
    held_rate = 0
    while True:
        try:
            found = next(chunks, None)
        except (CannotDecode, AudioError) as error:
            found, failure = None, error
        is_full = sum(map(len, held)) >= _JOINED_S * held_rate
        if held and (found is None or is_full or (found[0], found[1].shape[1]) != (held_rate, held[0].shape[1])):
            yield held_rate, np.concatenate(held)
            held = []
        if found is None:
            break
        held_rate = found[0]
        held.append(found[1])
    if failure:
        raise failure


def _frames(file: BinaryIO, from_s: float, track: int | None, place: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield what `decode` does, a chunk for each frame."""
    import av

    damaged = 0
    with _opened(file) as container:
        stream = _chosen(container, track, place)
        packed, clock = _Packed(place), Clock(place, _earliest_s(container, stream))
        first_rate = None
        for packet in container.demux(stream):
            try:
                frames: list[Any] = packet.decode()
            except av.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                rate, chunk = frame.sample_rate, packed.samples(frame)
                first_rate = first_rate or rate
                # A stream that changes its rate, as concatenated FLACs do, counts time in samples of the first rate.
                presentation_s = _presentation_s(frame) if rate == first_rate else None
                gap = round(clock.correction_s(presentation_s, len(chunk) / rate) * rate)
                for part in itertools.chain(_silence(gap, chunk.shape[1]), [chunk[max(0, -gap) :]]):
                    dropped = max(0, round((from_s - clock.position_s) * rate))
                    clock.position_s += len(part) / rate
                    if dropped < len(part):
                        yield rate, part[dropped:]
    if damaged:
        raise CannotDecode(f"FFmpeg: {damaged} damaged packets")


def _silence(samples: int, channels: int) -> Iterator[np.ndarray]:
    """Yield zeros; nothing for a negative number."""
    chunk = np.zeros((min(max(samples, 0), _SILENCE_SAMPLES), channels), np.float32)
    for start in range(0, samples, _SILENCE_SAMPLES):
        yield chunk[: samples - start]


def _presentation_s(frame: Any) -> float | None:
    return None if frame.pts is None or not frame.time_base else float(frame.pts * frame.time_base)


def _earliest_s(container: Any, chosen: Any) -> float:
    """Return when the other audio and video of a container begins: with it begins the time line."""
    from av.stream import Disposition

    return min(
        (
            # Packets before 0 initialise the decoder and are not presented.
            max(0.0, float(stream.start_time * stream.time_base))
            for stream in container.streams
            if stream.index != chosen.index
            and stream.type in ("audio", "video")
            and not stream.disposition & (Disposition.attached_pic | Disposition.still_image)
            and stream.start_time is not None
            and stream.time_base
        ),
        default=math.inf,
    )


def tracks(file: BinaryIO) -> tuple[Track, ...]:
    """Return the audio tracks of a file.

    Raises:
        CannotDecode: FFmpeg cannot open it.
    """
    with _opened(file) as container:
        return _tracks(container)


@contextmanager
def _opened(file: BinaryIO) -> Iterator[Any]:
    import av

    try:
        # A playlist (.m3u8) names other files and addresses: with no protocol allowed, FFmpeg opens none.
        with av.open(file, "r", options={"protocol_whitelist": "none"}, metadata_errors="ignore") as container:
            yield container
    # ValueError, RuntimeError: a codec that FFmpeg was built without.
    except (av.FFmpegError, ValueError, RuntimeError) as error:
        raise CannotDecode(f"FFmpeg: {getattr(error, 'strerror', None) or error}") from error


def _tracks(container: Any) -> tuple[Track, ...]:
    best = container.streams.best("audio")
    return tuple(
        Track(
            number=number,
            channels=_num_channels(stream),
            language=stream.metadata.get("language", ""),
            title=stream.metadata.get("title", ""),
            is_default=best is not None and stream.index == best.index,
        )
        for number, stream in enumerate(container.streams.audio, start=1)
    )


def _chosen(container: Any, track: int | None, place: str) -> Any:
    """Return the stream of a track; of several the others are named in a warning where none was chosen."""
    found = _tracks(container)
    if not found:
        raise CannotDecode("it has no audio stream")
    chosen = check_track(track, found, place)
    if track is None and len(found) > 1:
        others = ", ".join(str(other) for other in found if other is not chosen)
        warn(_log, place, "has several audio tracks; %s is read, not %s", chosen, others)
    check_channels(chosen.channels, place)
    return container.streams.audio[chosen.number - 1]


def _num_channels(stream: Any) -> int:
    """Return how many channels a stream has; 0 where only its first packet says so."""
    if stream.codec_context is None:
        return 0
    layout = stream.codec_context.layout
    # A layout with a custom channel order holds a pointer, which PyAV copies and frees twice (18.1: a segmentation
    # fault at the first frame). Nothing here depends on the order, so that the stream is decoded without one.
    if _is_custom(layout):
        stream.codec_context.layout = f"{layout.nb_channels} channels"
    return layout.nb_channels


def _is_custom(layout: Any) -> bool:
    """Whether a layout may have a custom channel order, such as `2 channels (FR+FL)`."""
    return " channels (" in layout.name


class _Packed:
    """Converts frames of any sample format to float32 in one plane, integers scaled to [-1, 1).

    PyAV counts the planes of a frame until it finds a null pointer, and with 8 planes or more runs into other memory
    (18.1): frames are converted by FFmpeg, and only their first plane is read.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._resampler: Any = None
        self._shape: tuple[str, str, int] | None = None

    def samples(self, frame: Any) -> np.ndarray:
        """Return float32 (num_samples, channels)."""
        import av

        channels = frame.layout.nb_channels
        check_channels(channels, self._place)
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            self._resampler, self._shape = av.AudioResampler(format="flt"), shape
        if channels == 1 and frame.format.name in ("flt", "fltp"):
            return np.frombuffer(frame.planes[0], np.float32, count=frame.samples).reshape(-1, 1)
        parts = [
            np.frombuffer(part.planes[0], np.float32, count=part.samples * channels).reshape(-1, channels)
            for part in self._resampler.resample(frame)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty((0, channels), np.float32), *parts])
