"""Frame arithmetic: which samples a frame of the feature encoder covers.

The CTC loss is in `training.ctc_loss`; greedy decoding and alignment are in `decoding.ctc`, beam search is in
`decoding.beam_search`, and the choice between them in `inference.decoding`.
"""

import math
from dataclasses import dataclass

import numpy as np

from asr_adapt.errors import AudioTooShort


@dataclass(frozen=True)
class FrameGrid:
    """Positions of the frames of a feature encoder: unpadded convolutions, one on top of the other.

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

    def times_s(self, frames: int) -> np.ndarray:
        """Return when each frame's share of the sound begins: float64 (frames,), seconds at 16 kHz.

        Shares are a stride long, in the middle of what the frames see.
        """
        return (np.arange(frames) * self.stride + (self.receptive_field - self.stride) / 2) / 16_000

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
