"""Whether a model has learned any relation between sound and text: a permutation test on its transcripts.

A model that was trained on texts of other clips still learns which letters are frequent, and its CER alone does not
show that it hears nothing. Its transcripts then fit the texts of other clips as well as their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_adapt.scoring import error_rates

FEWEST = 5
"""utterances; fewer have fewer than 120 orders, and no p value below `LEVEL`"""
LEVEL = 0.01
"""p value below which a relation is taken as shown"""
# Random letters of the right length are up to 2.4 % better on their own texts, with a p value of .0002: texts of
# similar length are not of equal length.
_BETTER_BY = 0.05
_MOST = 300  # utterances; every one is scored against some 10 texts
_BLOCK = 10
_DRAWS = 9_999


@dataclass(frozen=True)
class Relation:
    """Character error rates of transcripts against their own texts and against those of other utterances."""

    utterances: int
    cer: float
    cer_of_others: float
    """mean over the texts of other utterances, of similar length where texts seldom repeat"""
    p: float
    """share of the orders of the texts that fit the transcripts at least as well as the true one"""

    @property
    def is_shown(self) -> bool:
        """Whether the transcripts fit their own texts better than chance, and by more than lengths explain."""
        return self.p < LEVEL and self.cer < (1 - _BETTER_BY) * self.cer_of_others


def relation(pairs: Sequence[tuple[str, str]], seed: int = 0) -> Relation | None:
    """Test whether transcripts fit their own texts better than texts of other utterances.

    The texts are shuffled 9,999 times, each among some 10 of similar length, so that knowing how long an utterance is
    counts for little; where texts repeat (words of a closed vocabulary), among any 10. At most 300 utterances are
    taken, evenly spaced.

    Args:
        pairs: `(reference, hypothesis)`, normalised, in the order of the corpus.
        seed: The same seed gives the same p value.

    Returns:
        The relation; None where there are fewer than 5 utterances with a reference.
    """
    known = [pair for pair in pairs if pair[0]]
    if len(known) < FEWEST:
        return None
    spaced = np.unique(np.linspace(0, len(known) - 1, min(len(known), _MOST)).astype(int))
    taken = [known[i] for i in spaced]
    rng = np.random.default_rng(seed)
    seldom_repeat = 2 * len({reference for reference, _ in taken}) > len(taken)
    order = np.argsort([len(r) for r, _ in taken], kind="stable") if seldom_repeat else rng.permutation(len(taken))
    own, others, drawn = 0.0, 0.0, np.zeros(_DRAWS)
    for block in np.array_split(order, max(1, len(taken) // _BLOCK)):
        errors = _errors([taken[i] for i in block])
        count, of_own = len(block), float(np.trace(errors))
        shuffled = rng.permuted(np.tile(np.arange(count), (_DRAWS, 1)), axis=1)  # (draws, references)
        drawn += errors[np.arange(count), shuffled].sum(axis=1)
        own += of_own
        others += (float(errors.sum()) - of_own) / (count - 1)
    length = sum(error_rates.character_errors(reference, reference).reference_length for reference, _ in taken)
    return Relation(
        utterances=len(taken),
        cer=own / length,
        cer_of_others=others / length,
        p=(1 + int((drawn <= own).sum())) / (_DRAWS + 1),
    )


def _errors(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Return the character errors of each hypothesis against each reference: float64 (hypotheses, references)."""
    counts = [[error_rates.character_errors(ref, hyp).total for ref, _ in pairs] for _, hyp in pairs]
    return np.array(counts, float)
