"""Pseudo-labels: the CER that scores let one expect, and what is kept."""

import numpy as np
import pytest

from asr_adapt.decoding import ngram
from asr_adapt.records import Segment, Transcript, Word
from asr_adapt.training.pseudo_labels import FEWEST_CLIPS, Expectation, Scored, chosen

REFERENCE = "a" * 20


def written(errors: int, confidence: float, likelihood: float) -> Scored:
    return Scored("b" * errors + "a" * (20 - errors), confidence, likelihood)


def clips(count: int, seed: int = 0) -> list[Scored]:
    """Return clips whose errors follow from confidence and likelihood: 1 - confidence - likelihood / 10."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        errors = int(rng.integers(0, 15))
        part = rng.uniform(0, errors / 20)
        found.append(written(errors, 1 - part, -10 * (errors / 20 - part)))
    return found


def test_the_fit_finds_what_both_scores_tell() -> None:
    dev = clips(200)
    expectation = Expectation.fit(dev, [REFERENCE] * len(dev))
    assert expectation is not None and expectation.correlation > 0.95
    for errors, confidence, likelihood in ((0, 1.0, 0.0), (10, 0.7, -2.0), (10, 0.5, 0.0)):
        assert expectation.cer(written(errors, confidence, likelihood)) == pytest.approx(errors / 20, abs=0.05)


def test_an_expectation_is_a_rate() -> None:
    expectation = Expectation.fit(dev := clips(50), [REFERENCE] * len(dev))
    assert expectation is not None
    assert expectation.cer(written(0, 1.0, 10.0)) == 0.0
    assert expectation.cer(written(0, -5.0, -100.0)) == 1.5


def test_too_small_a_dev_tells_nothing_and_all_that_has_a_word_is_kept() -> None:
    dev = clips(FEWEST_CLIPS - 1)
    assert Expectation.fit(dev, [REFERENCE] * len(dev)) is None
    assert chosen([dev[0], None, dev[1]], None, limit=0.0) == [0, 2]


def test_what_is_likely_to_be_worse_than_the_limit_is_left_out() -> None:
    expectation = Expectation.fit(dev := clips(200), [REFERENCE] * len(dev))
    segments = [written(2, 0.9, 0.0), written(14, 0.5, -2.0), None, written(4, 1.0, -2.0)]
    assert chosen(segments, expectation, limit=0.3) == [0, 3]


def test_clips_that_are_all_alike_are_all_expected_to_be_as_wrong_as_dev() -> None:
    expectation = Expectation.fit([written(5, 0.5, -1.0)] * 30, [REFERENCE] * 30)
    assert expectation is not None and expectation.correlation == 0.0
    assert expectation.cer(written(5, 0.5, -1.0)) == pytest.approx(0.25)


def test_scores_are_of_letters_and_of_characters() -> None:
    words = tuple(Word(text=text, start_s=0.0, end_s=1.0, confidence=c) for text, c in (("abc", 0.9), ("d", 0.5)))
    transcript = Transcript(
        text="abc d",
        language="und",
        duration_s=1.0,
        segments=(Segment(text="abc d", start_s=0.0, end_s=1.0, words=words),),
    )
    model = ngram.estimate(["abc d", "abc e"], 2)
    scored = Scored.of(transcript, "abc d", model)
    assert scored.confidence == pytest.approx((3 * 0.9 + 0.5) / 4)
    assert scored.likelihood == pytest.approx(model.sentence_log10("abc d") / 5)
