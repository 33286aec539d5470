"""Connectionist temporal classification (Graves et al. 2006): frame arithmetic and greedy decoding."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_adapt.errors import AudioTooShort

# Baevski et al. 2020 (arXiv:2006.11477), section 4.2.
KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)


def num_frames(num_samples: int, kernels: Sequence[int] = KERNELS, strides: Sequence[int] = STRIDES) -> int:
    """Return how many CTC frames the feature encoder emits for a waveform at 16 kHz.

    Unpadded convolutions; wav2vec 2.0's seven have a total stride of 320 samples: 16_000 samples give 49 frames.

    Raises:
        AudioTooShort: fewer samples than one frame sees (400, or 25 ms, for wav2vec 2.0).
    """
    frames = num_samples
    for kernel, stride in zip(kernels, strides, strict=True):
        frames = (frames - kernel) // stride + 1
    if frames < 1:
        raise AudioTooShort(
            f"{num_samples} samples ({num_samples / 16:.0f} ms) are less than the feature encoder's first frame",
            remedy=f"It needs at least {receptive_field(kernels, strides)} samples.",
        )
    return frames


def receptive_field(kernels: Sequence[int] = KERNELS, strides: Sequence[int] = STRIDES) -> int:
    """Return how many samples one frame sees, which is also the shortest clip that can be read."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def frames_needed(labels: Sequence[int]) -> int:
    """Return the fewest frames that can write `labels`: one each, and a blank between adjacent repeats.

    With fewer frames no path exists and the loss is infinite.
    """
    return len(labels) + sum(left == right for left, right in itertools.pairwise(labels))


@dataclass(frozen=True)
class Run:
    """A maximal run of frames with the same best label: frames `start` (included) to `end` (excluded)."""

    label: int
    start: int
    end: int
    confidence: float


def greedy(log_probs: np.ndarray, blank: int = 0) -> list[Run]:
    """Return best-path decoding: the best label of each frame, repeats collapsed, blanks removed.

    Args:
        log_probs: float32 (frames, vocab).
        blank: The blank's label id.

    Returns:
        The labels that are left with their frames; `confidence` is the mean probability over them, in [0, 1].
    """
    if not len(log_probs):
        return []
    best = log_probs.argmax(axis=1)  # (frames,)
    probability = np.exp(log_probs[np.arange(len(best)), best])
    edges = np.flatnonzero(np.diff(best)) + 1
    bounds = [0, *edges.tolist(), len(best)]
    return [
        Run(int(best[start]), start, end, float(probability[start:end].mean()))
        for start, end in itertools.pairwise(bounds)
        if best[start] != blank
    ]
