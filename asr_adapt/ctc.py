"""Connectionist temporal classification (Graves et al. 2006): frame arithmetic and greedy decoding."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_adapt.errors import AudioTooShort


@dataclass(frozen=True)
class FrameGrid:
    """Where the frames of a feature encoder lie: unpadded convolutions, one on top of the other.

    The default is wav2vec 2.0's (Baevski et al. 2020, arXiv:2006.11477, section 4.2): 400 samples, every 320.
    """

    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(self.strides)

    @property
    def receptive_field(self) -> int:
        """How many samples one frame sees, which is also the shortest clip that can be read."""
        samples = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def num_frames(self, num_samples: int) -> int:
        """Return how many CTC frames a waveform has; wav2vec 2.0's 16_000 samples at 16 kHz have 49.

        Raises:
            AudioTooShort: fewer samples than one frame sees.
        """
        frames = num_samples
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            frames = (frames - kernel) // stride + 1
        if frames < 1:
            raise AudioTooShort(
                f"{num_samples} samples ({num_samples / 16:.0f} ms) are less than the feature encoder's first frame",
                remedy=f"It needs at least {self.receptive_field} samples.",
            )
        return frames


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
