"""What an evaluation's transcripts say beyond their error rates: who, how long, which letters, words and marks.

Everything is counted on the alignments of which `score` counts the errors, so that all figures are of one piece.
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

# Edges of the groups by length, in seconds: commands, sentences, long sentences, paragraphs.
_EDGES_S = (2.0, 5.0, 10.0, 20.0)


@dataclass(frozen=True)
class Judged:
    """An utterance, both its texts normalised, and where they differ."""

    utterance: Utterance
    said: str
    read: str
    words: Sequence[Step]
    letters: Sequence[Step]

    @cached_property
    def word_errors(self) -> Errors:
        """Its word errors."""
        return count(self.words)

    @cached_property
    def letter_errors(self) -> Errors:
        """Its errors in grapheme clusters."""
        return count(self.letters)


def judge(utterances: Iterable[Utterance], normalise: Callable[[str], str]) -> list[Judged]:
    """Align each utterance's hypothesis with its reference, both after `normalise`."""
    judged = []
    for utterance in utterances:
        said, read = normalise(utterance.text or ""), normalise(utterance.hypothesis or "")
        words, letters = error_rates.align_words(said, read), error_rates.align_characters(said, read)
        judged.append(Judged(utterance, said, read, words, letters))
    return judged


def count(steps: Iterable[Step]) -> Errors:
    """Return the error counts of an alignment."""
    kinds = Counter(step.kind for step in steps)
    length = kinds["equal"] + kinds["substitute"] + kinds["delete"]
    return Errors(kinds["substitute"], kinds["delete"], kinds["insert"], length)


@dataclass(frozen=True)
class Rate:
    """An error rate with its 95 % bootstrap interval; a fraction."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, errors: Sequence[Errors]) -> "Rate | None":
        """Return the pooled rate of utterances; None where no reference says anything."""
        if not any(e.reference_length for e in errors):
            return None
        return cls(error_rates.rate(errors), *error_rates.rate_interval(errors))


@dataclass(frozen=True)
class Group:
    """Some of the utterances, and how well they are read."""

    name: Hashable
    utterances: int
    words: int
    audio_s: float
    wer: Rate | None
    cer: Rate | None


def by_speaker(judged: Sequence[Judged]) -> list[Group]:
    """Return a group for each speaker, in the order in which they first speak; `None` is who is not known."""
    return _grouped(judged, lambda one: one.utterance.speaker)


def by_length(judged: Sequence[Judged]) -> list[Group]:
    """Return a group for each range of seconds, `(from, to)`, `to` None for the last; empty ranges are left out."""
    edges = (0.0, *_EDGES_S, None)
    ranges = list(pairwise(edges))

    def length(one: Judged) -> Hashable:
        return next((a, b) for a, b in ranges if b is None or (one.utterance.duration_s or 0.0) < b)

    groups = {group.name: group for group in _grouped(judged, length)}
    return [groups[name] for name in ranges if name in groups]


def _grouped(judged: Sequence[Judged], key: Callable[[Judged], Hashable]) -> list[Group]:
    members: dict[Hashable, list[Judged]] = defaultdict(list)
    for one in judged:
        members[key(one)].append(one)
    return [
        Group(
            name=name,
            utterances=len(group),
            words=sum(one.word_errors.reference_length for one in group),
            audio_s=sum(one.utterance.duration_s or 0.0 for one in group),
            wer=Rate.of([one.word_errors for one in group]),
            cer=Rate.of([one.letter_errors for one in group]),
        )
        for name, group in members.items()
    ]


@dataclass(frozen=True)
class Confusion:
    """How often one unit was read as another; `said` is empty where it was inserted, `read` where left out."""

    said: str
    read: str
    count: int
    of: int
    """how often `said` stands in the references; 0 for an insertion"""


def confusions(alignments: Iterable[Sequence[Step]], kind: Kind) -> list[Confusion]:
    """Return the errors of one kind (`substitute`, `delete`, `insert`), the most frequent first."""
    steps = [step for alignment in alignments for step in alignment]
    said = Counter(step.said for step in steps if step.said)
    found = Counter((step.said, step.read) for step in steps if step.kind == kind)
    ranked = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Confusion(*pair, number, said[pair[0]]) for pair, number in ranked]


@dataclass(frozen=True)
class Marks:
    """Errors in tone marks and other diacritics (U+0300 to U+036F), apart from those in the letters below them."""

    cer_without: Rate | None
    """CER where both sides have lost their marks"""
    letters: int
    """letters said, spaces not counted"""
    wrong: int
    """of them, read as the right letter with wrong marks: one missing, one too many, another"""
    errors: int
    """all errors in letters and spaces"""
    marked: int
    """letters said that bear a mark"""
    marked_right: int
    marked_wrong: int
    """of `marked`, the right letter with wrong marks"""
    marked_other: int
    """of `marked`, read as another letter"""
    marked_lost: int
    """of `marked`, left out"""
    confused: Sequence[tuple[str, str, int]]
    """`(marks said, marks read, count)` on letters that were right, the most frequent first; `` is no mark"""

    @property
    def there(self) -> bool:
        """Whether this orthography has marks, or the model writes any."""
        return bool(self.marked or self.wrong)


def marks(judged: Sequence[Judged]) -> Marks:
    """Count the errors in marks. A letter is right with wrong marks where it is substituted by its like."""
    steps = [step for one in judged for step in one.letters if step.said != SPACE]
    marked = [step for step in steps if step.said and marks_of(step.said)]
    wrong = [step for step in steps if _differs_in_marks_alone(step)]
    confused = Counter((marks_of(step.said), marks_of(step.read)) for step in wrong)
    marked_wrong = sum(map(_differs_in_marks_alone, marked))
    kinds = Counter(step.kind for step in marked)
    return Marks(
        cer_without=Rate.of(
            [error_rates.character_errors(without_marks(one.said), without_marks(one.read)) for one in judged]
        ),
        letters=sum(bool(step.said) for step in steps),
        wrong=len(wrong),
        errors=sum(one.letter_errors.total for one in judged),
        marked=len(marked),
        marked_right=kinds["equal"],
        marked_wrong=marked_wrong,
        marked_other=kinds["substitute"] - marked_wrong,
        marked_lost=kinds["delete"],
        confused=[(*pair, number) for pair, number in sorted(confused.items(), key=lambda pair: (-pair[1], pair[0]))],
    )


def marks_of(letter: str) -> str:
    """Return the marks (U+0300 to U+036F) that a letter bears, in canonical order."""
    return "".join(char for char in unicodedata.normalize("NFD", letter) if "\u0300" <= char <= "\u036f")


def name_of(marks: str) -> str:
    """Return `acute accent` for U+0301, several joined by ` + `; `no mark` for none."""
    names = (unicodedata.name(mark).removeprefix("COMBINING ").lower() for mark in marks)
    return " + ".join(names) or "no mark"


def _differs_in_marks_alone(step: Step) -> bool:
    return step.kind == "substitute" and without_marks(step.said) == without_marks(step.read)


def split_hash(utterances: Iterable[Utterance]) -> str:
    """Return a SHA-256 of ids and reference texts, in whatever order: equal where the same split was scored."""
    said = sorted((u.id, u.text or "") for u in utterances)
    return hashlib.sha256(json.dumps(said, ensure_ascii=False).encode()).hexdigest()
