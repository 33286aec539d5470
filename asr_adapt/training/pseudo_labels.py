"""Pseudo-labels: how wrong what a model wrote is likely to be, and what of it is worth training on.

A model's own text as a label (self-training, as in Kahn et al. 2020, "Self-training for end-to-end speech
recognition", arXiv:1909.09116) helps as far as it is right. Two things tell: how sure the model is of its letters,
and how likely an n-gram of the transcripts finds the text. What they are worth is fitted on dev, where the errors
are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_adapt.decoding.ngram import NGram
from asr_adapt.records import Transcript
from asr_adapt.scoring import confidence, error_rates

FEWEST_CLIPS = 20
"""of dev, from which expectations are fitted"""
_RIDGE = 1e-2  # of standardised features
_MOST = 1.5  # CER of a clip; a short one may have far more, and would count for many


@dataclass(frozen=True)
class Scored:
    """What a model wrote of a segment."""

    text: str
    """normalised"""
    confidence: float
    """mean over the letters of the probability that CTC gives them, in [0, 1]"""
    likelihood: float
    """log10 of the n-gram's probability of a character"""

    @classmethod
    def of(cls, transcript: Transcript, text: str, ngram: NGram) -> "Scored":
        """Return the scores of a transcript whose confidence is not calibrated, and whose text is not empty."""
        sure = confidence.of_text(word for segment in transcript.segments for word in segment.words)
        return cls(text, sure or 0.0, ngram.sentence_log10(text) / max(1, len(text)))


@dataclass(frozen=True)
class Expectation:
    """The CER that scores let one expect: linear in them, fitted on dev."""

    coefficients: tuple[float, float, float]
    """of confidence, of likelihood, and the constant"""
    correlation: float
    """of expected and true CER of the clips of dev"""

    @classmethod
    def fit(cls, scored: Sequence[Scored], references: Sequence[str]) -> "Expectation | None":
        """Return the least-squares fit, each clip weighted by the characters of its reference.

        Args:
            scored: Of clips of dev.
            references: Normalised, of the same clips, none empty.

        Returns:
            The fit; None for fewer than 20 clips.
        """
        if len(scored) < FEWEST_CLIPS:
            return None
        errors = [error_rates.character_errors(r, one.text) for r, one in zip(references, scored, strict=True)]
        rates = np.array([min(_MOST, e.total / max(1, e.reference_length)) for e in errors])
        weights = np.array([e.reference_length for e in errors], np.float64)
        weights /= weights.sum()
        features = np.array([(one.confidence, one.likelihood) for one in scored])
        mean = weights @ features
        scale = np.sqrt(weights @ (features - mean) ** 2) + 1e-9
        standard = (features - mean) / scale
        overall = float(weights @ rates)
        gram = (standard * weights[:, None]).T @ standard + _RIDGE * np.eye(2)
        slopes = np.linalg.solve(gram, (standard * weights[:, None]).T @ (rates - overall)) / scale
        expected = features @ slopes + overall - mean @ slopes
        spread = np.std(expected) * np.std(rates)
        correlation = float(np.cov(expected, rates, bias=True)[0, 1] / spread) if spread > 0 else 0.0
        return cls((float(slopes[0]), float(slopes[1]), overall - float(mean @ slopes)), correlation)

    def cer(self, one: Scored) -> float:
        """Return the expected CER of a text, in [0, 1.5]."""
        sure, likely, constant = self.coefficients
        return min(_MOST, max(0.0, sure * one.confidence + likely * one.likelihood + constant))


def chosen(scored: Sequence[Scored | None], expectation: Expectation | None, limit: float) -> list[int]:
    """Return which segments to train on: those whose expected CER is at most `limit`, all without an expectation.

    Args:
        scored: None where the model wrote nothing.
        expectation: Of `Expectation.fit`.
        limit: A CER, as that of dev as a whole: what is worse than that would teach more errors than there are.
    """
    return [
        index
        for index, one in enumerate(scored)
        if one is not None and (expectation is None or expectation.cer(one) <= limit)
    ]
