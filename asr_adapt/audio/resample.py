"""Resampling to 16 kHz: the only resampler of input audio (augment.py changes speed by its own)."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from asr_adapt.errors import AudioError

SAMPLE_RATE_HZ = 16_000


RATES_HZ = range(1_000, 768_001)


# Integers written as floats reach this. What is larger is no sound, and would overflow in the resampler.
_MAX_LEVEL = 2.0**31


def resample(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Return a waveform at 16 kHz, filtered as `load` does it (soxr, HQ: flat to 7 kHz, aliases below -120 dB).

    Args:
        waveform: float (num_samples,), in [-1, 1], at `sample_rate_hz`. It is not changed.
        sample_rate_hz: 1_000 to 768_000.

    Returns:
        float32 (num_samples * 16_000 / sample_rate_hz,), 16 kHz.

    Raises:
        AudioError: another shape or an integer dtype, no samples, NaN or infinite samples, an impossible rate.
    """
    import soxr

    place = "<array>"
    if waveform.ndim != 1 or not waveform.size or waveform.dtype.kind != "f":
        raise AudioError(
            f"a waveform must be float (num_samples,), but is {waveform.dtype} {waveform.shape}",
            place=place,
            remedy="Average the channels; divide int16 samples by 32768.",
        )
    check_rate(sample_rate_hz, place)
    _check_levels(waveform, place)
    waveform = waveform.astype(np.float32)
    return soxr.resample(waveform, sample_rate_hz, SAMPLE_RATE_HZ, quality="HQ")


def resampled(decoded: Iterator[tuple[int, np.ndarray]], place: str) -> Iterator[np.ndarray]:
    """Yield the decoded chunks at 16 kHz, filtered as one signal as long as their rate stays the same."""
    import soxr

    stream: Any = None
    stream_rate = 0
    for rate, chunk in decoded:
        if rate != stream_rate:
            check_rate(rate, place)
            if stream is not None:
                yield stream.resample_chunk(np.empty(0, np.float32), last=True)
            stream = soxr.ResampleStream(rate, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
            stream_rate = rate
        _check_levels(chunk, place)
        yield stream.resample_chunk(chunk)
    if stream is not None:
        yield stream.resample_chunk(np.empty(0, np.float32), last=True)


class StreamResampler:
    """Resamples audio to 16 kHz as it arrives, filtered as one signal until `flush`.

    Args:
        sample_rate_hz: Of what is fed: 1_000 to 768_000.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        check_rate(sample_rate_hz, "<stream>")
        self._rate = sample_rate_hz
        self._stream = self._new()

    def feed(self, chunk: np.ndarray) -> np.ndarray:
        """Return what is complete of a chunk, float32 (num_samples,): the filter holds back some milliseconds."""
        return self._stream.resample_chunk(chunk)

    def flush(self) -> np.ndarray:
        """Return what was held back; what is fed next is another signal."""
        rest = self._stream.resample_chunk(np.empty(0, np.float32), last=True)
        self._stream = self._new()
        return rest

    def _new(self) -> Any:
        import soxr

        return soxr.ResampleStream(self._rate, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")


def check_rate(rate: int, place: str) -> None:
    """Raise AudioError for a rate at which nobody records sound."""
    if rate not in RATES_HZ:
        raise AudioError(
            f"the sample rate must be 1000 to 768000 Hz, but is {rate}",
            place=place,
            remedy="The header is damaged: copy the file again, or leave it out.",
        )


def _check_levels(waveform: np.ndarray, place: str) -> None:
    within = np.abs(waveform) <= _MAX_LEVEL  # false for NaN, too
    if not within.all():
        raise AudioError(
            f"a sample is {waveform[~within][0]}",
            place=place,
            remedy="Export the recording again, or leave it out.",
        )
