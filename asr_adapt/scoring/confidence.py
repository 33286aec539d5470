"""Confidence of words: how right it is, and the calibration that makes it the probability that a word is right.

A network is surer than it is right (Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599).
The probability that CTC gives a word's letters is mapped by Platt's scaling (Platt 1999, "Probabilistic outputs for
support vector machines"), fitted on dev: two parameters, which a few hundred words determine, and a strictly monotone
map, which keeps the order of the words.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from asr_adapt.artifacts import Calibration, Reliability, ReliabilityBin
from asr_adapt.records import Word
from asr_adapt.scoring import error_rates
from asr_adapt.scoring.error_rates import Step

FEWEST_WORDS = 100
"""words of dev from which a calibration is fitted"""
_BINS = 10
_ROUNDS = 100
_PRIOR = 1.0  # weight of the identity, in words: it keeps the parameters finite where all words are right


class Outcome(NamedTuple):
    """A word that was written: how sure the model was, in [0, 1], and whether the reference has it there."""

    confidence: float
    right: bool


def of_text(words: Iterable[Word]) -> float | None:
    """Return the confidence of a text, in [0, 1]: the mean over the letters of its words; None without words."""
    words = list(words)
    letters = sum(len(word.text) for word in words)
    return sum(word.confidence * len(word.text) for word in words) / letters if letters else None


def right_words(steps: Sequence[Step]) -> list[bool]:
    """Return of each word of a hypothesis whether it is right, by its alignment with the reference."""
    return [step.kind == "equal" for step in steps if step.kind != "delete"]


def outcomes(reference: str, words: Sequence[tuple[str, float]]) -> list[Outcome]:
    """Return the outcome of each word of a hypothesis.

    Args:
        reference: Normalised text.
        words: `(text, confidence)` of each word of the hypothesis, in order.
    """
    right = right_words(error_rates.align_words(reference, " ".join(text for text, _ in words)))
    return [Outcome(confidence, found) for (_, confidence), found in zip(words, right, strict=True)]


def fit(found: Sequence[Outcome]) -> Calibration | None:
    """Return the calibration of the probabilities that CTC gives words (`ctc.word_probability`).

    Maximises the likelihood of the outcomes, smoothed as Platt does, with a weight of one word on the identity.
    The same outcomes give the same calibration, bit for bit.

    Args:
        found: On dev.

    Returns:
        The calibration; None for fewer than 100 words.
    """
    if len(found) < FEWEST_WORDS:
        return None
    logits = np.array([Calibration.logit(one.confidence) for one in found])
    right = np.array([one.right for one in found])
    number_right = int(right.sum())
    targets = np.where(right, (number_right + 1) / (number_right + 2), 1 / (len(right) - number_right + 2))
    slope, intercept = _newton(np.stack([logits, np.ones_like(logits)], axis=1), targets)
    if slope <= 0:  # more confident words are not more often right: all get the same
        slope, (intercept,) = 0.0, _newton(np.ones((len(logits), 1)), targets, prior=np.zeros(1))
    return Calibration(slope=float(slope), intercept=float(intercept), words=len(found))


def loss(calibration: Calibration, found: Sequence[Outcome]) -> float:
    """Return the negative log-likelihood of outcomes under a calibration, in nats."""
    chances = ((calibration.of(one.confidence), one.right) for one in found)
    return -math.fsum(math.log(chance if right else 1 - chance) for chance, right in chances)


def _newton(features: np.ndarray, targets: np.ndarray, prior: np.ndarray | None = None) -> np.ndarray:
    """Return the parameters of a logistic regression: features (words, parameters), targets (words,) in (0, 1)."""
    prior = np.array([1.0, 0.0]) if prior is None else prior

    def penalised(parameters: np.ndarray) -> float:
        scores = features @ parameters
        likelihood = float((np.logaddexp(0, scores) - targets * scores).sum())
        return likelihood + _PRIOR / 2 * float(((parameters - prior) ** 2).sum())

    found = prior
    for _ in range(_ROUNDS):
        probability = 1 / (1 + np.exp(-(features @ found)))
        gradient = features.T @ (probability - targets) + _PRIOR * (found - prior)
        hessian = (features * (probability * (1 - probability))[:, None]).T @ features + _PRIOR * np.eye(len(prior))
        step = np.linalg.solve(hessian, gradient)
        while penalised(found - step) > penalised(found) and np.abs(step).max() > 1e-12:
            step = step / 2
        found = found - step
        if np.abs(step).max() < 1e-10:
            break
    return found


def reliability(found: Sequence[Outcome], *, calibrated: bool) -> Reliability | None:
    """Return how right confidences are: mean confidence against the share of right words, in ten equal bins.

    The expected calibration error (Naeini et al. 2015; Guo et al. 2017) is the mean difference of the two, weighted
    by words.

    Args:
        found: On a split that calibration has not seen.
        calibrated: Whether the confidences are calibrated.

    Returns:
        The reliability; None where no word was written.
    """
    if not found:
        return None
    bins: list[list[Outcome]] = [[] for _ in range(_BINS)]
    for one in found:
        bins[min(_BINS - 1, int(one.confidence * _BINS))].append(one)
    filled = tuple(
        ReliabilityBin(
            words=len(members),
            confidence=math.fsum(one.confidence for one in members) / len(members),
            right=sum(one.right for one in members) / len(members),
        )
        for members in bins
        if members
    )
    error = math.fsum(each.words * abs(each.confidence - each.right) for each in filled) / len(found)
    return Reliability(calibrated=calibrated, words=len(found), expected_calibration_error=error, bins=filled)
