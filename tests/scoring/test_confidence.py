"""Confidence of words: which words are right, calibration, and how right confidences are."""

import itertools
import math

import numpy as np
import pytest

from asr_adapt.artifacts import Calibration
from asr_adapt.scoring.confidence import FEWEST_WORDS, Outcome, fit, outcomes, reliability


def drawn(count: int, seed: int, slope: float = 0.5, intercept: float = -1.0) -> list[Outcome]:
    """Return words whose chance of being right follows from their confidence by a known map."""
    rng = np.random.default_rng(seed)
    truth = Calibration(slope=slope, intercept=intercept, words=0)
    return [Outcome(float(p), bool(rng.random() < truth.of(p))) for p in rng.beta(3, 0.6, count)]


def mapped(calibration: Calibration, words: list[Outcome]) -> list[Outcome]:
    return [Outcome(calibration.of(one.confidence), one.right) for one in words]


def error(words: list[Outcome]) -> float:
    found = reliability(words, calibrated=True)
    assert found is not None
    return found.expected_calibration_error


def test_a_word_is_right_where_the_reference_has_it() -> None:
    found = outcomes("ka mutu te karakia", [("ka", 0.9), ("muto", 0.4), ("e", 0.2), ("te", 0.8), ("karakia", 0.7)])
    assert found == [(0.9, True), (0.4, False), (0.2, False), (0.8, True), (0.7, True)]
    assert outcomes("", [("ka", 0.5)]) == [(0.5, False)] and outcomes("ka", []) == []


def test_a_known_map_is_found_again_and_brings_the_error_down_on_other_words() -> None:
    calibration = fit(drawn(4_000, 0))
    assert calibration is not None and calibration.words == 4_000
    assert (calibration.slope, calibration.intercept) == (pytest.approx(0.5, abs=0.05), pytest.approx(-1, abs=0.15))
    unseen = drawn(4_000, 1)
    assert error(unseen) > 0.25 and error(mapped(calibration, unseen)) < 0.03


@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0, 1_000.0])
def test_the_map_is_monotone_and_stays_in_0_to_1(slope: float) -> None:
    calibration = Calibration(slope=slope, intercept=-3, words=100)
    values = [calibration.of(p) for p in np.linspace(0, 1, 1_001)]
    assert all(0 <= low <= high <= 1 for low, high in itertools.pairwise(values))


def test_differences_of_rounding_do_not_show() -> None:
    calibration = Calibration(slope=2, intercept=-3, words=100)
    for probability in (0.0, 1e-7, 0.3, 0.9, 1 - 1e-7):
        assert calibration.of(probability + 1e-7) == pytest.approx(calibration.of(probability), abs=1e-4)


def test_few_words_are_not_calibrated() -> None:
    assert fit(drawn(FEWEST_WORDS - 1, 0)) is None and fit(drawn(FEWEST_WORDS, 0)) is not None


@pytest.mark.parametrize("right", [True, False])
def test_words_that_are_all_right_or_all_wrong_give_a_finite_map(right: bool) -> None:
    calibration = fit([Outcome(one.confidence, right) for one in drawn(200, 2)])
    assert calibration is not None and math.isfinite(calibration.slope + calibration.intercept)
    assert (calibration.of(0.9) > 0.9) == right


def test_where_confident_words_are_more_often_wrong_all_words_get_the_share_of_right_ones() -> None:
    words = [Outcome(one.confidence, not one.right) for one in drawn(2_000, 3, slope=2)]
    calibration = fit(words)
    assert calibration is not None and calibration.slope == 0
    assert calibration.of(0.1) == calibration.of(0.9) == pytest.approx(np.mean([w.right for w in words]), abs=0.01)


def test_the_same_words_give_the_same_bits() -> None:
    assert fit(drawn(500, 4)) == fit(drawn(500, 4))


def test_the_error_is_the_mean_distance_of_confidence_and_right_words() -> None:
    words = [Outcome(0.95, True)] * 6 + [Outcome(0.95, False)] * 2 + [Outcome(0.25, False)] * 2
    found = reliability(words, calibrated=False)
    assert found is not None and not found.calibrated and found.words == 10
    assert [(b.words, round(b.confidence, 2), b.right) for b in found.bins] == [(2, 0.25, 0.0), (8, 0.95, 0.75)]
    assert found.expected_calibration_error == pytest.approx((2 * 0.25 + 8 * 0.2) / 10)
    assert reliability([], calibrated=True) is None
