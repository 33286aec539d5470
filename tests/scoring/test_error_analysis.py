"""Error analysis: alignments, confusions, diacritics, groups by speaker and length."""

import numpy as np
import pytest

from asr_adapt.records import Utterance
from asr_adapt.scoring import error_analysis, error_rates
from asr_adapt.scoring.error_analysis import Confusion, ScoredUtterance
from asr_adapt.scoring.error_rates import Step, align_characters, align_words


def scored(*pairs: tuple[str, str], **fields: object) -> list[ScoredUtterance]:
    """Score `(reference, hypothesis)` pairs that are normalised already."""
    utterances = [
        Utterance.model_validate(
            {"id": str(i), "audio": "a.wav", "text": reference, "hypothesis": hypothesis} | fields
        )
        for i, (reference, hypothesis) in enumerate(pairs)
    ]
    return error_analysis.score(utterances, lambda text: text)


def test_an_alignment_has_both_sides_of_every_step() -> None:
    assert align_words("a b d", "a x d e") == [
        Step("equal", "a", "a"),
        Step("substitute", "b", "x"),
        Step("equal", "d", "d"),
        Step("insert", "", "e"),
    ]
    assert align_words("a b", "b") == [Step("delete", "a", ""), Step("equal", "b", "b")]
    assert align_words("", "a") == [Step("insert", "", "a")]
    assert align_characters("a b", "ab") == [
        Step("equal", "a", "a"),
        Step("delete", "␣", ""),
        Step("equal", "b", "b"),
    ]


def test_an_alignment_holds_the_errors_that_are_counted_and_both_texts() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        reference, hypothesis = (
            " ".join(rng.choice(["ŋa", "na", "ɛ́", "o"], size=rng.integers(1, 9))) for _ in range(2)
        )
        steps = align_words(reference, hypothesis)
        assert error_rates.count(steps) == error_rates.word_errors(reference, hypothesis)
        assert " ".join(step.reference for step in steps if step.reference) == reference
        assert " ".join(step.hypothesis for step in steps if step.hypothesis) == hypothesis
        assert error_rates.count(align_characters(reference, hypothesis)) == error_rates.character_errors(
            reference, hypothesis
        )


def test_confusions_are_counted_beside_the_occurrences_in_the_references() -> None:
    alignments = [one.words for one in scored(("a b a", "a x a"), ("b b", "x b"), ("a", "a q"), ("c", ""))]
    assert error_analysis.confusions(alignments, "substitute") == [Confusion("b", "x", 2, 3)]
    assert error_analysis.confusions(alignments, "delete") == [Confusion("c", "", 1, 1)]
    assert error_analysis.confusions(alignments, "insert") == [Confusion("", "q", 1, 0)]


def test_a_character_with_wrong_marks_is_told_from_another_character() -> None:
    found = error_analysis.marks(scored(("áéio", "aèiu"), ("áá bo", "ó bó")))
    # á → a and é → è are right letters; o → u is none; of áá one was left out and one became another letter; o → ó.
    assert (found.characters, found.wrong, found.errors) == (8, 3, 6)
    assert (found.marked, found.marked_correct, found.marked_wrong) == (4, 0, 2)
    assert (found.marked_substituted, found.marked_deleted) == (1, 1)
    assert found.confused == [("", "\u0301", 1), ("\u0301", "", 1), ("\u0301", "\u0300", 1)]
    assert found.cer_without is not None
    assert found.cer_without.value == pytest.approx(
        error_rates.cer_without_marks([("áéio", "aèiu"), ("áá bo", "ó bó")])
    )


def test_marks_without_a_composed_form_count_as_marks() -> None:
    found = error_analysis.marks(scored(("ɛ\u0301\u0331", "ɛ\u0331")))
    assert (found.marked, found.marked_wrong, found.confused) == (1, 1, [("\u0331\u0301", "\u0331", 1)])
    assert (
        error_analysis.names_of_marks("\u0331\u0301") == "macron below + acute accent"
        and error_analysis.names_of_marks("") == "no mark"
    )


def test_text_without_marks_has_none() -> None:
    assert not error_analysis.marks(scored(("ab", "b"))).any


def test_groups_share_out_all_errors() -> None:
    texts = [("a b c", "a b x"), ("a b", "a b"), ("a", "")]
    ones = [
        error_analysis.score(
            [Utterance(id=str(i), audio="a", text=a, hypothesis=b, speaker=who, duration_s=seconds)], str
        )[0]
        for i, ((a, b), who, seconds) in enumerate(zip(texts, ("x", None, "x"), (1.9, 2.0, 31), strict=True))
    ]
    by_speaker = {group.name: group for group in error_analysis.by_speaker(ones)}
    assert {name: (group.utterances, group.words) for name, group in by_speaker.items()} == {
        "x": (2, 4),
        None: (1, 2),
    }
    assert by_speaker["x"].wer is not None and by_speaker["x"].wer.value == 0.5
    assert by_speaker["x"].wer.low <= 0.5 <= by_speaker["x"].wer.high
    lengths = error_analysis.by_length(ones)
    assert [(group.name, group.utterances) for group in lengths] == [((0, 2), 1), ((2, 5), 1), ((20, None), 1)]


def test_a_group_without_reference_words_has_no_error_rate() -> None:
    (group,) = error_analysis.by_speaker(scored(("", "a")))
    assert group.wer is None and group.cer is None


def test_the_hash_of_a_split_covers_references_but_neither_order_nor_hypotheses() -> None:
    one, two = (Utterance(id=name, audio="a", text="x") for name in "ab")
    same = [two.model_copy(update={"hypothesis": "y"}), one]
    assert error_analysis.split_hash([one, two]) == error_analysis.split_hash(same)
    assert error_analysis.split_hash([one, two]) != error_analysis.split_hash(
        [one, two.model_copy(update={"text": "z"})]
    )
