"""Word and character error rates, their intervals, and alignments in columns."""

import jiwer
import numpy as np
import pytest

from asr_adapt.errors import InputError
from asr_adapt.scoring.error_rates import (
    align_words,
    character_errors,
    format_alignment,
    pool,
    rate,
    rate_interval,
    word_errors,
)


def test_wer_of_one_substitution_and_one_insertion_in_three_words() -> None:
    assert rate([word_errors("a b c", "a x c d")]) == pytest.approx(2 / 3)


def test_wer_may_exceed_1() -> None:
    assert rate([word_errors("a", "b c d")]) == 3


def test_an_empty_reference_makes_every_word_an_insertion() -> None:
    errors = word_errors("", "a b")
    assert (errors.insertions, errors.total, errors.reference_length) == (2, 2, 0)
    assert word_errors("", "").total == 0


def test_an_empty_hypothesis_deletes_every_word() -> None:
    assert word_errors("a b", "").deletions == 2


def test_rates_are_pooled_and_not_averaged() -> None:
    errors = [word_errors("a", "b"), word_errors("a b c d e f g h i", "a b c d e f g h i")]
    assert rate(errors) == pytest.approx(0.1)
    assert pool(errors).reference_length == 10


def test_cer_counts_letters_with_their_marks_once() -> None:
    errors = character_errors("ɛ\u0301ba", "ɛba")
    assert (errors.total, errors.reference_length) == (1, 3)
    assert character_errors("a b", "ab").total == 1


def test_counts_are_jiwers() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        reference, hypothesis = (" ".join(rng.choice(list("abc"), size=rng.integers(1, 8))) for _ in range(2))
        assert rate([word_errors(reference, hypothesis)]) == pytest.approx(jiwer.wer(reference, hypothesis))
        assert rate([character_errors(reference, hypothesis)]) == pytest.approx(jiwer.cer(reference, hypothesis))


def test_pooled_counts_are_jiwers_over_the_corpus() -> None:
    rng = np.random.default_rng(1)
    texts = [[" ".join(rng.choice(["ŋa", "na", "ɛ́", "o"], size=rng.integers(1, 9))) for _ in range(60)] for _ in "rh"]
    errors = [word_errors(*pair) for pair in zip(*texts, strict=True)]
    counts = jiwer.process_words(*texts)
    assert rate(errors) == pytest.approx(counts.wer)
    pooled = pool(errors)
    assert (pooled.substitutions, pooled.deletions, pooled.insertions) == (
        counts.substitutions, counts.deletions, counts.insertions)  # fmt: skip


def test_no_reference_at_all_is_an_error() -> None:
    with pytest.raises(InputError, match="no utterance has a reference"):
        rate([word_errors("", "a")])
    with pytest.raises(InputError):
        rate([])


def test_the_interval_holds_the_rate_is_seeded_and_narrows_with_data() -> None:
    rng = np.random.default_rng(0)
    errors = [word_errors("a b c d", " ".join(rng.choice(["a", "b", "c", "d"], size=4))) for _ in range(400)]
    low, high = rate_interval(errors)
    assert low < rate(errors) < high
    assert rate_interval(errors) == (low, high) != rate_interval(errors, seed=1)
    few_low, few_high = rate_interval(errors[:40])
    assert few_high - few_low > 2 * (high - low)


def in_columns(reference: str, hypothesis: str) -> tuple[str, str, str]:
    return format_alignment(align_words(reference, hypothesis))


def test_alignment_is_printed_in_columns() -> None:
    assert in_columns("a bcd e", "a x e f") == ("a  bcd  e  *", "a  x    e  f", "   S       I")
    assert in_columns("ɛ\u0301 b", "ɛ bb") == ("ɛ\u0301  b", "ɛ  bb", "S  S"), "a mark takes no room"
    assert in_columns("", "a") == ("*", "a", "I")
    assert in_columns("a", "") == ("a", "*", "D")
