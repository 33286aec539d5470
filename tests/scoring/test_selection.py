"""What to transcribe next: letter sequences that are not known, for the time that they take."""

import math
from collections import Counter

import numpy as np
import pytest

from asr_adapt.scoring.selection import Candidate, choose, sequences


def clip(draft: str, duration_s: float = 1.0, voice: str | None = None) -> Candidate:
    return Candidate(duration_s, draft, 0.5, voice)


def test_sequences_are_the_letters_pairs_and_triples_with_the_ends_as_spaces() -> None:
    assert sequences("ab") == Counter([" ", "a", "b", " ", " a", "ab", "b ", " ab", "ab "])
    assert sequences("a\u0301")["a\u0301"] == 1, "a letter with its mark is one letter"
    assert not sequences("")


def test_what_the_known_text_lacks_is_chosen_before_what_it_has() -> None:
    chosen = choose([clip("abab"), clip("cdcd")], 1.0, ["abab", "baba"])
    assert [one.index for one in chosen] == [1]
    assert set(chosen[0].rare) <= {"c", "d", "cd", "dc", " c", "d ", " cd", "cdc", "dcd", "cd "} and chosen[0].rare


def test_what_is_chosen_makes_its_like_less_worth_choosing() -> None:
    same = [clip("abcabc"), clip("abcabc"), clip("defd")]
    assert [one.index for one in choose(same, 2.0)] == [0, 2]


def test_of_equal_texts_the_shorter_recording_is_chosen() -> None:
    assert [one.index for one in choose([clip("abc", 4.0), clip("abc", 2.0)], 4.0)] == [1]


def test_a_voice_that_is_not_known_goes_before_one_that_is() -> None:
    found = [clip("abc", voice="known"), clip("abc", voice="new")]
    assert [one.index for one in choose(found, 1.0, known_s={"known": 600.0})] == [1]


def test_the_time_is_never_exceeded_and_what_no_longer_fits_is_passed_over() -> None:
    found = [clip("abcdef", 3.0), clip("ghijklmnop", 4.0), clip("q", 2.0)]
    chosen = choose(found, 5.0)
    assert sum(found[one.index].duration_s for one in chosen) <= 5.0
    assert choose(found, 0.5) == []
    assert choose([clip("", 2.0)], 5.0)[0].gain_per_s == 0.0


def test_lazy_choice_is_the_greedy_choice() -> None:
    rng = np.random.default_rng(3)
    found = [
        clip("".join(rng.choice(list("abcdefgh"), size=rng.integers(1, 12))), float(rng.uniform(1, 4)))
        for _ in range(40)
    ]
    counts, left_s, greedy = sequences("abc"), 30.0, []

    def gain(index: int) -> float:
        one = found[index]
        new = sum(math.log1p(n / (1 + counts[gram])) for gram, n in sequences(one.draft).items())
        return new / one.duration_s

    chosen = choose(found, left_s, ["abc"])
    while candidates := [i for i in range(40) if i not in greedy and found[i].duration_s <= left_s]:
        best = max(candidates, key=lambda i: (gain(i), -i))
        greedy.append(best)
        counts.update(sequences(found[best].draft))
        left_s -= found[best].duration_s
        if left_s < 1.0:
            break
    assert [one.index for one in chosen] == greedy


@pytest.mark.parametrize("voices", [None, "one"])
def test_nothing_is_changed_in_place(voices: str | None) -> None:
    known = {"one": 5.0}
    choose([clip("ab", voice=voices)], 2.0, ["a"], known)
    assert known == {"one": 5.0}
