"""Connectionist temporal classification (Graves et al. 2006): frames needed, greedy decoding, forced alignment."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from asr_adapt.errors import TooFewFrames


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


def word_probability(letters: Sequence[Run], evidence: Literal["product", "mean"] = "product") -> float:
    """Return how sure CTC is of a word, in [0, 1].

    Args:
        letters: Of the word, at least one.
        evidence: `product`: the probability that all letters are right, were they independent, which mostly tells
            right words from wrong ones better; `mean`: the mean over the letters, which does where an n-gram
            overrules letters often.
    """
    probabilities = [run.confidence for run in letters]
    return math.prod(probabilities) if evidence == "product" else math.fsum(probabilities) / len(probabilities)


def align(log_probs: np.ndarray, labels: Sequence[int], blank: int = 0) -> list[Run]:
    """Return the likeliest path that writes `labels`: the frames of each label (forced alignment).

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
