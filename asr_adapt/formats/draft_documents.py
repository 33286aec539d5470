"""Drafts in annotated documents: tiers that a model writes, in ELAN and Praat files, beside those of people.

Each draft is three tiers: its segments, their words with times, and a status: `check` where the model was unsure,
`ok` where a person takes a segment as it is. What people wrote is never touched.
"""

import itertools
import math
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asr_adapt.artifacts import Draft, DraftTier
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.provenance import CHECK, OK, Drafts, Mark, Span, share_time
from asr_adapt.corpora.readers import elan, praat
from asr_adapt.corpora.tiers import Annotation, Tier
from asr_adapt.errors import InputError
from asr_adapt.formats.elan_document import ElanDocument

_ENTRIES = {CHECK: "the model was unsure", OK: "right as it is"}
_VOCABULARY, _WORDS_TYPE, _STATUS_TYPE = "draft status", "draft words", "draft status"


@dataclass(frozen=True)
class DraftSegment:
    """A segment that a model wrote, or whose words were aligned; times are those of the document."""

    start_ms: int
    end_ms: int
    text: str
    words: tuple[Span, ...]
    """inside the segment, in order, none overlapping"""
    unsure: bool = False
    name: str = ""
    """of the annotation that is there already"""
    above: str = ""
    """name of the annotation that it refers to, where its tier has no times of its own"""


class DraftDocument(ABC):
    """An annotated document with its drafts.

    Args:
        path: What is read.
        tiers: Its tiers, with empty annotations and where texts come from, in times of the document.
        draft: What a model wrote into it before.
        audio: Its recording.
    """

    shift_ms = 0
    """of the recording, before the document's zero"""

    def __init__(self, path: Path, tiers: Sequence[Tier], draft: Draft, audio: str) -> None:
        self.path, self.model, self.audio = path, draft.model, audio
        self.tiers = {tier.name: tier for tier in tiers}
        self.drafts = {name: of for name, of in draft.tiers.items() if name in self.tiers}
        self._gone = {name: of for name, of in draft.tiers.items() if name not in self.tiers}  # renamed or deleted
        self._middles: dict[str, list[tuple[float, float, Annotation]]] = {}
        self._marks = {name: [*map(Mark.parse, tier.segments)] for name, tier in draft.tiers.items()}

    def is_own(self, tier: str) -> bool:
        """Whether a tier is part of a draft."""
        return tier in self.drafts or any(tier in (of.words, of.status) for of in self.drafts.values())

    def draft_of(self, tier: str) -> str | None:
        """Return the name of the draft of a person's tier."""
        return next((name for name, of in self.drafts.items() if of.of == tier), None)

    def is_tried(self, tier: str, start_ms: int, end_ms: int, *, heard: bool) -> bool:
        """Whether a draft has something there; `heard`: a text, even one that a person has deleted."""
        span = Span(start_ms, end_ms, "")
        there = (Mark.of(_span(a)) for a in self._below(tier) if a.text and not a.problem)
        known = (mark for mark in self._marks[tier] if mark.words.count or not heard)
        return any(share_time(span, mark) for mark in itertools.chain(there, known))

    def words_in(self, draft: str, start_ms: int, end_ms: int) -> list[Annotation]:
        """Return the words of a draft from `start_ms` to `end_ms`."""
        return [a for a in self._inside(self.drafts[draft].words, start_ms, end_ms) if a.text]

    def describe(self, of: str) -> str | None:
        """Return the name of the tier whose annotations say where a tier has, or may have, annotations.

        Raises:
            InputError: the tier divides another one, and cannot be drafted.
        """
        return of

    @abstractmethod
    def add(
        self,
        of: str | None,
        segments: Sequence[DraftSegment],
        *,
        kind: str | None = None,
        speaker: str | None = None,
        channel: int | None = None,
    ) -> None:
        """Add segments to a draft, which is made where there is none.

        Args:
            of: The tier of a person that it is a draft of; None: of a recording.
            segments: Where the draft has none yet. Those without a text are remembered only.
            kind: The type of its tier, where `of` is None.
            speaker: Who speaks, where `of` is None.
            channel: That of the speaker, where each has one.
        """

    @abstractmethod
    def rewrite(self, draft: str, segments: Sequence[DraftSegment]) -> None:
        """Set the texts, words and status of segments that are there."""

    @abstractmethod
    def rewrite_words(self, draft: str, segments: Sequence[DraftSegment]) -> None:
        """Replace the words of segments that are there."""

    @abstractmethod
    def text(self, model: str) -> str:
        """Return the file's content, with what `model` (a fingerprint) wrote kept in it where it can be."""

    def has_others_below(self, draft: str, start_ms: int, end_ms: int) -> bool:
        """Whether people have annotated the draft's segment or its words in tiers below."""
        return False

    def record(self, model: str) -> Draft:
        """Return what a model wrote."""
        tiers = {
            name: of.model_copy(update={"segments": tuple(map(str, sorted(self._marks[name], key=_start_ms)))})
            for name, of in self.drafts.items()
        }
        return Draft(model=model, tiers=self._gone | tiers)

    def _remember(self, draft: str, segments: Sequence[DraftSegment]) -> None:
        """Keep the marks of what is written, in place of those that were there."""
        spans = sorted((Span(s.start_ms, s.end_ms, s.text) for s in segments), key=lambda span: span.start_ms)
        starts = [span.start_ms for span in spans]
        longest = max((span.end_ms - span.start_ms for span in spans), default=0)

        def is_written_anew(mark: Mark) -> bool:
            near = spans[bisect_left(starts, mark.start_ms - longest) : bisect_right(starts, mark.end_ms)]
            return any(share_time(span, mark) for span in near)

        kept = [mark for mark in self._marks.get(draft, ()) if not is_written_anew(mark)]
        self._marks[draft] = [*kept, *map(Mark.of, spans)]

    def _inside(self, tier: str | None, start_ms: int, end_ms: int) -> list[Annotation]:
        """Return the annotations of a tier, as it was read, whose middle is from `start_ms` to `end_ms`."""
        if tier is None or tier not in self.tiers:
            return []
        if tier not in self._middles:
            timed = [
                ((a.start_s + a.end_s) * 500, n, a)
                for n, a in enumerate(self.tiers[tier].annotations)
                if a.start_s is not None and a.end_s is not None
            ]
            self._middles[tier] = sorted(timed)
        middles = self._middles[tier]
        first, last = bisect_left(middles, (start_ms,)), bisect_right(middles, (end_ms, math.inf))
        return [annotation for _, _, annotation in middles[first:last]]

    def _below(self, tier: str | None) -> Sequence[Annotation]:
        return self.tiers[tier].annotations if tier in self.tiers else ()


class ElanDraft(DraftDocument):
    """Drafts in an ELAN document.

    Args:
        path: The .eaf file that is read.
        finder: Finds its recording.
        drafts: What models wrote into files whose documents do not say it.
        text: The document, where it is not in the file yet.
    """

    def __init__(self, path: Path, finder: AudioFinder, drafts: Drafts, text: str | None = None) -> None:
        tiers: list[Tier] = []
        draft, audio = None, ""
        if text is None:
            found = elan.examined(path, finder, drafts)
            self.shift_ms = round(found.start_s * 1000)
            tiers = [_moved(tier, -found.start_s) for tier in found.tiers]
            draft, audio = found.draft, found.audio
        self._document = ElanDocument.read(path) if text is None else ElanDocument(text)
        super().__init__(path, tiers, draft or Draft(), audio)

    def describe(self, of: str) -> str | None:
        """Return the tier above where `of` has one annotation for each there, else `of`; see `DraftDocument`."""
        constraint = self._document.constraint(of)
        if constraint is None:
            return of
        if constraint == "Symbolic_Association":
            return self._document.tier_attributes(of).get("PARENT_REF")
        raise InputError(
            f"tier '{of}' divides another one ({constraint})",
            place=self.path,
            remedy="Name a tier of whole utterances: --tiers.",
        )

    def add(
        self,
        of: str | None,
        segments: Sequence[DraftSegment],
        *,
        kind: str | None = None,
        speaker: str | None = None,
        channel: int | None = None,
    ) -> None:
        """Add segments to a draft; see `DraftDocument.add`."""
        document = self._document
        name = self.draft_of(of) if of is not None else None
        if name is None:
            name = self._add_draft(of, kind, speaker, channel)
        full = [s for s in segments if s.text]
        if document.constraint(name) == "Symbolic_Association":
            names = document.refer(name, [(s.above, s.text) for s in full])
        else:
            names = document.add(name, [(s.start_ms, s.end_ms, s.text) for s in full])
        self._add_words(name, full)
        self._mark_unsure(name, zip(names, full, strict=True))
        self._remember(name, segments)

    def _add_draft(self, of: str | None, kind: str | None, speaker: str | None, channel: int | None) -> str:
        document = self._document
        if of is None:
            suffix = f" {speaker}" if speaker else ""
            kind = document.add_type(kind or "default-lt")
            name = document.add_tier(f"segments{suffix}", kind, participant=speaker)
            words_name, status_name = f"words{suffix}", f"status{suffix}"
        else:
            like = document.tier_attributes(of)
            name = document.add_tier(
                f"{of} (draft)", like["LINGUISTIC_TYPE_REF"], like=of, above=like.get("PARENT_REF")
            )
            words_name, status_name = f"words of {of}", f"status of {of}"
        vocabulary = document.add_vocabulary(_VOCABULARY, _ENTRIES)
        status_type = document.add_type(_STATUS_TYPE, "Symbolic_Association", vocabulary)
        words_type = document.add_type(_WORDS_TYPE, "Included_In")
        # Each goes directly behind the draft's tier, so the last one added is the first of them.
        status = document.add_tier(status_name, status_type, like=name, above=name)
        words = document.add_tier(words_name, words_type, like=name, above=document.alignable_above(name))
        self.drafts[name] = DraftTier(of=of, words=words, status=status, channel=channel)
        return name

    def rewrite(self, draft: str, segments: Sequence[DraftSegment]) -> None:
        """Set the texts, words and status of segments that are there."""
        self._document.set_text({s.name: s.text for s in segments})
        self.rewrite_words(draft, segments)
        free: list[tuple[str, DraftSegment]] = []
        stale: set[str] = set()
        for s in segments:
            there = self._inside(self.drafts[draft].status, s.start_ms, s.end_ms)
            stale |= {a.name for a in there if a.text == CHECK}
            if all(a.name in stale for a in there):  # a segment has one status
                free.append((s.name, s))
        self._document.remove(stale)
        self._mark_unsure(draft, free)
        self._remember(draft, segments)

    def rewrite_words(self, draft: str, segments: Sequence[DraftSegment]) -> None:
        """Replace the words of segments that are there."""
        words = self.drafts[draft].words
        self._document.remove({a.name for s in segments for a in self._inside(words, s.start_ms, s.end_ms)})
        self._add_words(draft, segments)

    def has_others_below(self, draft: str, start_ms: int, end_ms: int) -> bool:
        """Whether people have annotated the draft's segment or its words in tiers below."""
        own = self.drafts[draft]
        parents = [draft] + [tier for tier in (own.words, own.status) if tier in self.tiers]
        others = [child for parent in parents if parent for child in self._document.children(parent)]
        return any(self._inside(other, start_ms, end_ms) for other in others if not self.is_own(other))

    def text(self, model: str) -> str:
        """Return the file's content, with what was written kept in its header."""
        self._document.set_draft(self.record(model))
        return self._document.text()

    def _add_words(self, draft: str, segments: Sequence[DraftSegment]) -> None:
        words = self.drafts[draft].words
        if words in self._document.tier_names and words is not None:
            self._document.add(words, [(w.start_ms, w.end_ms, w.text) for s in segments for w in s.words])

    def _mark_unsure(self, draft: str, segments: Iterable[tuple[str, DraftSegment]]) -> None:
        status = self.drafts[draft].status
        if status in self._document.tier_names and status is not None:
            self._document.refer(status, [(name, CHECK) for name, s in segments if s.unsure])


class TextGridDraft(DraftDocument):
    """Drafts in a Praat TextGrid. Their marks are kept beside it, in the folder's record.

    Args:
        path: The .TextGrid file that is read.
        finder: Finds its recording.
        drafts: What models wrote into it before.
        duration_s: Of the recording, where there is no file yet.
    """

    def __init__(self, path: Path, finder: AudioFinder, drafts: Drafts, duration_s: float | None = None) -> None:
        tiers: list[Tier] = []
        found, audio = None, ""
        if duration_s is None:
            self._grid, tiers = praat.parsed(path), [*praat.annotated(path, finder, drafts)]
            found, audio = drafts.of(path), praat.recording(path, finder)
        else:
            self._grid = {"xmin": 0, "xmax": duration_s, "tiers": []}
        for tier in self._grid["tiers"]:
            tier["entries"] = [(*map(float, times), label) for *times, label in tier["entries"]]
        super().__init__(path, tiers, found.draft if found else Draft(), audio)

    def add(
        self,
        of: str | None,
        segments: Sequence[DraftSegment],
        *,
        kind: str | None = None,
        speaker: str | None = None,
        channel: int | None = None,
    ) -> None:
        """Add segments to a draft; see `DraftDocument.add`. Praat's tiers have no type."""
        name = self.draft_of(of) if of is not None else None
        if name is None:
            suffix = f" {speaker}" if speaker else ""
            wanted = (f"{of} (draft)", f"words of {of}", f"status of {of}") if of is not None else (
                f"segments{suffix}", f"words{suffix}", f"status{suffix}")  # fmt: skip
            name, words, status = map(self._add_tier, wanted)
            self.drafts[name] = DraftTier(of=of, words=words, status=status, channel=channel)
        full = [s for s in segments if s.text]
        self._put(name, full)
        self._put_words_and_status(name, full)
        self._remember(name, segments)

    def rewrite(self, draft: str, segments: Sequence[DraftSegment]) -> None:
        """Set the texts, words and status of segments that are there."""
        self._put(draft, segments)
        self._put_words_and_status(draft, segments)
        self._remember(draft, segments)

    def rewrite_words(self, draft: str, segments: Sequence[DraftSegment]) -> None:
        """Replace the words of segments that are there."""
        words = self.drafts[draft].words
        if words in self.tiers and words is not None:
            self._clear(words, segments)
            self._put(words, [w for s in segments for w in s.words])

    def text(self, model: str) -> str:
        """Return the file's content; what was written is kept elsewhere: see `record`."""
        from praatio.utilities import textgrid_io

        return textgrid_io.getTextgridAsStr(
            self._grid, "long_textgrid", includeBlankSpaces=True, minimumIntervalLength=None
        )

    def _add_tier(self, name: str) -> str:
        taken = {tier["name"] for tier in self._grid["tiers"]}
        name = next(n for n in (name, *(f"{name} {i}" for i in range(2, len(taken) + 3))) if n not in taken)
        times = {key: self._grid[key] for key in ("xmin", "xmax")}
        self._grid["tiers"].append({"class": "IntervalTier", "name": name, **times, "entries": []})
        self.tiers[name] = Tier(self.path, name, name, None, self.audio, [])
        return name

    def _put_words_and_status(self, draft: str, segments: Sequence[DraftSegment]) -> None:
        self.rewrite_words(draft, segments)
        status = self.drafts[draft].status
        if status in self.tiers and status is not None:
            self._clear(status, segments, only=CHECK)
            self._put(status, [Span(s.start_ms, s.end_ms, CHECK) for s in segments if s.unsure])

    def _put(self, tier: str, spans: Sequence[DraftSegment] | Sequence[Span]) -> None:
        """Put intervals into a tier, in place of empty ones and of those that begin and end where they do."""
        entries = self._entries(tier)
        new = {(s.start_ms, s.end_ms): s.text for s in spans}
        kept = [
            (start, end, label) for start, end, label in entries
            if label.strip() and (round(start * 1000), round(end * 1000)) not in new
        ]  # fmt: skip
        # The grid's own end may be a fraction of a millisecond before that of the last interval.
        added = [
            (start / 1000, min(end / 1000, float(self._grid["xmax"])), text) for (start, end), text in new.items()
        ]
        entries[:] = sorted(kept + added)

    def _clear(self, tier: str, segments: Sequence[DraftSegment], only: str | None = None) -> None:
        entries = self._entries(tier)
        entries[:] = [
            (start, end, label) for start, end, label in entries
            if (only and label != only)
            or not any(s.start_ms <= (start + end) * 500 <= s.end_ms for s in segments)
        ]  # fmt: skip

    def _entries(self, tier_name: str) -> list[tuple[float, float, str]]:
        """Return the intervals of a tier; the first tier of its name is meant."""
        entries: list[tuple[float, float, str]] = next(
            tier["entries"] for tier in self._grid["tiers"] if tier["name"] == tier_name
        )
        return entries


def _span(annotation: Annotation) -> Span:
    start_ms, end_ms = (round((at or 0.0) * 1000) for at in (annotation.start_s, annotation.end_s))
    return Span(start_ms, end_ms, annotation.text)


def _moved(tier: Tier, by_s: float) -> Tier:
    moved = [
        a if a.start_s is None or a.end_s is None else replace(a, start_s=a.start_s + by_s, end_s=a.end_s + by_s)
        for a in tier.annotations
    ]
    return replace(tier, annotations=moved)


def _start_ms(mark: Mark) -> int:
    return mark.start_ms
