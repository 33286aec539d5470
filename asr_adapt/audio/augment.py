"""Data augmentation: speed, noise, rooms, levels, codecs, and SpecAugment that fits short clips."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.signal import fftconvolve

from asr_adapt import audio
from asr_adapt.audio import SAMPLE_RATE_HZ, media
from asr_adapt.errors import InputError

_SILENCE = 1e-12  # mean power, 120 dB below full scale
_TELEPHONE_HZ = 8_000
# Name: libsndfile's format, subtype and compression, and the rate it codes at. MP3 comes to 19 kb/s, Opus to 9.
_CODECS: dict[str, tuple[str, str, float | None, int]] = {
    "mu-law": ("WAV", "ULAW", None, _TELEPHONE_HZ),
    "gsm": ("WAV", "GSM610", None, _TELEPHONE_HZ),
    "mp3": ("MP3", "MPEG_LAYER_III", 0.99, SAMPLE_RATE_HZ),
    "opus": ("OGG", "OPUS", 0.99, SAMPLE_RATE_HZ),
}
CODECS = tuple(_CODECS)


def speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Return a waveform played `factor` times as fast, pitch and formants with it (Ko et al. 2015, Interspeech).

    Args:
        waveform: float32 (num_samples,), 16 kHz.
        factor: Near 1; more is faster, and gives `num_samples / factor` samples.
    """
    return soxr.resample(waveform, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ, quality="LQ")


def recordings(folder: Path, place: str) -> list[Path]:
    """Return the recordings in a folder and its subfolders, in the order of their names.

    Raises:
        InputError: there is none.
    """
    found = [path for path in media.visible(folder) if media.is_audio(path) and path.is_file()]
    if not found:
        raise InputError(f"no recording in '{folder}'", place=place, remedy="Give a folder of audio files.")
    return found


def add_noise(waveform: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Return a waveform with noise `snr_db` below it, in mean power over the clip.

    Args:
        waveform: float32 (num_samples,).
        noise: float32 of the same length.
        snr_db: Level of the waveform above the noise.
    """
    power, noise_power = float(np.mean(waveform**2)), float(np.mean(noise**2))
    if noise_power < _SILENCE:
        return waveform
    return (waveform + noise * np.sqrt(power / noise_power) * 10 ** (-snr_db / 20)).astype(np.float32)


def random_segment(waveform: np.ndarray, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return `num_samples` of a waveform from a random position, repeating a shorter one."""
    start = int(rng.integers(len(waveform)))
    return np.take(waveform, np.arange(start, start + num_samples), mode="wrap")


def room_response(rng: np.random.Generator) -> np.ndarray:
    """Return the impulse response of a synthetic room: float32 (num_samples,), 16 kHz.

    The direct sound, then after some milliseconds noise that decays by 60 dB in 0.15 to 0.8 s (Polack's model; Habets
    2006, "Room impulse response generator"), 3 to 15 dB below the direct sound in energy.
    """
    decay_s = rng.uniform(0.15, 0.8)
    t = np.arange(int(decay_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(len(t)) * 10 ** (-3 * t / decay_s)
    tail[: int(rng.uniform(0.002, 0.01) * SAMPLE_RATE_HZ)] = 0
    tail *= 10 ** (-rng.uniform(3, 15) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return tail.astype(np.float32)


def in_room(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Return a waveform with a room's reverberation; level, length and position of the direct sound stay the same.

    Args:
        waveform: float32 (num_samples,), 16 kHz.
        response: float32, the room's impulse response; its greatest sample is the direct sound.
    """
    direct = int(np.abs(response).argmax())
    reverberant = fftconvolve(waveform, response)[direct : direct + len(waveform)]
    power = float(np.mean(reverberant**2))
    return (reverberant * np.sqrt(np.mean(waveform**2) / max(power, _SILENCE))).astype(np.float32)


def at_level(waveform: np.ndarray, gain_db: float) -> np.ndarray:
    """Return a waveform louder or quieter by `gain_db`, clipped at full scale as a recorder does."""
    return np.clip(waveform * 10 ** (gain_db / 20), -1, 1).astype(np.float32)


def coded(waveform: np.ndarray, codec: str) -> np.ndarray:
    """Return a waveform after a lossy codec: float32 of the same length, 16 kHz.

    Args:
        waveform: float32 (num_samples,), 16 kHz; above full scale it is clipped.
        codec: One of `CODECS`. `mu-law` and `gsm` are telephones: nothing is left above 4 kHz.
    """
    kind, subtype, compression, rate_hz = _CODECS[codec]
    file = io.BytesIO()
    sent = soxr.resample(waveform, SAMPLE_RATE_HZ, rate_hz) if rate_hz != SAMPLE_RATE_HZ else waveform
    soundfile.write(file, np.clip(sent, -1, 1), rate_hz, subtype, format=kind, compression_level=compression)
    decoded = audio.load(file.getvalue())[: len(waveform)]
    return np.pad(decoded, (0, len(waveform) - len(decoded)))


def time_mask(lengths: Sequence[int], share: float, span: int, rng: np.random.Generator) -> np.ndarray:
    """Return which frames are hidden: bool (clips, longest), True is hidden (Park et al. 2019, arXiv:1904.08779).

    Spans start anywhere and may overlap, so that on average at most `share` of a clip is hidden. Transformers' own
    masks hide 71 % of a clip of 0.4 s and refuse clips below one span; here a span is a quarter of the clip at most,
    no clip is hidden completely, and clips of fewer than four frames are not masked.

    Args:
        lengths: Frames of each clip.
        share: Share of the frames to hide, in [0, 1).
        span: Frames in one span.
        rng: Source of randomness.
    """
    mask = np.zeros((len(lengths), max(lengths)), dtype=bool)
    for row, frames in zip(mask, lengths, strict=True):
        if frames < 4:  # nothing would be left to learn from
            continue
        width = max(1, min(span, frames // 4))
        count = int(share * frames / width + rng.random())  # rounds up as often as the remainder says
        count = min(count, (frames - 1) // width)  # too few to hide all of it
        for start in rng.integers(0, frames - width + 1, size=count):
            row[start : start + width] = True
    return mask


def feature_mask(clips: int, size: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return which features of the transformer's input are hidden in the whole clip: bool (clips, size)."""
    return rng.random((clips, size)) < share
