"""What makes little speech go further: speed perturbation, and SpecAugment in a way that fits short clips."""

from collections.abc import Sequence

import numpy as np
import soxr

from asr_adapt.audio import SAMPLE_RATE_HZ


def speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Return a waveform played `factor` times as fast, pitch and formants with it (Ko et al. 2015, Interspeech).

    Args:
        waveform: float32 (num_samples,), 16 kHz.
        factor: Near 1; more is faster, and gives `num_samples / factor` samples.
    """
    return soxr.resample(waveform, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ, quality="LQ")


def time_mask(lengths: Sequence[int], share: float, span: int, rng: np.random.Generator) -> np.ndarray:
    """Return which frames are hidden: bool (clips, longest), True is hidden (Park et al. 2019, arXiv:1904.08779).

    Spans start anywhere and may overlap, so that on average at most `share` of a clip is hidden. Transformers' own
    masks hide 71 % of a clip of 0.4 s and refuse clips below one span; here a span is a quarter of the clip at most,
    no clip is hidden wholly, and clips of less than four frames stay whole.

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
