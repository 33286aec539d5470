"""Word and character error rates: pooled over utterances, with bootstrap intervals, counted by jiwer."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import numpy as np
from rich.cells import cell_len

from asr_adapt.errors import InputError
from asr_adapt.text.characters import graphemes, without_marks

if TYPE_CHECKING:
    import jiwer

Kind = Literal["equal", "substitute", "delete", "insert"]
SPACE = "␣"
"""the space between two words, in character alignments"""
_DRAWS = 1000


@dataclass(frozen=True)
class Errors:
    """Edit counts of one utterance, or of a corpus."""

    substitutions: int
    deletions: int
    insertions: int
    reference_length: int

    @property
    def total(self) -> int:
        """S + D + I."""
        return self.substitutions + self.deletions + self.insertions


class Step(NamedTuple):
    """One column of an alignment."""

    kind: Kind
    reference: str
    """unit of the reference; empty in an insertion"""
    hypothesis: str
    """unit of the hypothesis; empty in a deletion"""


def word_errors(reference: str, hypothesis: str) -> Errors:
    """Count word errors between two normalised texts; an empty reference makes every word an insertion."""
    return _count(reference.split(), hypothesis.split())


def character_errors(reference: str, hypothesis: str) -> Errors:
    """Count errors in grapheme clusters, the space between two words being one."""
    return _count(_characters(reference), _characters(hypothesis))


def _characters(text: str) -> list[str]:
    return [SPACE if cluster == " " else cluster for cluster in graphemes(" ".join(text.split()))]


def _count(reference: list[str], hypothesis: list[str]) -> Errors:
    if not reference:  # jiwer refuses it
        return Errors(0, 0, len(hypothesis), 0)
    counts = _jiwer(reference, hypothesis)
    return Errors(counts.substitutions, counts.deletions, counts.insertions, len(reference))


def _jiwer(reference: list[str], hypothesis: list[str]) -> "jiwer.WordOutput":
    import jiwer

    return jiwer.process_words(" ".join(reference), " ".join(hypothesis))


def pool(errors: Sequence[Errors]) -> Errors:
    """Return the sum of the counts, so that an utterance counts in proportion to its length."""
    return Errors(
        sum(e.substitutions for e in errors),
        sum(e.deletions for e in errors),
        sum(e.insertions for e in errors),
        sum(e.reference_length for e in errors),
    )


def rate(errors: Sequence[Errors]) -> float:
    """Return (S + D + I) / reference length, pooled; a fraction that may exceed 1.

    Raises:
        InputError: no utterance has a reference text.
    """
    pooled = pool(errors)
    if pooled.reference_length == 0:
        raise InputError("no utterance has a reference text, so there is no error rate")
    return pooled.total / pooled.reference_length


def rates(pairs: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """Return WER and CER of pairs `(reference, hypothesis)`, pooled as `rate` does; raises what it raises."""
    return rate([word_errors(*pair) for pair in pairs]), rate([character_errors(*pair) for pair in pairs])


def rate_interval(errors: Sequence[Errors], *, draws: int = _DRAWS, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of `rate` over utterances (Bisani & Ney 2004).

    Args:
        errors: One entry for each utterance.
        draws: Bootstrap samples, each of `len(errors)` utterances with replacement.
        seed: The same seed gives the same interval.
    """
    totals = np.array([e.total for e in errors])
    lengths = np.array([e.reference_length for e in errors])
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(errors), size=(draws, len(errors)))  # (draws, utterances)
    drawn_lengths = lengths[chosen].sum(axis=1)
    rates = totals[chosen].sum(axis=1) / np.maximum(drawn_lengths, 1)
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)


def cer_without_marks(pairs: Iterable[tuple[str, str]]) -> float:
    """Return the CER of normalised pairs `(reference, hypothesis)` after removing tone marks and other diacritics."""
    return rate([character_errors(without_marks(ref), without_marks(hyp)) for ref, hyp in pairs])


def align_words(reference: str, hypothesis: str) -> list[Step]:
    """Return the alignment of two normalised texts that `word_errors` counts."""
    return _align(reference.split(), hypothesis.split())


def align_characters(reference: str, hypothesis: str) -> list[Step]:
    """Return the alignment of two normalised texts that `character_errors` counts; a space is `SPACE`."""
    return _align(_characters(reference), _characters(hypothesis))


def _align(reference: list[str], hypothesis: list[str]) -> list[Step]:
    if not reference:  # jiwer refuses it
        return [Step("insert", "", unit) for unit in hypothesis]
    steps: list[Step] = []
    for chunk in _jiwer(reference, hypothesis).alignments[0]:
        ref = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        hyp = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        # Equal lengths, or one of the two is empty (a deletion or an insertion).
        kind = cast(Kind, chunk.type)
        steps += [Step(kind, *pair) for pair in zip_longest(ref, hyp, fillvalue="")]
    return steps


def count(steps: Iterable[Step]) -> Errors:
    """Return the error counts of an alignment."""
    kinds = Counter(step.kind for step in steps)
    length = kinds["equal"] + kinds["substitute"] + kinds["delete"]
    return Errors(kinds["substitute"], kinds["delete"], kinds["insert"], length)


def format_alignment(steps: Iterable[Step]) -> tuple[str, str, str]:
    """Return reference, hypothesis, and a line with S, D and I below the errors, in columns of equal width."""
    columns = [(step.reference or "*", step.hypothesis or "*", "" if step.kind == "equal" else step.kind[0].upper())
               for step in steps]  # fmt: skip
    widths = [max(map(cell_len, column)) for column in columns]
    rows = ("  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
            for row in zip(*columns, strict=True))  # fmt: skip
    ref, hyp, marks = rows if columns else ("", "", "")
    return ref.rstrip(), hyp.rstrip(), marks.rstrip()
