"""Chance: what a model that hears nothing writes fits other clips of the same length as well as its own."""

import numpy as np
import pytest

from asr_adapt.scoring import chance


def clips(count: int = 120) -> tuple[list[str], list[float]]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(8, 40, count)
    return ["".join(rng.choice(list("aaabcdefg  "), n)).strip() or "a" for n in lengths], (lengths / 10).tolist()


def spoiled(text: str, rng: np.random.Generator) -> str:
    return "".join(c if rng.random() > 0.5 else "x" for c in text)


def test_a_model_with_half_of_its_letters_right_has_learned_something() -> None:
    references, durations = clips()
    rng = np.random.default_rng(1)
    found = chance.gain(references, [spoiled(r, rng) for r in references], durations)
    assert found.is_real and 0.1 < found.low < found.value < found.high


@pytest.mark.parametrize("writes", ["nothing", "the most frequent letter", "another clip of its length"])
def test_what_does_not_depend_on_the_sound_is_chance(writes: str) -> None:
    references, durations = clips()
    rng = np.random.default_rng(1)
    written = {
        "nothing": ["" for _ in references],
        "the most frequent letter": ["a" * int(5 * s) for s in durations],
        "another clip of its length": ["".join(rng.permutation(list(r))) for r in clips()[0][::-1]],
    }[writes]
    assert not chance.gain(references, written, durations).is_real


def test_clips_with_equal_texts_say_nothing() -> None:
    with pytest.raises(ValueError, match="no two clips"):
        chance.gain(["yes"] * 5, ["yes"] * 5, [1.0] * 5)


def test_words_of_a_closed_vocabulary_are_learned() -> None:
    answers = ["yes" if number % 2 else "no" for number in range(40)]
    assert chance.gain(answers, answers, [1.0] * 40).is_real


def test_texts_of_other_clips_are_seldom_taken_for_learning_and_the_result_is_the_same_again() -> None:
    references, durations = clips()
    shuffled = [list(np.random.default_rng(seed).permutation(references)) for seed in range(40)]
    found = [chance.gain(references, texts, durations) for texts in shuffled]
    assert sum(gain.is_real for gain in found) <= 3, "2.5 % of 40"
    assert found[0] == chance.gain(references, shuffled[0], durations)
