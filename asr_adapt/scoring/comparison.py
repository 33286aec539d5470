"""Comparing two systems on the same references: paired bootstrap intervals, and NIST's MAPSSWE test.

Two error rates whose intervals overlap may still differ for certain: both systems meet the same hard utterances, and
a paired comparison takes those out.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
"""bootstrap draws, as Kaldi's `compute-wer-bootci`"""
_MIN_BLOCKS = 20  # fewer speakers or recordings give intervals that are too narrow (`benchmarks/comparison.py`)
_CHUNK = 500  # draws at a time, which bounds memory


@dataclass(frozen=True)
class Difference:
    """The error rate of one system minus that of another; below 0 the first is better."""

    value: float
    low: float
    high: float
    """95 % bootstrap interval of the difference"""
    probability_of_improvement: float
    """share of the draws in which the first has fewer errors; ties count half"""
    blocks: int
    """how many speakers, recordings or utterances were drawn from"""

    @property
    def is_significant(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Mapsswe:
    """Matched pairs sentence segment word error test; `p` is two-sided."""

    segments: int
    z: float
    p: float


def block_labels(speakers: Sequence[Hashable | None], recordings: Sequence[Hashable]) -> tuple[str, list[Hashable]]:
    """Return what a bootstrap draws (speakers, else recordings, else utterances), and the block of each utterance.

    Utterances of one speaker are alike in their errors, so that drawing them one by one gives intervals that are too
    narrow (Bisani and Ney 2004, section 3); with fewer than 20 speakers or recordings, drawing those does.
    """
    known = [speaker for speaker in speakers if speaker is not None]
    if len(known) == len(speakers) and len(set(known)) >= _MIN_BLOCKS:
        return "speakers", list(speakers)
    if _MIN_BLOCKS <= len(set(recordings)) < len(recordings):
        return "recordings", list(recordings)
    return "utterances", list(range(len(recordings)))


def paired_difference(
    errors: Sequence[int],
    baseline_errors: Sequence[int],
    lengths: Sequence[int],
    blocks: Sequence[Hashable],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Difference:
    """Return the difference of two pooled error rates with its paired bootstrap interval.

    Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation" (ICASSP): both
    systems are scored on the same draws.

    Args:
        errors: S + D + I of each utterance.
        baseline_errors: The same of the system that it is compared with.
        lengths: Reference length of each utterance, in words or grapheme clusters.
        blocks: Of `block_labels`; utterances of one block are drawn together.
        draws: Bootstrap samples, each of as many blocks as there are, with replacement.
        seed: The same seed gives the same interval.

    Raises:
        ValueError: there is no utterance, or no reference has any length.
    """
    index = {block: number for number, block in enumerate(dict.fromkeys(blocks))}
    of_block = np.array([index[block] for block in blocks])
    delta = np.bincount(of_block, np.asarray(errors, float) - np.asarray(baseline_errors, float), len(index))
    length = np.bincount(of_block, np.asarray(lengths, float), len(index))
    if not length.sum():
        raise ValueError("no reference has any words")
    rng = np.random.default_rng(seed)
    found = []
    for start in range(0, draws, _CHUNK):
        drawn = rng.integers(len(index), size=(min(_CHUNK, draws - start), len(index)))  # (draws, blocks)
        found.append(delta[drawn].sum(axis=1) / np.maximum(length[drawn].sum(axis=1), 1))
    differences = np.concatenate(found)
    low, high = np.quantile(differences, [0.025, 0.975])
    return Difference(
        value=float(delta.sum() / length.sum()),
        low=float(low),
        high=float(high),
        probability_of_improvement=float(np.mean(differences < 0) + np.mean(differences == 0) / 2),
        blocks=len(index),
    )


def mapsswe(
    errors_at: Sequence[Sequence[int]], baseline_errors_at: Sequence[Sequence[int]], *, good_words: int = 2
) -> Mapsswe:
    """Return the matched pairs sentence segment word error test of NIST's `sc_stats`.

    Gillick and Cox 1989, "Some statistical issues in the comparison of speech recognition algorithms" (ICASSP);
    Pallett et al. 1990. Utterances are cut into segments at stretches that both systems get right, so that the errors
    in one segment are independent of those in the next; z is the mean difference of errors over its standard error.
    Where a system suits some speakers better than others it finds differences that are none (22 to 27 % of trials at
    the 5 % level, `benchmarks/comparison.py`); a bootstrap over speakers does not.

    Segments and z are those of SCTK's `mtchprs.c` and `statdist.c`, where a right word after an insertion is a good
    one. What the second system alone inserts at the end counts, too: NIST's loop ends with the first system's words.

    Args:
        errors_at: Of each utterance, `2 * words + 1` counts: what is inserted before a word of the reference and
            whether the word is wrong (1) or right (0), in turn, and what is inserted at the end.
        baseline_errors_at: The same of the other system.
        good_words: Words that both get right between two segments.
    """
    differences = []
    for ours, theirs in zip(errors_at, baseline_errors_at, strict=True):
        segment, good, has_errors = 0, 0, False
        for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            is_word = place % 2 == 1
            if one or other:
                segment, good, has_errors = segment + one - other, 0, True
            elif is_word:
                good += 1
                if has_errors and good >= good_words:
                    differences.append(segment)
                    segment, has_errors = 0, False
        if has_errors:
            differences.append(segment)
    count = len(differences)
    deviation = float(np.std(differences, ddof=1)) if count > 1 else 0.0
    z = float(np.mean(differences)) / (deviation / math.sqrt(count)) if deviation else 0.0
    return Mapsswe(segments=count, z=z, p=math.erfc(abs(z) / math.sqrt(2)))
