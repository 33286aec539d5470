"""Connectionist temporal classification (Graves et al. 2006): frame arithmetic, greedy and beam search, alignment."""

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_adapt.errors import AudioTooShort, TooFewFrames
from asr_adapt.text import Alphabet


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

    def times_s(self, frames: int) -> np.ndarray:
        """Return when each frame's share of the sound begins: float64 (frames,), seconds at 16 kHz.

        Shares are a stride long and lie in the middle of what the frames see.
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
    return _runs(best, probability, blank)


def align(log_probs: np.ndarray, labels: Sequence[int], blank: int = 0) -> list[Run]:
    """Return the likeliest path that writes `labels`: where each label is heard (forced alignment).

    Args:
        log_probs: float32 (frames, vocab).
        labels: Label ids, without blanks.
        blank: The blank's label id.

    Raises:
        TooFewFrames: no path of so few frames writes so many labels.
    """
    if not labels:
        return []
    if frames_needed(labels) > len(log_probs):
        raise TooFewFrames(
            f"{len(log_probs)} frames cannot write {len(labels)} labels, which need {frames_needed(labels)}",
            remedy="Is it the right text?",
        )
    import torch
    from torchaudio.functional import forced_align

    path, scores = forced_align(torch.tensor(log_probs)[None], torch.tensor([list(labels)]), blank=blank)
    return _runs(path[0].numpy(), np.exp(scores[0].numpy()), blank)


def _runs(path: np.ndarray, probability: np.ndarray, blank: int) -> list[Run]:
    """Collapse a path (one label for each frame) into runs, without the blanks."""
    edges = np.flatnonzero(np.diff(path)) + 1
    bounds = [0, *edges.tolist(), len(path)]
    return [
        Run(int(path[start]), start, end, float(probability[start:end].mean()))
        for start, end in itertools.pairwise(bounds)
        if path[start] != blank
    ]


@dataclass(frozen=True)
class Weights:
    """How much the n-gram has to say in a beam search; tuned on dev (`asr-adapt lm --tune`)."""

    alpha: float = 0.5
    """weight of the n-gram's natural log probability beside the acoustic one"""
    beta: float = 1.5
    """added for each word, against the n-gram's liking for few words"""
    unknown: float = -10.0
    """added for each word that the n-gram does not know"""

    def describe(self) -> str:
        """Return them in one line, as `metrics.json` prints them."""
        return f"beam search with an n-gram: alpha {self.alpha:g}, beta {self.beta:g}, unknown {self.unknown:g}"


class BeamSearch:
    """CTC prefix beam search over words with an n-gram (Hannun et al. 2014, arXiv:1408.2873), or hotwords alone.

    Safe to call from several threads.

    Args:
        alphabet: What the columns of the log-probs are.
        arpa: An n-gram of normalised words; None searches without one.
        weights: The n-gram's part.
        width: Beams that are kept.

    Raises:
        ImportError, OSError: ctc-beam-decoder is not there, or not for this system (it wants glibc 2.35).
    """

    def __init__(self, alphabet: Alphabet, arpa: Path | None, weights: Weights, width: int = 100) -> None:
        from ctc_beam_decoder import BeamSearchDecoder

        units = ["", " ", *alphabet.units[2:]]
        self._alphabet, self._width = alphabet, width
        with _quiet_library():
            self._search = BeamSearchDecoder(
                units,
                kenlm_model_path=arpa,
                alpha=weights.alpha,
                beta=weights.beta,
                unk_score_offset=weights.unknown,
            )

    def text(self, log_probs: np.ndarray, hotwords: Sequence[str] = ()) -> str:
        """Return the best text of log_probs, float32 (frames, vocab); `hotwords` are favoured."""
        if not len(log_probs):
            return ""
        return self._search.decode(log_probs, beam_width=self._width, hotwords=list(hotwords))

    def runs(self, log_probs: np.ndarray, hotwords: Sequence[str] = ()) -> list[Run]:
        """Return the labels of the best text with their frames, as `greedy` does."""
        return align(log_probs, self._alphabet.encode(self.text(log_probs, hotwords)))


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Keep KenLM's progress bar off standard error, where a C library writes past Python."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
