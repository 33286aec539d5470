"""Decoding: any audio file becomes mono float32 at 16 kHz, by libsndfile or FFmpeg."""

import io
import logging
import math
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from asr_adapt.audio import ffmpeg
from asr_adapt.audio.channels import (
    Channel,
    ChannelReport,
    Track,
    check_channels,
    check_track,
    chosen,
    mixed,
    reported,
)
from asr_adapt.audio.ffmpeg import CannotDecode
from asr_adapt.audio.locators import Audio, opened, place_of, warn
from asr_adapt.audio.resample import RATES_HZ, SAMPLE_RATE_HZ, check_rate, resampled
from asr_adapt.errors import AudioError
from asr_adapt.records import MAX_TIME_S

# Frames of one read: 0.3 s at 48 kHz, independent of the header.
_READ_FRAMES = 2**14
# Decoded before a segment, so that its first samples are filtered with what precedes them.
_EDGE_S = 0.25
# Formats whose header does not determine the duration.
_COMPRESSED = frozenset({"FLAC", "MP3", "OGG"})
_NOT_LIBSNDFILES = frozenset({"MP3", "OGG"})  # see _by_libsndfile
# What may follow a FLAC's last frame without being audio, such as an ID3 tag.
_TAGS_BYTES = 1_024
_CONVERT = "Convert it to WAV or FLAC, for example with `ffmpeg -i IN OUT.wav`."

_log = logging.getLogger(__name__)


def load(
    audio: Audio,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    channel: Channel | None = None,
    track: int | None = None,
) -> np.ndarray:
    """Return a recording, or the segment of it from `start_s` to `end_s`, as mono at 16 kHz.

    libsndfile reads WAV, FLAC, AIFF and their like, FFmpeg the rest: MP3, Ogg, Opus, m4a, mp4, webm, AMR, 3gp.
    A damaged or truncated file gives what can be decoded of it, with a warning where the damage is noticed.

    Args:
        audio: A path of a regular file, the URL of a file elsewhere, `archive#member` in a tar or zip file (what
            precedes the member in a `.tar.gz` is unpacked each time), the bytes of a file, or a seekable binary file,
            which is read from its beginning and stays open.
        start_s: Where the segment begins. It holds the very samples that the whole recording has there. WAV and
            FLAC are sought; elsewhere all that precedes it is decoded (MP3: 400 times real time) and dropped.
        end_s: Where it ends, or later than the recording's end. Hardly anything after it is decoded, so it
            is also a limit on a decompression bomb.
        channel: A channel's number, from 1 on, `left` or `right`; None for the mean of all channels. Where mixing
            would cancel channels out, the mean is replaced by the louder channel, with a warning.
        track: The number, from 1 on, of the audio track; None for the default one, with a warning where there are
            several.

    Returns:
        float32 (num_samples,), 16 kHz, in about [-1, 1]: integer formats are scaled to that, floats are left as they
        are, and resampling may overshoot a little.

    Raises:
        AudioError: the file is missing, empty or not a regular file, holds no audio or none in the segment, has NaN
            or infinite samples, claims a rate outside of 1 to 768 kHz or more than 64 channels, or has no such
            channel or track.
        InputError: a file elsewhere cannot be fetched, for another reason than that it is not there.
    """
    return np.concatenate(list(blocks(audio, start_s=start_s, end_s=end_s, channel=channel, track=track)))


def blocks(
    audio: Audio,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    block_s: float = 30.0,
    channel: Channel | None = None,
    track: int | None = None,
) -> Iterator[np.ndarray]:
    """Yield the samples of `load` in blocks of `block_s`, the last one shorter; memory is that of one block.

    Arguments, samples and errors are those of `load`; errors are raised when the block that meets them is due.
    """
    place = place_of(audio)
    check_times(start_s, end_s, place)
    begin_s = start_s or 0.0
    # A whole second is a sample both at the file's rate and at 16 kHz, so a segment keeps to the whole's grid.
    origin_s = max(0, math.floor(begin_s - _EDGE_S))
    first = round(begin_s * SAMPLE_RATE_HZ) - origin_s * SAMPLE_RATE_HZ
    stop = None if end_s is None else round(end_s * SAMPLE_RATE_HZ) - origin_s * SAMPLE_RATE_HZ

    empty = True
    with opened(audio) as file:
        mono = mixed(_decoded(file, origin_s, track, place), channel, place)
        samples = resampled(mono, place)
        for block in _regrouped(_between(samples, first, stop), round(block_s * SAMPLE_RATE_HZ)):
            empty = False
            yield block
    if empty:
        raise no_samples(start_s, end_s, place)


def check_times(start_s: float | None, end_s: float | None, place: str) -> None:
    """Refuse times that no segment has.

    Raises:
        AudioError: not 0 <= start_s < end_s <= `MAX_TIME_S`.
    """
    begin_s = start_s or 0.0
    if not (0 <= begin_s <= MAX_TIME_S and (end_s is None or begin_s < end_s <= MAX_TIME_S)):
        raise AudioError(
            f"a segment must have 0 <= start_s < end_s <= {MAX_TIME_S:.0e}, but is {start_s} to {end_s}",
            place=place,
            remedy="Times are in seconds from the recording's beginning.",
        )


def no_samples(start_s: float | None, end_s: float | None, place: str) -> AudioError:
    """Return the error for a recording, or a segment of it, that holds nothing."""
    segment = f" between {start_s or 0.0} s and {'its end' if end_s is None else f'{end_s} s'}"
    return AudioError(
        "holds no samples" + (segment if start_s or end_s else ""),
        place=place,
        remedy="Leave it out, or correct its times.",
    )


def duration_s(audio: Audio) -> float:
    """Return how long a recording is, as `load` would find it: from a WAV's header, else by decoding all.

    Raises:
        AudioError: as `load`, as far as the header shows it.
    """
    import soundfile

    with opened(audio) as file:
        try:
            info = soundfile.info(file)
        except (soundfile.SoundFileError, TypeError):
            info = None
        if info and info.frames and info.samplerate in RATES_HZ and info.format not in _COMPRESSED:
            check_channels(info.channels, place_of(audio))
            return info.frames / info.samplerate
    return sum(len(block) for block in blocks(audio)) / SAMPLE_RATE_HZ


def header_duration_s(audio: Audio) -> float | None:
    """Return the duration in a WAV's header, without checking it; None for other files and open-ended headers."""
    import wave

    try:
        with opened(audio) as file, wave.open(file, "rb") as sound:
            frames, size = sound.getnframes(), sound.getnframes() * sound.getnchannels() * sound.getsampwidth()
            # Recorders that write a stream leave the size open, as 0 or as the largest there is.
            return frames / sound.getframerate() if 0 < size < 0x7FFF0000 else None
    except (AudioError, wave.Error, EOFError, ZeroDivisionError):
        return None


def tracks(audio: Audio) -> tuple[Track, ...]:
    """Return the audio tracks of a file, with their channels; one for WAV, FLAC and MP3.

    Raises:
        AudioError: the file cannot be opened, or holds no audio.
    """
    import soundfile

    with opened(audio) as file:
        try:
            info = soundfile.info(file)
            if info.format not in _NOT_LIBSNDFILES and info.frames:
                return (_only_track(info.channels),)
        except (soundfile.SoundFileError, TypeError):
            pass
        file.seek(0)
        try:
            found = ffmpeg.tracks(file)
        except CannotDecode as error:
            raise AudioError(f"no audio can be decoded ({error})", place=place_of(audio), remedy=_CONVERT) from error
    if not found:
        raise AudioError("holds no audio", place=place_of(audio), remedy=_CONVERT)
    return found


def chosen_channels(audio: Audio, choice: str, *, track: int | None = None) -> tuple[int, ...]:
    """Return the numbers of the channels that a user chose by `left`, `right`, `each` or a number.

    Raises:
        InputError: it is none of these.
        AudioError: the file cannot be opened, or has no such channel or track.
    """
    place = place_of(audio)
    return chosen(choice, check_track(track, tracks(audio), place).channels, place)


def channel_report(audio: Audio, *, track: int | None = None, end_s: float = 60.0) -> ChannelReport:
    """Return what a recording's channels hold up to `end_s`, and what `load` uses; a mono file is not decoded.

    Raises:
        AudioError: as `load`.
    """
    place = place_of(audio)
    found = tracks(audio)
    read = check_track(track, found, place)
    others = tuple(other for other in found if other is not read) if track is None else ()
    if read.channels == 1:
        return ChannelReport(read, others, None, 0.0, None)
    with opened(audio) as file:
        return reported(_decoded(file, 0, read.number, place), read, others, end_s)


def is_seekable(audio: Audio) -> bool:
    """Return whether a segment of the recording is read without decoding all before it: WAV, FLAC and their like."""
    import soundfile

    try:
        with opened(audio) as file:
            return soundfile.info(file).format not in _NOT_LIBSNDFILES
    except (AudioError, soundfile.SoundFileError, TypeError):
        return False


def _decoded(file: BinaryIO, origin_s: int, track: int | None, place: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield `(sample rate, float32 chunk (num_samples, channels))` from second `origin_s` on.

    Where libsndfile fails, at once or in the middle, FFmpeg continues from the same sample.
    """
    file.seek(0)
    head = file.read(16)
    if not head:
        raise AudioError("the file is empty (0 bytes)", place=place, remedy="Copy or download it again.")
    from_s, found, reason = float(origin_s), False, ""
    for decode in (_by_libsndfile, ffmpeg.decode):
        file.seek(0)
        try:
            for rate, chunk in decode(file, from_s, track, place):
                check_rate(rate, place)
                found = True
                from_s += len(chunk) / rate
                yield rate, chunk
            return
        except CannotDecode as error:
            reason = str(error)
    if not found:
        raise AudioError(
            f"no audio can be decoded ({reason}); the file begins with {head!r}", place=place, remedy=_CONVERT
        )
    warn(_log, place, "damaged (%s); going on with what could be decoded", reason)


def _by_libsndfile(file: BinaryIO, from_s: float, track: int | None, place: str) -> Iterator[tuple[int, np.ndarray]]:
    import soundfile

    try:
        # TypeError: the name ends with .raw, and soundfile requires its format.
        with soundfile.SoundFile(file) as sound:
            # Measured with libsndfile 1.2.2 and soundfile 0.14, which seeks after each read: an MP3 read in parts
            # is full of wrong samples, and seeking in Vorbis may miss. Of files put one after another only the
            # first is read, and of an MP3 of variable rate without a Xing header 1.2 s of 4.1 s.
            if sound.format in _NOT_LIBSNDFILES:
                raise CannotDecode(f"libsndfile's {sound.format} is not used")
            # A recorder that was killed leaves a WAV that claims no samples; FFmpeg reads it to its end.
            if not sound.frames:
                raise CannotDecode("libsndfile finds no samples")
            check_channels(sound.channels, place)
            check_track(track, (_only_track(sound.channels),), place)
            sound.seek(min(round(from_s * sound.samplerate), sound.frames))
            while len(chunk := sound.read(_READ_FRAMES, dtype="float32", always_2d=True)):
                yield sound.samplerate, chunk
            # A FLAC may go on after the number of samples in its header.
            position = file.tell()
            unread = file.seek(0, io.SEEK_END) - position
            if sound.format == "FLAC" and unread > _TAGS_BYTES:
                raise CannotDecode(f"libsndfile leaves {unread} bytes")
    except (soundfile.SoundFileError, TypeError) as error:
        raise CannotDecode(f"libsndfile error {getattr(error, 'code', '')}") from error


def _only_track(channels: int) -> Track:
    return Track(number=1, channels=channels, language="", title="", is_default=True)


def _between(chunks: Iterator[np.ndarray], first: int, stop: int | None) -> Iterator[np.ndarray]:
    """Yield samples `first` to `stop`; nothing after `stop` is decoded."""
    position = 0
    for chunk in chunks:
        end = None if stop is None else max(0, stop - position)
        yield chunk[max(0, first - position) : end]
        position += len(chunk)
        if stop is not None and position >= stop:
            return


def _regrouped(chunks: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Yield the same samples in arrays of `size`, the last one shorter."""
    block, filled = np.empty(size, np.float32), 0
    for chunk in chunks:
        while len(chunk):
            taken, chunk = chunk[: size - filled], chunk[size - filled :]
            block[filled : filled + len(taken)] = taken
            filled += len(taken)
            if filled == size:
                yield block
                block, filled = np.empty(size, np.float32), 0
    if filled:
        yield block[:filled]
