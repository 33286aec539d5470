"""Audio: any file → mono float32 at 16 kHz. The only place that decodes, and the only place that resamples."""

import io
import logging
import lzma
import math
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from asr_adapt.audio.resample import RATES_HZ, SAMPLE_RATE_HZ, resampled
from asr_adapt.errors import AudioError

Audio = str | Path | bytes | BinaryIO

# Frames of one read: 0.3 s at 48 kHz, whatever the header claims.
_READ_FRAMES = 2**14
# Decoded ahead of a piece, so that its first samples are filtered with what precedes them.
_EDGE_S = 0.25
# Formats whose header does not settle how much there is.
_COMPRESSED = frozenset({"FLAC", "MP3", "OGG"})
_NOT_LIBSNDFILES = frozenset({"MP3", "OGG"})  # see _by_libsndfile
# What may follow a FLAC's last frame without being audio, such as an ID3 tag.
_TAGS_BYTES = 1_024
_CONVERT = "Convert it to WAV or FLAC, for example with `ffmpeg -i IN OUT.wav`."

_OPEN_ERRORS = (
    *(OSError, ValueError),  # ValueError: a NUL in the name
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError),  # a damaged archive
    *(NotImplementedError, RuntimeError),  # a zip that is packed in an unknown way, or encrypted
)

_log = logging.getLogger(__name__)


def load(audio: Audio, *, start_s: float | None = None, end_s: float | None = None) -> np.ndarray:
    """Return a recording, or the piece of it from `start_s` to `end_s`, as mono at 16 kHz.

    libsndfile reads WAV, FLAC, AIFF and their like, FFmpeg the rest: MP3, Ogg, Opus, m4a, mp4, webm, AMR, 3gp.
    A damaged or truncated file gives what can be decoded of it, with a warning where the damage is noticed.

    Args:
        audio: A path, `archive#member` in a tar or zip file (the member is read into memory; in a `.tar.gz`
            what precedes it is unpacked each time), the bytes of a file, or a seekable binary file, which is
            read from its beginning and stays open.
        start_s: Where the piece begins. It holds the very samples that the whole recording has there. WAV and
            FLAC are sought; elsewhere all that precedes it is decoded (MP3: 400 times real time) and dropped.
        end_s: Where it ends, or later than the recording's end. Hardly anything after it is decoded, so it
            is also a limit on a decompression bomb.

    Returns:
        float32 (num_samples,), 16 kHz, the mean of all channels, in about [-1, 1]: integer formats are scaled
        to that, floats are left as they are, and resampling may overshoot a little.

    Raises:
        AudioError: the file is missing or empty, holds no audio or none in the piece, has NaN or infinite
            samples, or claims a rate outside of 1 to 768 kHz.
    """
    return np.concatenate(list(blocks(audio, start_s=start_s, end_s=end_s)))


def blocks(
    audio: Audio, *, start_s: float | None = None, end_s: float | None = None, block_s: float = 30.0
) -> Iterator[np.ndarray]:
    """Yield the samples of `load` in blocks of `block_s`, the last one shorter; memory is that of one block.

    Arguments, samples and errors are those of `load`; errors are raised when the block that meets them is due.
    """
    place = _place(audio)
    begin_s = start_s or 0.0
    if begin_s < 0 or (end_s is not None and end_s <= begin_s):
        raise AudioError(
            f"a piece must have 0 <= start_s < end_s, but is {start_s} to {end_s}",
            place=place,
            remedy="Times are in seconds from the recording's beginning.",
        )
    # A whole second is a sample both at the file's rate and at 16 kHz, so a piece keeps to the whole's grid.
    origin_s = max(0, math.floor(begin_s - _EDGE_S))
    first = round(begin_s * SAMPLE_RATE_HZ) - origin_s * SAMPLE_RATE_HZ
    stop = None if end_s is None else round(end_s * SAMPLE_RATE_HZ) - origin_s * SAMPLE_RATE_HZ

    empty = True
    with _opened(audio) as file:
        samples = resampled(_decoded(file, origin_s, place), place)
        for block in _regrouped(_between(samples, first, stop), round(block_s * SAMPLE_RATE_HZ)):
            empty = False
            yield block
    if empty:
        piece = f" between {begin_s} s and {'its end' if end_s is None else f'{end_s} s'}"
        raise AudioError(
            "holds no samples" + (piece if start_s or end_s else ""),
            place=place,
            remedy="Leave it out, or correct its times.",
        )


def duration_s(audio: Audio) -> float:
    """Return how long a recording is, as `load` would find it: from a WAV's header, else by decoding all.

    Raises:
        AudioError: as `load`, as far as the header shows it.
    """
    import soundfile

    with _opened(audio) as file:
        try:
            info = soundfile.info(file)
        except (soundfile.SoundFileError, TypeError):
            info = None
        if info and info.frames and info.samplerate in RATES_HZ and info.format not in _COMPRESSED:
            return info.frames / info.samplerate
    return sum(len(block) for block in blocks(audio)) / SAMPLE_RATE_HZ


def header_duration_s(audio: Audio) -> float | None:
    """Return how long the header of a WAV says it is, whatever lies behind it; None where no header settles it."""
    import wave

    try:
        with _opened(audio) as file, wave.open(file, "rb") as sound:
            frames, size = sound.getnframes(), sound.getnframes() * sound.getnchannels() * sound.getsampwidth()
            # Recorders that write a stream leave the size open, as 0 or as the largest there is.
            return frames / sound.getframerate() if 0 < size < 0x7FFF0000 else None
    except (AudioError, wave.Error, EOFError, ZeroDivisionError):
        return None


def is_seekable(audio: Audio) -> bool:
    """Return whether a piece of the recording is read without decoding all before it: WAV, FLAC and their like."""
    import soundfile

    try:
        with _opened(audio) as file:
            return soundfile.info(file).format not in _NOT_LIBSNDFILES
    except (AudioError, soundfile.SoundFileError, TypeError):
        return False


class _CannotDecode(Exception):
    """A decoder gives up: at once, or after what it has yielded."""


def _decoded(file: BinaryIO, origin_s: int, place: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield `(sample rate, mono float32 chunk)` from second `origin_s` on.

    Where libsndfile gives up, at once or in the middle, FFmpeg goes on from the same sample.
    """
    file.seek(0)
    head = file.read(16)
    if not head:
        raise AudioError("the file is empty (0 bytes)", place=place, remedy="Copy or download it again.")
    from_s, found, reason = float(origin_s), False, ""
    for decode in (_by_libsndfile, _by_ffmpeg):
        file.seek(0)
        try:
            for rate, chunk in decode(file, from_s):
                found = True
                from_s += len(chunk) / rate
                yield rate, chunk
            return
        except _CannotDecode as error:
            reason = str(error)
    if not found:
        raise AudioError(
            f"no audio can be decoded ({reason}); the file begins with {head!r}", place=place, remedy=_CONVERT
        )
    _log.warning("%s: damaged (%s); going on with what could be decoded", place, reason)


def _by_libsndfile(file: BinaryIO, from_s: float) -> Iterator[tuple[int, np.ndarray]]:
    import soundfile

    try:
        # TypeError: the name ends with .raw, and soundfile wants to be told its format.
        with soundfile.SoundFile(file) as sound:
            # Measured with libsndfile 1.2.2 and soundfile 0.14, which seeks after each read: an MP3 read in pieces
            # is full of wrong samples, and seeking in Vorbis may miss. Of files put one after another only the
            # first is read, and of an MP3 of variable rate without a Xing header 1.2 s of 4.1 s.
            if sound.format in _NOT_LIBSNDFILES:
                raise _CannotDecode(f"libsndfile's {sound.format} is not used")
            # A recorder that was killed leaves a WAV that claims no samples; FFmpeg reads it to its end.
            if not sound.frames:
                raise _CannotDecode("libsndfile finds no samples")
            sound.seek(min(round(from_s * sound.samplerate), sound.frames))
            while len(chunk := sound.read(_READ_FRAMES, dtype="float32", always_2d=True)):
                yield sound.samplerate, chunk.mean(axis=1)
            # A FLAC may go on after the number of samples in its header.
            position = file.tell()
            unread = file.seek(0, io.SEEK_END) - position
            if sound.format == "FLAC" and unread > _TAGS_BYTES:
                raise _CannotDecode(f"libsndfile leaves {unread} bytes")
    except (soundfile.SoundFileError, TypeError) as error:
        raise _CannotDecode(f"libsndfile error {getattr(error, 'code', '')}") from error


def _by_ffmpeg(file: BinaryIO, from_s: float) -> Iterator[tuple[int, np.ndarray]]:
    import av

    position_s, damaged = 0.0, 0
    try:
        # A playlist (.m3u8) names other files and addresses: with no protocol allowed, FFmpeg opens none.
        with av.open(file, "r", options={"protocol_whitelist": "none"}, metadata_errors="ignore") as container:
            stream = container.streams.best("audio")
            if stream is None:
                raise _CannotDecode("it has no audio stream")
            for packet in container.demux(stream):
                try:
                    frames: list[Any] = packet.decode()
                except av.FFmpegError:
                    damaged += 1
                    continue
                for frame in frames:
                    chunk = _mono(frame)
                    dropped = max(0, round((from_s - position_s) * frame.sample_rate))
                    position_s += len(chunk) / frame.sample_rate
                    if dropped < len(chunk):
                        yield frame.sample_rate, chunk[dropped:]
    # ValueError, RuntimeError: a codec that FFmpeg was built without.
    except (av.FFmpegError, ValueError, RuntimeError) as error:
        raise _CannotDecode(f"FFmpeg: {getattr(error, 'strerror', None) or error}") from error
    if damaged:
        raise _CannotDecode(f"FFmpeg: {damaged} damaged packets")


def _mono(frame: Any) -> np.ndarray:
    """Return the mean of a PyAV frame's channels: float32 (num_samples,), integers scaled to [-1, 1)."""
    values = frame.to_ndarray()
    if values.dtype.kind == "u":
        values = values / 128.0 - 1.0
    elif values.dtype.kind == "i":
        values = values / -float(np.iinfo(values.dtype).min)
    channels = values if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels).T
    return channels.mean(axis=0, dtype=np.float32)


def _between(chunks: Iterator[np.ndarray], first: int, stop: int | None) -> Iterator[np.ndarray]:
    """Yield what lies in samples `first` to `stop`; nothing after `stop` is asked for."""
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


def _place(audio: Audio) -> str:
    if isinstance(audio, bytes):
        return "<bytes>"
    if isinstance(audio, str | Path):
        return str(audio)
    name = getattr(audio, "name", None)
    return name if isinstance(name, str) else "<file>"


@contextmanager
def _opened(audio: Audio) -> Iterator[BinaryIO]:
    """Give a seekable binary file; one that the caller has opened is not closed."""
    if isinstance(audio, bytes):
        yield io.BytesIO(audio)
    elif not isinstance(audio, str | Path):
        yield audio
    else:
        try:
            file = _open_locator(str(audio))
        except _OPEN_ERRORS as error:
            raise AudioError(
                f"cannot be opened ({getattr(error, 'strerror', None) or error})",
                place=audio,
                remedy="Check the path, and whether it can be read.",
            ) from error
        with file:
            yield file


def _open_locator(locator: str) -> BinaryIO:
    if not Path(locator).exists():
        for at in (index for index, letter in enumerate(locator) if letter == "#"):
            if Path(locator[:at]).is_file():
                return io.BytesIO(_member(Path(locator[:at]), locator[at + 1 :]))
    return Path(locator).open("rb")


def _member(archive: Path, name: str) -> bytes:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                return packed.read(name)
        with tarfile.open(archive) as tar:
            member = tar.extractfile(name)
            if member is None:
                raise KeyError(name)
            return member.read()
    except KeyError as error:
        raise FileNotFoundError(f"no file '{name}' in the archive") from error
