"""Whether a model has learned anything: its hypotheses fit their own clips better than other clips of like length.

A CTC model that hears nothing still writes frequent letters, and more of them for longer clips: its CER is far below
1, but what it writes fits the references of other clips of the same length as well as its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_adapt.scoring import error_rates

LEAST_GAIN = 0.02
"""gain below which a model counts as one that has learned nothing"""
_SHIFTS = (-2, -1, 1, 2)  # clips that are next in length
_MAX_CLIPS = 1_000  # of a larger test set, evenly by length
_DRAWS = 1_000


@dataclass(frozen=True)
class Gain:
    """Character errors that are saved, as a share of those against the references of other clips of like length."""

    value: float
    low: float
    high: float
    """95 % bootstrap interval over clips"""

    @property
    def is_real(self) -> bool:
        """Whether the model has learned something about the sound."""
        return self.low > 0 and self.value >= LEAST_GAIN


def gain(references: Sequence[str], hypotheses: Sequence[str], durations_s: Sequence[float], seed: int = 0) -> Gain:
    """Return how much better hypotheses fit their own references than those of other clips of like length.

    Args:
        references: Normalised; clips without one are not counted.
        hypotheses: Normalised.
        durations_s: Of the clips.
        seed: Of the bootstrap.

    Raises:
        ValueError: there are fewer than two clips with different references.
    """
    order = sorted((i for i in range(len(references)) if references[i]), key=lambda i: (durations_s[i], i))
    order = [order[i] for i in np.linspace(0, len(order) - 1, min(len(order), _MAX_CLIPS)).astype(int)]
    own, others = [], []
    for place, clip in enumerate(order):
        near = [order[place + shift] for shift in _SHIFTS if 0 <= place + shift < len(order)]
        near = [other for other in near if references[other] != references[clip]]
        if not near:
            continue
        own.append(_rate(references[clip], hypotheses[clip]))
        others.append(np.mean([_rate(references[other], hypotheses[clip]) for other in near]))
    if not own:
        raise ValueError("no two clips have different references")
    pairs = np.array([own, others])  # (2, clips)
    chosen = np.random.default_rng(seed).integers(len(own), size=(_DRAWS, len(own)))
    drawn = pairs[:, chosen].mean(axis=2)  # (2, draws)
    low, high = np.quantile(1 - drawn[0] / np.maximum(drawn[1], 1e-9), [0.025, 0.975])
    return Gain(float(1 - pairs[0].mean() / max(pairs[1].mean(), 1e-9)), float(low), float(high))


def _rate(reference: str, hypothesis: str) -> float:
    """Return the errors as a share of both texts' length, which does not depend on which of them is longer."""
    errors = error_rates.character_errors(reference, hypothesis)
    return errors.total / max(
        errors.reference_length + errors.reference_length - errors.deletions + errors.insertions, 1
    )
