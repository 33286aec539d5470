"""Whether transcripts have anything to do with their sound: the permutation test."""

import random

import pytest
from conftest import sentences

from asr_adapt.scoring.relation import relation

TEXTS = sentences(60, seed=3)


def misheard(text: str, share: float, noise: random.Random) -> str:
    """Return a text with a share of its letters replaced."""
    return "".join(noise.choice("abcde") if c != " " and noise.random() < share else c for c in text)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.7])
def test_transcripts_with_many_wrong_letters_still_fit_their_own_texts(share: float) -> None:
    noise = random.Random(0)
    found = relation([(text, misheard(text, share, noise)) for text in TEXTS])
    assert found is not None and found.is_shown and found.cer < found.cer_of_others


def test_transcripts_of_other_clips_fit_their_texts_no_better_than_any() -> None:
    shown = 0
    for seed in range(40):
        others = random.Random(seed).sample(TEXTS, len(TEXTS))
        found = relation(list(zip(TEXTS, others, strict=True)))
        assert found is not None and found.cer == pytest.approx(found.cer_of_others, rel=0.2)
        shown += found.is_shown
    assert shown <= 2, "1 % of 40"


def test_the_same_transcript_for_every_clip_shows_nothing() -> None:
    found = relation([(text, "ab cd") for text in TEXTS])
    assert found is not None and found.p == 1 and found.cer == pytest.approx(found.cer_of_others)


def test_a_model_that_knows_only_how_long_a_clip_is_shows_nothing() -> None:
    noise = random.Random(1)
    long = [" ".join(sentences(1 + n % 9, seed=n)) for n in range(100)]
    found = relation([(text, "".join(noise.choice("abcde ") for _ in text)) for text in long])
    assert found is not None and not found.is_shown


def test_words_of_a_closed_vocabulary_show_a_relation() -> None:
    answers = ["yes" if number % 2 else "no" for number in range(40)]
    found = relation([(answer, answer) for answer in answers])
    assert found is not None and found.is_shown and found.cer == 0


def test_few_utterances_show_nothing_either_way_and_the_result_is_the_same_again() -> None:
    assert relation([("ab", "ab")] * 4) is None
    assert relation([("", "ab")] * 50) is None
    pairs = [(text, misheard(text, 0.5, random.Random(2))) for text in TEXTS]
    assert relation(pairs) == relation(pairs)
