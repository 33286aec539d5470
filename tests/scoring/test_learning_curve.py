"""Fitted learning curves: the law that made the points, bands that hold, and the refusal to go too far."""

import numpy as np
import pytest

from asr_adapt.errors import InputError
from asr_adapt.scoring import learning_curve
from asr_adapt.scoring.learning_curve import LearningCurve, Run

MINUTES = (5, 15, 30, 60, 120)
UTTERANCES, LENGTH = 400, 50


def run(minutes: float, rate: float, rng: np.random.Generator, noise: float = 0.02) -> Run:
    """Return a run whose utterances have errors at about this rate."""
    rate *= float(np.exp(noise * rng.standard_normal()))
    return Run(minutes / 60, rng.binomial(LENGTH, rate, UTTERANCES).tolist(), [LENGTH] * UTTERANCES)


def fitted(floor: float, scale: float, exponent: float, seed: int, noise: float = 0.02) -> LearningCurve:
    rng = np.random.default_rng(seed)
    rates = {m: floor + scale * (m / 60) ** -exponent for m in MINUTES}
    return learning_curve.fit([run(m, rates[m], rng, noise) for m in MINUTES for _ in range(2)], draws=200)


def test_a_curve_without_noise_is_found_again() -> None:
    runs = [Run(m / 60, [round(1e6 * (0.1 + 0.2 * (m / 60) ** -0.35))], [10**6]) for m in MINUTES]
    curve = learning_curve.fit(runs, draws=100)
    assert (curve.floor, curve.scale, curve.exponent) == pytest.approx((0.1, 0.2, 0.35), abs=0.02)
    assert curve.hours == 2.0
    assert curve.at(8).value == pytest.approx(0.1 + 0.2 * 8**-0.35, rel=0.02)


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(0.0, 0.3, 0.3), (0.15, 0.15, 0.5), (0.05, 0.4, 0.15)])
def test_the_band_holds_most_runs_with_twice_and_four_times_the_speech(
    floor: float, scale: float, exponent: float
) -> None:
    inside = []
    for seed in range(10):
        curve = fitted(floor, scale, exponent, seed)
        noise = np.random.default_rng(100 + seed).standard_normal(2)
        for hours, deviation in zip((4, 8), noise, strict=True):
            expected = curve.at(hours)
            found = (floor + scale * hours**-exponent) * np.exp(0.02 * deviation)
            inside.append(expected.low <= found <= expected.high)
            assert expected.low <= expected.value <= expected.high
    assert sum(inside) >= 16  # 95 % of 20 expected; fixed seeds


def test_the_band_is_wider_further_out_and_with_noisier_runs() -> None:
    def width(curve: LearningCurve, hours: float) -> float:
        return curve.at(hours).high - curve.at(hours).low

    calm, noisy = fitted(0.1, 0.2, 0.3, 0, noise=0.005), fitted(0.1, 0.2, 0.3, 0, noise=0.15)
    assert width(calm, 2) < width(calm, 8)
    assert width(calm, 4) < width(noisy, 4)


def test_more_speech_never_makes_the_curve_worse() -> None:
    rng = np.random.default_rng(0)
    rising = learning_curve.fit([run(m, 0.3 + 0.001 * m, rng) for m in MINUTES], draws=100)
    assert rising.at(8).value == pytest.approx(rising.at(0.1).value, rel=0.01)


def test_nothing_is_predicted_beyond_four_times_the_speech() -> None:
    curve = fitted(0.1, 0.2, 0.3, 0)
    assert curve.at(8.0).value < curve.at(2.0).value
    with pytest.raises(InputError, match=r"8\.1 h is more than 4 times the 2\.00 h.*at most 8 h"):
        curve.at(8.1)


def test_runs_without_an_error_have_a_curve_too() -> None:
    curve = learning_curve.fit([Run(m / 60, [3 * (m < 60)], [1000]) for m in MINUTES], draws=100)
    assert 0 < curve.at(8).value < 0.001


def test_two_sizes_are_too_few() -> None:
    with pytest.raises(ValueError, match="needs 3 sizes, but there are 2"):
        learning_curve.fit([Run(1, [3], [10]), Run(1, [4], [10]), Run(2, [2], [10])])


def test_the_same_seed_gives_the_same_band() -> None:
    assert fitted(0.1, 0.2, 0.3, 3).at(5) == fitted(0.1, 0.2, 0.3, 3).at(5)
