"""Error analysis: error rates by speaker and by length, confusions of words and characters, errors in diacritics.

Everything is counted on the alignments from which the error rates are counted, so that all figures agree.
"""

import hashlib
import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from asr_adapt.records import Utterance
from asr_adapt.scoring import error_rates
from asr_adapt.scoring.error_rates import SPACE, Errors, Kind, Step
from asr_adapt.text.characters import without_marks

# Boundaries of the groups by length, in seconds: commands, sentences, long sentences, paragraphs.
_EDGES_S = (2.0, 5.0, 10.0, 20.0)


@dataclass(frozen=True)
class ScoredUtterance:
    """An utterance with its normalised texts and their alignment in words and in grapheme clusters."""

    utterance: Utterance
    reference: str
    hypothesis: str
    words: Sequence[Step]
    characters: Sequence[Step]

    @cached_property
    def word_errors(self) -> Errors:
        """Errors in words."""
        return error_rates.count(self.words)

    @cached_property
    def character_errors(self) -> Errors:
        """Errors in grapheme clusters."""
        return error_rates.count(self.characters)

    @classmethod
    def of(cls, utterance: Utterance, reference: str, hypothesis: str) -> "ScoredUtterance":
        """Align the normalised texts of an utterance."""
        words = error_rates.align_words(reference, hypothesis)
        return cls(utterance, reference, hypothesis, words, error_rates.align_characters(reference, hypothesis))


def score(utterances: Iterable[Utterance], normalise: Callable[[str], str]) -> list[ScoredUtterance]:
    """Align each utterance's hypothesis with its reference, both after `normalise`."""
    return [ScoredUtterance.of(u, normalise(u.text or ""), normalise(u.hypothesis or "")) for u in utterances]


@dataclass(frozen=True)
class Rate:
    """An error rate with its 95 % bootstrap interval; a fraction."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, errors: Sequence[Errors]) -> "Rate | None":
        """Return the pooled error rate; None where every reference is empty."""
        if not any(e.reference_length for e in errors):
            return None
        return cls(error_rates.rate(errors), *error_rates.rate_interval(errors))


@dataclass(frozen=True)
class Group:
    """Error rates of some of the utterances."""

    name: Hashable
    utterances: int
    words: int
    audio_s: float
    wer: Rate | None
    cer: Rate | None


def by_speaker(scored: Sequence[ScoredUtterance]) -> list[Group]:
    """Return a group for each speaker, in order of first appearance; the name is None where it is unknown."""
    return _grouped(scored, lambda one: one.utterance.speaker)


def by_length(scored: Sequence[ScoredUtterance]) -> list[Group]:
    """Return a group for each range of durations `(from_s, to_s)` that has any; `to_s` is None for the last."""
    edges = (0.0, *_EDGES_S, None)
    ranges = list(pairwise(edges))

    def length(one: ScoredUtterance) -> Hashable:
        return next((a, b) for a, b in ranges if b is None or (one.utterance.duration_s or 0.0) < b)

    groups = {group.name: group for group in _grouped(scored, length)}
    return [groups[name] for name in ranges if name in groups]


def _grouped(scored: Sequence[ScoredUtterance], key: Callable[[ScoredUtterance], Hashable]) -> list[Group]:
    members: dict[Hashable, list[ScoredUtterance]] = defaultdict(list)
    for one in scored:
        members[key(one)].append(one)
    return [
        Group(
            name=name,
            utterances=len(group),
            words=sum(one.word_errors.reference_length for one in group),
            audio_s=sum(one.utterance.duration_s or 0.0 for one in group),
            wer=Rate.of([one.word_errors for one in group]),
            cer=Rate.of([one.character_errors for one in group]),
        )
        for name, group in members.items()
    ]


@dataclass(frozen=True)
class Confusion:
    """How often one unit became another; `reference` is empty for an insertion, `hypothesis` for a deletion."""

    reference: str
    hypothesis: str
    count: int
    of: int
    """occurrences of the unit in the references; 0 for an insertion"""


def confusions(alignments: Iterable[Sequence[Step]], kind: Kind) -> list[Confusion]:
    """Return the errors of one kind (`substitute`, `delete`, `insert`), the most frequent first."""
    steps = [step for alignment in alignments for step in alignment]
    occurrences = Counter(step.reference for step in steps if step.reference)
    found = Counter((step.reference, step.hypothesis) for step in steps if step.kind == kind)
    ranked = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Confusion(*pair, number, occurrences[pair[0]]) for pair, number in ranked]


@dataclass(frozen=True)
class Marks:
    """Errors in tone marks and other diacritics (U+0300 to U+036F), apart from those in their base letters."""

    cer_without: Rate | None
    """CER after removing the marks from both sides"""
    characters: int
    """characters of the references, without spaces"""
    wrong: int
    """of `characters`, those with the right base letter and wrong marks: missing, superfluous or different ones"""
    errors: int
    """all character errors, spaces included"""
    marked: int
    """characters of the references that have a mark"""
    marked_correct: int
    marked_wrong: int
    """of `marked`, the right base letter with wrong marks"""
    marked_substituted: int
    """of `marked`, those that became another letter"""
    marked_deleted: int
    confused: Sequence[tuple[str, str, int]]
    """`(reference marks, hypothesis marks, count)` on right base letters, the most frequent first; `` is no mark"""

    @property
    def any(self) -> bool:
        """Whether references or hypotheses have marks."""
        return bool(self.marked or self.wrong)


def marks(scored: Sequence[ScoredUtterance]) -> Marks:
    """Count the errors in marks: substitutions between characters that differ in nothing else."""
    steps = [step for one in scored for step in one.characters if step.reference != SPACE]
    marked = [step for step in steps if step.reference and marks_of(step.reference)]
    wrong = [step for step in steps if _differs_only_in_marks(step)]
    confused = Counter((marks_of(step.reference), marks_of(step.hypothesis)) for step in wrong)
    marked_wrong = sum(map(_differs_only_in_marks, marked))
    kinds = Counter(step.kind for step in marked)
    return Marks(
        cer_without=Rate.of(
            [
                error_rates.character_errors(without_marks(one.reference), without_marks(one.hypothesis))
                for one in scored
            ]
        ),
        characters=sum(bool(step.reference) for step in steps),
        wrong=len(wrong),
        errors=sum(one.character_errors.total for one in scored),
        marked=len(marked),
        marked_correct=kinds["equal"],
        marked_wrong=marked_wrong,
        marked_substituted=kinds["substitute"] - marked_wrong,
        marked_deleted=kinds["delete"],
        confused=[(*pair, number) for pair, number in sorted(confused.items(), key=lambda pair: (-pair[1], pair[0]))],
    )


def marks_of(letter: str) -> str:
    """Return the marks (U+0300 to U+036F) of a character, in canonical order."""
    return "".join(char for char in unicodedata.normalize("NFD", letter) if "\u0300" <= char <= "\u036f")


def names_of_marks(marks: str) -> str:
    """Return `acute accent` for U+0301, several joined by ` + `; `no mark` for none."""
    names = (unicodedata.name(mark).removeprefix("COMBINING ").lower() for mark in marks)
    return " + ".join(names) or "no mark"


def differs_only_in_marks(reference: str, hypothesis: str) -> bool:
    """Whether two different letters have the same base letter."""
    return without_marks(reference) == without_marks(hypothesis)


def _differs_only_in_marks(step: Step) -> bool:
    return step.kind == "substitute" and differs_only_in_marks(step.reference, step.hypothesis)


def split_hash(utterances: Iterable[Utterance]) -> str:
    """Return a SHA-256 of ids and reference texts, independent of their order: equal for the same split."""
    references = sorted((u.id, u.text or "") for u in utterances)
    return hashlib.sha256(json.dumps(references, ensure_ascii=False).encode()).hexdigest()
