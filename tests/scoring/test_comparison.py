"""Paired comparison of two systems: the bootstrap's difference, its blocks, and MAPSSWE."""

import math

import numpy as np
import pytest

from asr_adapt.scoring.comparison import block_labels, mapsswe, paired_difference


def test_the_difference_is_that_of_the_pooled_rates() -> None:
    found = paired_difference([1, 0, 2], [2, 2, 2], [10, 5, 5], [0, 1, 2])
    assert found.value == pytest.approx(3 / 20 - 6 / 20)
    assert found.low <= found.value <= found.high <= 0 and found.blocks == 3


def test_equal_systems_differ_by_nothing_and_neither_improves() -> None:
    found = paired_difference([1, 0, 2], [1, 0, 2], [4, 4, 4], [0, 1, 2])
    assert (found.value, found.low, found.high, found.probability_of_improvement) == (0, 0, 0, 0.5)
    assert not found.is_significant


def test_a_small_gain_on_every_utterance_is_certain_where_intervals_of_the_rates_overlap() -> None:
    rng = np.random.default_rng(1)
    baseline = rng.integers(0, 10, 200)  # utterances differ much, the systems hardly
    ours = np.maximum(baseline - 1, 0)
    found = paired_difference(ours.tolist(), baseline.tolist(), [10] * 200, range(200))
    assert found.high < 0 and found.probability_of_improvement > 0.999


def test_speakers_are_drawn_whole_and_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    of_speaker = rng.normal(0, 2, 25)
    speakers = np.repeat(np.arange(25), 20)
    baseline = np.full(500, 5)
    ours = np.clip(np.round(5 + of_speaker[speakers]), 0, 10).astype(int)
    kind, blocks = block_labels(speakers.tolist(), list(range(500)))
    assert kind == "speakers"
    by_speaker = paired_difference(ours.tolist(), baseline.tolist(), [10] * 500, blocks)
    by_utterance = paired_difference(ours.tolist(), baseline.tolist(), [10] * 500, range(500))
    assert by_speaker.high - by_speaker.low > 3 * (by_utterance.high - by_utterance.low)


@pytest.mark.parametrize(
    ("speakers", "recordings", "kind"),
    [
        ([None] * 60, list(range(60)), "utterances"),
        ([n % 3 for n in range(60)], list(range(60)), "utterances"),
        ([n % 20 for n in range(60)], list(range(60)), "speakers"),
        ([None] * 60, [n // 2 for n in range(60)], "recordings"),
        ([0, None] * 30, [n // 30 for n in range(60)], "utterances"),
    ],
)
def test_blocks_are_speakers_else_recordings_else_utterances(speakers: list, recordings: list, kind: str) -> None:
    found, blocks = block_labels(speakers, recordings)
    assert found == kind and len(blocks) == 60


def places(words: list[int], inserted: dict[int, int] | None = None) -> list[int]:
    """Return what `mapsswe` takes, of errors at words and of insertions before some of them."""
    counts = [count for word in words for count in (0, word)] + [0]
    for word, count in (inserted or {}).items():
        counts[2 * word] = count
    return counts


def test_mapsswe_cuts_where_both_systems_are_right_twice() -> None:
    # Two segments: +1 -1 at words 0 and 1, then +1 +2 at words 4 and 6; one good word does not cut.
    ours = [places([1, 0, 0, 0, 1, 0, 0], {7: 2})]
    theirs = [places([0, 1, 0, 0, 0, 0, 1])]
    found = mapsswe(ours, theirs)
    assert found.segments == 2
    mean, deviation = np.mean([0, 2]), np.std([0, 2], ddof=1)
    assert found.z == pytest.approx(mean / (deviation / math.sqrt(2)))
    assert mapsswe(ours, ours).p == 1


def test_mapsswe_counts_a_word_after_an_insertion_as_right_as_nist_does() -> None:
    right = places([0] * 6)
    # After the insertion words 1 and 2 are right: the error at word 3 is in a segment of its own.
    assert mapsswe([places([0, 0, 0, 1, 0, 0], {1: 1})], [right]).segments == 2
    assert mapsswe([places([0, 0, 1, 0, 0, 0], {1: 1})], [right]).segments == 1
    assert mapsswe([right], [places([0] * 6, {6: 1})]).segments == 1, "what is inserted at the end counts"


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ValueError, match="no reference"):
        paired_difference([1], [0], [0], [0])
