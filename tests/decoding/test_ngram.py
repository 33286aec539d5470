"""N-grams and beam search: estimation, ARPA files, and weights that change the text."""

import itertools
import math

import numpy as np
import pytest
from conftest import TESTS

from asr_adapt.decoding import ngram
from asr_adapt.decoding.ngram import BEGIN, END, UNKNOWN

TOY = ["the cat sat on the mat", "the dog sat on the mat", "the cat ran", "a dog ran to the cat"]
# lmplz -o 3 --discount_fallback (KenLM 0.3.0) on TOY.
PEER = TESTS / "data" / "toy.arpa"


def read_arpa(text: str) -> tuple[dict, dict]:
    probabilities, backoffs = {}, {}
    for fields in (line.split("\t") for line in text.splitlines()):
        if len(fields) > 1:
            gram = tuple(fields[1].split(" "))
            probabilities[gram] = float(fields[0])
            if len(fields) == 3:
                backoffs[gram] = float(fields[2])
    return probabilities, backoffs


def test_the_figures_are_those_of_lmplz() -> None:
    ours = read_arpa("\n".join(ngram.estimate(TOY, 3).arpa()))
    for mine, peers in zip(ours, read_arpa(PEER.read_text(encoding="utf-8")), strict=True):
        assert mine.keys() == peers.keys()
        for gram, value in peers.items():
            assert mine[gram] == pytest.approx(value, abs=2e-6), gram


def random_text(seed: int, lines: int = 300) -> list[str]:
    """Words with Zipf's frequencies, so that every count from one to many occurs."""
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{min(word, 60)}" for word in rng.zipf(1.5, size=rng.integers(1, 9))) for _ in range(lines)]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("texts", [TOY, random_text(1)], ids=["toy", "random"])
def test_the_probabilities_of_what_may_follow_sum_to_one(texts: list[str], order: int) -> None:
    model = ngram.estimate(texts, order)
    words = [*model.vocabulary, END, UNKNOWN]
    histories = [(), (BEGIN,), ("never",), *itertools.islice(itertools.product(words[:5], repeat=3), 60)]
    histories += [tuple(text.split()[:3]) for text in texts[:20]]
    for history in histories:
        assert math.fsum(10 ** model.log10(word, history) for word in words) == pytest.approx(1, abs=1e-9)


def test_what_was_seen_is_likelier_than_what_was_not() -> None:
    model = ngram.estimate(TOY, 3)
    assert model.sentence_log10("the cat sat on the mat") > model.sentence_log10("the mat sat on the cat")
    assert model.log10("cat", [BEGIN, "the"]) > model.log10("to", [BEGIN, "the"]) > model.log10("cow", [BEGIN, "the"])


def test_more_text_of_the_kind_lowers_the_perplexity() -> None:
    held_out = random_text(2, 50)
    assert (
        ngram.estimate(random_text(1, 2000), 2).perplexity(held_out)
        < ngram.estimate(random_text(1, 30), 2).perplexity(held_out)
        < 60
    )


@pytest.mark.parametrize(("texts", "order"), [([], 3), (["", "  "], 3), (TOY, 0)])
def test_nothing_to_learn_from_is_refused(texts: list[str], order: int) -> None:
    with pytest.raises(ValueError):
        ngram.estimate(texts, order)


def test_the_perplexity_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError):
        ngram.estimate(TOY, 2).perplexity([])
