"""The error rate by the amount of training speech, h hours: a + b·h^-c, fitted, with a band, and how far it holds.

Learning curves of recognisers follow a power law above some amount of data (Hestness et al. 2017, arXiv:1712.00409);
below it nothing is learned, and such sizes are no part of a fit. With the few sizes that can be trained, a, b and c
are not all determined: each draw of the band has a prior exponent of its own, so that the band covers the shapes that
the points leave open.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_adapt.errors import InputError

DRAWS = 2_000
FURTHEST = 4.0
"""times the largest amount of speech in the fit; nothing is predicted beyond"""
MIN_SIZES = 3
"""different amounts of speech that a fit needs"""
_EXPONENTS = np.linspace(0.05, 1.5, 59)
# Of the prior of the exponent: those of the fits in benchmarks/learning_curve.py.
_EXPONENT, _EXPONENT_SD = 0.4, 0.3
# Deviations of one run from the curve, relative: a prior of 2.5 %, worth four runs, beside what the points say.
_PRIOR_NOISE, _PRIOR_RUNS = 0.025, 4.0
# The law holds nearby better than far away: a size that is 1, 2, 4 doublings below the largest may be missed by 1.1,
# 1.2 and 1.7 times as much.
_DRIFT = 0.35


@dataclass(frozen=True)
class Run:
    """The errors of one training run on the test set."""

    hours: float
    """of training speech"""
    errors: Sequence[int]
    """S + D + I of each utterance; all runs have the same utterances in the same order"""
    lengths: Sequence[int]
    """reference length of each utterance"""


@dataclass(frozen=True)
class Expected:
    """The error rate of one training run with so much speech, and the 95 % band of such runs."""

    hours: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """A fitted curve: error rate = floor + scale · hours^-exponent."""

    floor: float
    scale: float
    exponent: float
    hours: float
    """the most speech among the points"""
    draws: np.ndarray
    """(draws, 3): floor, scale and exponent of each bootstrap draw"""
    noise: np.ndarray
    """(draws,): factor by which a run deviates from its curve"""

    def at(self, hours: float) -> Expected:
        """Return what a training run with `hours` of speech will reach.

        Raises:
            InputError: `hours` is more than four times what the curve was fitted on.
        """
        if hours > FURTHEST * self.hours * (1 + 1e-9):
            raise InputError(
                f"{hours:g} h is more than {FURTHEST:g} times the {self.hours:.2f} h of the curve: not predicted",
                remedy=f"Ask for at most {FURTHEST * self.hours:.3g} h.",
            )
        a, b, c = self.draws.T
        low, high = np.quantile((a + b * hours**-c) * self.noise, [0.025, 0.975])
        value = self.floor + self.scale * hours**-self.exponent
        return Expected(hours, float(value), float(min(low, value)), float(max(high, value)))


def fit(runs: Sequence[Run], *, draws: int = DRAWS, seed: int = 0) -> LearningCurve:
    """Fit a curve to the runs, with floor and scale at least 0 and the exponent between .05 and 1.5.

    The band is a bootstrap: each draw takes utterances with replacement (the same of every run), adds the deviation
    of single runs (by how much seeds of one size and the points around the fit differ), and an exponent of its prior.
    Deviations are relative to the error rate.

    Args:
        runs: Those that learned something, of at least three sizes.
        draws: Bootstrap samples.
        seed: The same seed gives the same band.

    Raises:
        ValueError: there are fewer than three sizes.
    """
    hours = np.array([run.hours for run in runs])
    if len(set(hours)) < MIN_SIZES:
        raise ValueError(f"a learning curve needs {MIN_SIZES} sizes, but there are {len(set(hours))}")
    errors = np.array([run.errors for run in runs], float)  # (runs, utterances)
    lengths = np.array([run.lengths for run in runs], float)
    rates = _rates(errors, lengths)
    most = hours.max()

    spread = np.sqrt(1 + np.square(_DRIFT * np.log2(most / hours)))  # (runs,)
    (best,) = _curves(hours / most, rates[None], np.array([_EXPONENT]), np.array([1.0]), _PRIOR_NOISE * spread)
    residuals = np.log(rates / _values(best[None], hours / most)[0]) / spread
    degrees = max(0, len(runs) - 3)
    variance = (_PRIOR_RUNS * _PRIOR_NOISE**2 + np.square(residuals).sum()) / (_PRIOR_RUNS + degrees)

    rng = np.random.default_rng(seed)
    deviations = np.sqrt(variance * (_PRIOR_RUNS + degrees) / rng.chisquare(_PRIOR_RUNS + degrees, draws))
    drawn = np.stack([_resampled(errors, lengths, rng) for _ in range(draws)])  # (draws, runs)
    drawn *= np.exp(deviations[:, None] * spread * rng.standard_normal(drawn.shape))
    wanted = _EXPONENT + _EXPONENT_SD * rng.standard_normal(draws)
    sampled = _curves(hours / most, drawn, wanted, np.ones(draws), np.sqrt(variance) * spread)
    return LearningCurve(
        floor=float(best[0]),
        scale=float(best[1] * most ** best[2]),
        exponent=float(best[2]),
        hours=float(most),
        draws=np.column_stack([sampled[:, 0], sampled[:, 1] * most ** sampled[:, 2], sampled[:, 2]]),
        noise=np.exp(deviations * rng.standard_normal(draws)),
    )


def _resampled(errors: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    chosen = rng.integers(errors.shape[1], size=errors.shape[1])
    return _rates(errors[:, chosen], lengths[:, chosen])


def _rates(errors: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the pooled rate of each run: (runs,); half an error where there is none: deviations are relative."""
    return np.maximum(errors.sum(axis=1), 0.5) / np.maximum(lengths.sum(axis=1), 1)


def _curves(
    hours: np.ndarray, rates: np.ndarray, wanted: np.ndarray, weight: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """Return the best curve for each row of rates: (draws, 3), least squares of relative deviations.

    Args:
        hours: (runs,), as a share of the most.
        rates: (draws, runs).
        wanted: (draws,) exponents that are preferred.
        weight: (draws,) of that preference; 0: none.
        noise: (runs,) standard deviations, relative.
    """
    best = np.full((len(rates), 3), np.nan)
    lowest = np.full(len(rates), np.inf)
    constant = 1 / rates / noise  # (D, R): the floor's part of a rate of 1, in standard deviations
    for exponent in _EXPONENTS:
        power = hours**-exponent / rates / noise  # (D, R)
        floor, scale = _nonnegative(constant, power, 1 / noise)
        missed = np.square(floor[:, None] * constant + scale[:, None] * power - 1 / noise).sum(axis=1)
        missed += weight * np.square((exponent - wanted) / _EXPONENT_SD)
        is_better = missed < lowest
        lowest = np.where(is_better, missed, lowest)
        best[is_better] = np.column_stack([floor, scale, np.full(len(rates), exponent)])[is_better]
    return best


def _nonnegative(constant: np.ndarray, power: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return floor and scale (draws,), each at least 0, whose sum is nearest to `wanted` (runs,) in each row."""
    uu, vv, uv = (np.sum(x * y, axis=1) for x, y in ((constant, constant), (power, power), (constant, power)))
    u, v = constant @ wanted, power @ wanted
    determinant = np.maximum(uu * vv - uv**2, 1e-300)
    floor, scale = (u * vv - v * uv) / determinant, (v * uu - u * uv) / determinant
    only_scale, only_floor = floor < 0, scale < 0
    floor, scale = np.where(only_scale, 0, floor), np.where(only_scale, v / vv, scale)
    return np.where(only_floor, u / uu, floor), np.where(only_floor, 0, scale)


def _values(curves: np.ndarray, hours: np.ndarray) -> np.ndarray:
    return curves[:, :1] + curves[:, 1:2] * hours ** -curves[:, 2:]
