"""Where a text comes from: a model's draft, a draft that a person changed, or a person.

What a model writes is marked: its times, the number of its words and a hash of them. Marks are in the document
itself (ELAN), else in the `.asr-adapt.json` of the folder that was written to, or above. What is there today is

- `machine`: the same words as marks of the same place, whether in one piece, divided or joined;
- `corrected`: other words where a mark of its tier is, or a segment whose status a person has set to `ok`;
- of a person: all else.
"""

import hashlib
import unicodedata
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from asr_adapt.artifacts import Draft, TranscriptionRecord
from asr_adapt.errors import InputError, describe_validation_error
from asr_adapt.records import Provenance
from asr_adapt.storage import file_digest, name_as_text

PROPERTY = "asr_adapt.draft"
"""name of the property in an ELAN file's header that holds its `Draft`"""
DRAFT_SUFFIX = ".draft"
"""of the copy that holds a draft, before the suffix of its format: `a.draft.eaf` beside `a.eaf`"""
CHECK, OK = "check", "ok"
"""values of a status tier: the model was unsure; a person takes the segment as it is"""
# A polynomial hash: that of several texts follows from theirs, so that joined segments are known as well.
_MODULUS, _BASE = 2**61 - 1, 1_000_003


@dataclass(frozen=True, slots=True)
class Words:
    """A text that is known by the number of its words and their hash; whitespace and Unicode's forms do not count."""

    count: int = 0
    digest: int = 0

    @classmethod
    def of(cls, text: str) -> "Words":
        """Return what a text is known by."""
        words = unicodedata.normalize("NFC", text).split()
        digest = 0
        for word in words:
            value = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=7).digest())
            digest = (digest * _BASE + value) % _MODULUS
        return cls(len(words), digest)

    def __add__(self, other: "Words") -> "Words":
        """Return what two texts in a row are known by."""
        moved = self.digest * pow(_BASE, other.count, _MODULUS)
        return Words(self.count + other.count, (moved + other.digest) % _MODULUS)


@dataclass(frozen=True, slots=True)
class Span:
    """A text from `start_ms` to `end_ms` of its document; both are 0 where the document has no times."""

    start_ms: int
    end_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What a model wrote from `start_ms` to `end_ms`."""

    start_ms: int
    end_ms: int
    words: Words

    @classmethod
    def of(cls, span: Span) -> "Mark":
        """Return the mark of what was written."""
        return cls(span.start_ms, span.end_ms, Words.of(span.text))

    def __str__(self) -> str:
        """Return the form in which it is kept: start, end, number of words, hash in hexadecimal digits."""
        return f"{self.start_ms} {self.end_ms} {self.words.count} {self.words.digest:x}"

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """Return a mark from its form.

        Raises:
            ValueError: it is none.
        """
        start, end, count, digest = text.split()
        return cls(int(start), int(end), Words(int(count), int(digest, 16)))


def marks(spans: Iterable[Span]) -> tuple[str, ...]:
    """Return the marks of what is written."""
    return tuple(str(Mark.of(span)) for span in spans)


def marks_without_text(segments: Sequence[str], spans: Sequence[Span]) -> tuple[str, ...]:
    """Return those marks, in the form in which they are kept, where nothing was heard or no text is any more.

    Args:
        segments: The marks of a tier.
        spans: The texts that are there.
    """
    known = sorted(map(Mark.parse, segments), key=lambda mark: mark.start_ms)
    there = {mark for _, of in _groups(spans, known) for mark in of}
    return tuple(str(mark) for mark in known if not mark.words.count or mark not in there)


@dataclass
class Drafted:
    """What a model wrote into a file."""

    draft: Draft
    all_machine: bool = False
    """the file is known to be as it was written, whatever its marks"""
    _by_times: dict[tuple[int, int], list[tuple[str, Mark]]] = field(default_factory=lambda: defaultdict(list))
    _marks: dict[str, list[Mark]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the marks.

        Raises:
            ValueError: one is damaged.
        """
        for name, tier in self.draft.tiers.items():
            self._marks[name] = sorted(map(Mark.parse, tier.segments), key=lambda mark: mark.start_ms)
            for mark in self._marks[name]:
                self._by_times[mark.start_ms, mark.end_ms].append((name, mark))

    def is_below(self, tier: str) -> bool:
        """Whether a tier holds the words or the status of a drafted one."""
        return any(tier in (of.words, of.status) for of in self.draft.tiers.values())

    def judge(self, tier: str, spans: Sequence[Span]) -> list[Provenance | None]:
        """Return where the texts of a tier come from; None: from a person.

        The words of a drafted tier are judged by the marks of their segments.
        """
        if self.all_machine:
            return ["machine"] * len(spans)
        found: list[Provenance | None] = [None] * len(spans)
        home = next((name for name, of in self.draft.tiers.items() if of.words == tier), tier)
        # A tier that was there before the draft is a person's, even where it says the same. Others may be copies.
        if tier in {of.of for of in self.draft.tiers.values()}:
            return found
        unchanged: set[int] = set()
        for number, span in enumerate(spans):
            for name, mark in self._by_times.get((span.start_ms, span.end_ms), ()):
                if mark.words == Words.of(span.text):
                    found[number] = "machine"
                    unchanged |= {id(mark)} if name == home else set()
        marks = [mark for mark in self._marks.get(home, ()) if id(mark) not in unchanged]
        rest = [number for number, judged in enumerate(found) if judged is None]
        for together, of in _groups([spans[number] for number in rest], marks):
            now = sum((Words.of(spans[rest[i]].text) for i in together), Words())
            written = sum((mark.words for mark in of), Words())
            for i in together:
                found[rest[i]] = "machine" if now == written else "corrected"
        return found


def _groups(spans: Sequence[Span], marks: Sequence[Mark]) -> list[tuple[list[int], list[Mark]]]:
    """Return which spans and marks belong together: those that share at least half of the shorter one's time.

    Spans without a mark are in no group. Both are in the order of time.
    """
    starts = [mark.start_ms for mark in marks]
    longest = max((mark.end_ms - mark.start_ms for mark in marks), default=0)
    groups: list[tuple[list[int], list[Mark]]] = []
    group_of: dict[int, int] = {}  # number of a mark → its group
    for number in sorted(range(len(spans)), key=lambda i: spans[i].start_ms):
        span = spans[number]
        first = bisect_right(starts, span.start_ms - longest - 1)
        last = bisect_right(starts, span.end_ms)
        linked = [i for i in range(first, last) if share_time(span, marks[i])]
        if not linked:
            continue
        known = sorted({group_of[i] for i in linked if i in group_of})
        if not known:
            known = [len(groups)]
            groups.append(([], []))
        home = known[0]
        for other in known[1:]:
            groups[home][0].extend(groups[other][0])
            groups[home][1].extend(groups[other][1])
            group_of |= {i: home for i, group in group_of.items() if group == other}
            groups[other] = ([], [])
        groups[home][0].append(number)
        for i in linked:
            if group_of.setdefault(i, home) == home and marks[i] not in groups[home][1]:
                groups[home][1].append(marks[i])
    for _, of in groups:
        of.sort(key=lambda mark: mark.start_ms)
    return [group for group in groups if group[0]]


def share_time(span: Span, mark: Mark) -> bool:
    """Whether a text and a mark share at least half of the shorter one's time."""
    common = min(span.end_ms, mark.end_ms) - max(span.start_ms, mark.start_ms)
    shorter = min(span.end_ms - span.start_ms, mark.end_ms - mark.start_ms)
    return common >= 0 and 2 * common >= shorter


class Drafts:
    """What models wrote into the files of a corpus, by the records beside and above them."""

    def __init__(self) -> None:
        self._records: dict[Path, list[tuple[Path, TranscriptionRecord]]] = {}  # of a folder, and above it

    def of(self, path: Path) -> Drafted | None:
        """Return what a model wrote into a file; None where no record names it.

        Raises:
            InputError: a record is damaged.
        """
        found = self.record_of(path)
        if found is None:
            return None
        base, name, record = found
        if name in record.drafts:
            return drafted(record.drafts[name], base / TranscriptionRecord.FILE)
        is_same = file_digest(path) == record.digests[name]
        return Drafted(Draft(model=record.model), all_machine=True) if is_same else None

    def record_of(self, path: Path) -> tuple[Path, str, TranscriptionRecord] | None:
        """Return the folder of the record that names a file, the file's name in it, and the record.

        Raises:
            InputError: a record is damaged.
        """
        folder = path.parent.absolute()
        for base, record in self._above(folder):
            name = name_as_text(str((folder / path.name).relative_to(base)))
            if name in record.drafts or name in record.digests:
                return base, name, record
        return None

    def judge(self, path: Path, spans: Sequence[Span]) -> list[Provenance | None]:
        """Return where the texts of a file without tiers come from; None: from a person."""
        found = self.of(path)
        return found.judge("", spans) if found else [None] * len(spans)

    def _above(self, folder: Path) -> list[tuple[Path, TranscriptionRecord]]:
        if folder not in self._records:
            rest = self._above(folder.parent) if folder.parent != folder else []
            # What was written elsewhere, or is very much, has lines alone.
            own = (folder / TranscriptionRecord.FILE).is_file() or (folder / TranscriptionRecord.PARTS).is_dir()
            self._records[folder] = [(folder, TranscriptionRecord.read(folder)), *rest] if own else rest
        return self._records[folder]


def without_draft_suffix(path: Path) -> Path:
    """Return the path of the file that a draft's copy is of; another path as it is."""
    stem = path.stem
    return path.with_name(stem[: -len(DRAFT_SUFFIX)] + path.suffix) if stem.endswith(DRAFT_SUFFIX) else path


def drafted(draft: Draft, place: object) -> Drafted:
    """Return what a model wrote, with its marks read.

    Raises:
        InputError: one is damaged.
    """
    try:
        return Drafted(draft)
    except ValueError as error:
        raise InputError(f"damaged: the mark of a draft ({error})", place=place) from error


def parse_property(text: str, place: object) -> Drafted:
    """Return what a model wrote into an ELAN file, from the property in its header.

    Raises:
        InputError: it is damaged.
    """
    try:
        return drafted(Draft.model_validate_json(text), place)
    except ValidationError as error:
        raise InputError(
            f"damaged: property {PROPERTY}: {describe_validation_error(error)}",
            place=place,
            remedy="Restore the file; or delete the property, and all text counts as a person's.",
        ) from error
