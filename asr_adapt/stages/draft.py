"""draft: everything in a folder of ELAN, Praat or plain recordings that has no transcript yet gets one.

What people wrote is never touched; what a model wrote and nobody changed is written anew by another model; the words
of a corrected segment follow it.
"""

import contextlib
import math
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree

from filelock import FileLock

from asr_adapt import audio
from asr_adapt.artifacts import Draft, TranscriptionRecord, model_fingerprint
from asr_adapt.audio import media
from asr_adapt.console import Console
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.provenance import (
    DRAFT_SUFFIX,
    Drafts,
    Span,
    Words,
    marks_without_text,
    without_draft_suffix,
)
from asr_adapt.corpora.readers import READERS, elan, praat
from asr_adapt.corpora.tiers import Annotation, Tier, near_names
from asr_adapt.errors import DiskFull, InputError, printable
from asr_adapt.folders import LocalFolder
from asr_adapt.formats import writers
from asr_adapt.formats.draft_documents import DraftDocument, DraftSegment, ElanDraft, TextGridDraft
from asr_adapt.formats.elan_document import ElanDocument
from asr_adapt.formats.intervals import apart, intervals
from asr_adapt.inference.recordings import Selection, as_channel
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance, Word, describe_duration
from asr_adapt.scoring import confidence
from asr_adapt.storage import disk_full_as_error, file_digest, name_as_text, write_text

if TYPE_CHECKING:  # it brings torch, and a misspelt path shall be answered at once
    from asr_adapt.inference.transcriber import Transcriber

Format = Literal["eaf", "textgrid"]
SUFFIXES: dict[Format, str] = {"eaf": ".eaf", "textgrid": ".TextGrid"}
UNSURE, UNSURE_SHARE = 0.8, 0.2
"""`check` marks the least confident fifth of a tier's segments, as far as the mean of their words is below 0.8"""
_MARGIN_MS = 100  # of a segment that is cut at pauses, beside its words
_SHORTEST_MS = 25
_FREE_SPACE = "Free some space, then run the same command again."
_DRAFT_COLOUR, _BELOW_COLOUR = "0,90,180", "130,130,130"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_PREFERENCES = "http://www.mpi.nl/tools/elan/Prefs_v1.1.xsd"
_ACCEPTED = (".eaf", ".textgrid", ".srt", ".vtt", ".txt", ".tsv")
_NETWORK = ("hugging_face", "data_collective")


@dataclass
class DraftSummary:
    """What was done."""

    files: list[Path] = field(default_factory=list)
    """that were written"""
    segments: int = 0
    """that have a draft now and had none"""
    duration_s: float = 0.0
    """of these"""
    rewritten: int = 0
    """drafts of another model that were replaced"""
    unsure: int = 0
    """of both"""
    aligned: int = 0
    """corrected segments whose words follow now"""
    corrected: int = 0
    """segments of drafts that people changed or confirmed; they stay"""
    kept: list[str] = field(default_factory=list)
    """machine segments that stay since people worked below them, in words"""
    unaligned: list[str] = field(default_factory=list)
    """corrected segments that could not be aligned, in words"""
    behind: list[str] = field(default_factory=list)
    """copies that lack annotations of the file that they are of, in words"""
    transcribed: int = 0
    """files of people that have a transcript"""
    up_to_date: int = 0
    """drafts in which nothing is to be done"""
    failed: int = 0

    @property
    def done(self) -> int:
        """How many files are as they should be."""
        return len(self.files) + self.transcribed + self.up_to_date


@dataclass(frozen=True)
class _Task:
    """A file to look at: what is read, and what is written."""

    source: Path
    target: Path
    recording: Path | None = None
    """a plain recording without a file of annotations"""


@dataclass(frozen=True)
class _Choice:
    """Which tiers hold the transcript: those that are named, else those of one type."""

    wanted: tuple[str, ...]
    kind: str | None

    def of(self, document: DraftDocument) -> list[Tier]:
        """Return the tiers of people that may hold a transcript."""
        names = {name for name in (*self.wanted, self.kind) if name is not None}
        return [tier for tier in document.tiers.values() if not document.is_own(tier.name) and tier.names & names]


@dataclass(frozen=True)
class _Piece:
    """A stretch to transcribe or align, in times of the document."""

    tier: str
    annotation: Annotation

    @property
    def start_ms(self) -> int:
        return round((self.annotation.start_s or 0.0) * 1000)

    @property
    def end_ms(self) -> int:
        return round((self.annotation.end_s or 0.0) * 1000)


@dataclass
class _Plan:
    """What is to be done in a document."""

    new: list[_Piece] = field(default_factory=list)
    """annotations that were drawn and have no text; `tier` is that of the person"""
    rewrite: list[_Piece] = field(default_factory=list)
    """what another model wrote; `tier` is the draft's"""
    align: list[_Piece] = field(default_factory=list)
    """segments whose words are not theirs; `tier` is the draft's"""
    cut: bool = False
    """nothing is drawn: the recording is cut at its pauses"""
    is_transcribed: bool = False
    corrected: int = 0
    kept: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.new or self.rewrite or self.align or self.cut)


def draft(
    load: "Callable[[], Transcriber]",
    model: Path,
    corpus: Path,
    console: Console,
    *,
    settings: str = "",
    tiers: Sequence[str] = (),
    in_place: bool = False,
    format: Format | None = None,
    channel: str | None = None,
    track: int | None = None,
) -> DraftSummary:
    """Draft what has no transcript yet; one file that cannot be drafted does not end the others.

    Args:
        load: Makes the transcriber, once it is known that there is work.
        model: The folder that it is made from.
        corpus: A folder of .eaf and .TextGrid files and recordings, or one of these.
        console: Where to report.
        settings: What else decides about the text: options of `load`.
        tiers: The tiers of people that hold the transcript, by name, by type, or by the name before `@`.
        in_place: Write into the files themselves, after a backup; otherwise into a copy beside each.
        format: Of plain recordings' drafts; None: that of the folder's annotated files, `eaf` where it has both or
            none.
        channel: `left`, `right`, `each` (a speaker for each), or a number from 1 on; None mixes all.
        track: Audio track, from 1 on; None is the default one.

    Raises:
        InputError: nothing is there, or it has to be said which tiers hold the transcript.
        DiskFull: a file cannot be written; those before it are complete.
    """
    finder = AudioFinder(corpus)
    tasks, choices = _survey(corpus, finder, tuple(tiers), in_place, format, console)
    work = _Drafting(load, model_fingerprint(model, settings), choices, channel, track)
    try:
        with console.progress("draft", total=len(tasks)) as progress:
            for number, task in enumerate(tasks, start=1):
                try:
                    work.do(task, finder)
                except DiskFull:
                    raise
                except InputError as error:
                    if error is work.unusable_model:
                        raise
                    work.summary.failed += 1
                    console.error(str(error) if error.place else f"{printable(task.source)}: {error}")
                progress.at(number)
    finally:
        _show(work.summary, console)
    return work.summary


def accept(paths: Sequence[Path], console: Console) -> int:
    """Take drafts as they are: from now on their text is a person's. Return how many files have such.

    Args:
        paths: Files with drafts, or folders of these.
        console: Where to report.

    Raises:
        InputError: a file, or a folder, has no draft in it.
    """
    accepted: list[Path] = []
    for given in paths:
        files = [given] if given.is_file() else media.below(given, _ACCEPTED)
        found = [path for path in files if _accept(path)]
        if not found:
            raise InputError("has no draft in it", place=printable(given), remedy="Name a file of `asr-adapt draft`.")
        accepted += found
    several = len(accepted) > 1
    console.say(
        f"accepted {len(accepted):,} {'drafts as they are, the first' if several else 'draft as it is:'} "
        f"{printable(accepted[0])}"
    )
    return len(accepted)


def _accept(path: Path) -> bool:
    """Take the draft in a file as it is; return whether there is one."""
    drafts = Drafts()
    if path.suffix.lower() == ".eaf":
        found = elan.examined(path, AudioFinder(path), drafts)
        if found.draft is None:
            return False
        document = ElanDocument.read(path)
        document.set_draft(_accepted(found.draft, found.tiers, found.start_s))
        with disk_full_as_error(path, _FREE_SPACE):
            write_text(path, document.text())
        return True
    named = drafts.record_of(path)
    if named is None:
        return False
    base, name, _ = named
    tiers = [*praat.annotated(path, AudioFinder(path), drafts)] if path.suffix.lower() == ".textgrid" else []
    with FileLock(base / ".asr-adapt.lock"), disk_full_as_error(base, _FREE_SPACE):
        known = TranscriptionRecord.read(base)
        written = known.drafts.get(name, Draft())
        changes = {
            "drafts": known.drafts | {name: _accepted(written, tiers) if tiers else _without_marks(written)},
            # To `transcribe`, it is edited: it is not transcribed again.
            "digests": known.digests | ({name: "accepted"} if name in known.digests else {}),
        }
        known.model_copy(update=changes).write(LocalFolder(base))
    return True


def _accepted(draft: Draft, tiers: Sequence[Tier], shift_s: float = 0.0) -> Draft:
    """Return a draft without the marks of what is there; those of silence and of deleted text stay.

    Args:
        draft: What a model wrote.
        tiers: All tiers of the document.
        shift_s: What their times lie behind those of the marks.
    """
    own = {name for key, of in draft.tiers.items() for name in (key, of.words, of.status)}
    found = {}
    for name, of in draft.tiers.items():
        there = [
            Span(round((a.start_s - shift_s) * 1000), round((a.end_s - shift_s) * 1000), a.text)
            for tier in tiers
            for a in tier.annotations
            if a.text
            and a.start_s is not None
            and a.end_s is not None
            # The draft's tier may have been renamed or copied.
            and (tier.name == name or (tier.name not in own and a.provenance == "machine"))
        ]
        found[name] = of.model_copy(update={"segments": marks_without_text(of.segments, there)})
    return draft.model_copy(update={"tiers": found})


def _without_marks(draft: Draft) -> Draft:
    tiers = {name: of.model_copy(update={"segments": ()}) for name, of in draft.tiers.items()}
    return draft.model_copy(update={"tiers": tiers})


def _show(summary: DraftSummary, console: Console) -> None:
    if summary.files:
        console.say(
            f"{summary.segments:,} segments drafted ({describe_duration(summary.duration_s)}), "
            f"{summary.rewritten:,} written anew, {summary.unsure:,} marked with check, in "
            f"{len(summary.files):,} files, the first {printable(summary.files[0])}"
        )
    if summary.corrected:
        console.say(f"{summary.corrected:,} segments were corrected or confirmed by hand; they stay")
    if summary.aligned:
        console.say(f"the words of {summary.aligned:,} corrected segments follow now")
    for what, found in (
        ("drafts stay, since people worked on what is below them", summary.kept),
        ("corrected segments have no words, since they cannot be aligned", summary.unaligned),
        ("copies lack annotations of the file beside them: copy these over, or move the copy away", summary.behind),
    ):
        if found:
            console.warn(f"{len(found):,} {what}, the first: {found[0]}")
    console.say(
        f"{summary.transcribed:,} files have a transcript, {summary.up_to_date:,} drafts are up to date"
        + (f", {summary.failed:,} files could not be drafted" if summary.failed else "")
    )


def _survey(
    corpus: Path,
    finder: AudioFinder,
    wanted: tuple[str, ...],
    in_place: bool,
    format: Format | None,
    console: Console,
) -> tuple[list[_Task], dict[str, _Choice]]:
    """Return the files to look at, and by suffix which tiers hold the transcript.

    Raises:
        InputError: nothing is there, or the tiers have to be named.
    """
    if not corpus.exists():
        raise InputError("no such file or folder", place=corpus, remedy="Give a folder of recordings.")
    tasks: list[_Task] = []
    linked: set[Path] = set()
    stems: set[Path] = set()
    tiers: dict[str, list[Tier]] = {".eaf": [], ".textgrid": []}
    drafts = Drafts()
    continued: list[Path] = []
    files = _annotated_files(corpus)
    for path in files:
        original, suffix = without_draft_suffix(path), path.suffix.lower()
        stems.add(original.with_suffix(""))
        found: list[Tier] = []
        written: Draft | None = None
        try:
            if suffix == ".eaf":
                file = elan.examined(path, finder, drafts)
                found, written = file.tiers, file.draft
                linked |= file.media
            else:
                found, of = [*praat.annotated(path, finder, drafts)], drafts.of(path)
                written = of.draft if of else None
                linked.add(Path(praat.recording(path, finder)).resolve())
        except InputError:
            pass  # it is named when its turn comes
        if original != path and original in files:
            continue
        own = {*written.tiers} if written else set()
        tiers[suffix] += [tier for tier in found if tier.name not in own]
        copy = path.with_name(f"{path.stem}{DRAFT_SUFFIX}{path.suffix}")
        if copy.is_file():
            tasks.append(_Task(copy, copy))
            continued += [copy] if in_place else []
        else:  # a file that has a draft in itself goes on so
            tasks.append(_Task(path, path if in_place or own else copy))
    if format is None:
        format = "textgrid" if tasks and all(task.source.suffix.lower() == ".textgrid" for task in tasks) else "eaf"
    for recording in _recordings(corpus, console):
        if recording.with_suffix("") not in stems and recording.resolve() not in linked:
            place = recording.with_suffix(SUFFIXES[format])
            tasks.append(_Task(place, place, recording))
    if continued:
        count, several = len(continued), len(continued) > 1
        console.warn(
            f"--in-place does not apply to {count:,} {'files' if several else 'file'} with a draft beside "
            f"{'them' if several else 'it'}, which is continued: {printable(continued[0])}{', …' if several else ''}"
        )
    if not tasks:
        raise InputError(
            "nothing here can be drafted: no .eaf, .TextGrid or recording without a transcript", place=corpus
        )
    _refuse_unknown(wanted, [tier for of_suffix in tiers.values() for tier in of_suffix], corpus)
    return tasks, {suffix: _choice(of_suffix, wanted) for suffix, of_suffix in tiers.items()}


def _annotated_files(corpus: Path) -> list[Path]:
    """Return the .eaf and .TextGrid files of a folder; of a recording, those of its name beside it."""
    if not media.is_audio(corpus) or not corpus.is_file():
        return [*elan.files(corpus), *praat.files(corpus)]
    beside = sorted(corpus.parent.iterdir())
    return [
        path for path in beside
        if path.suffix.lower() in (".eaf", ".textgrid") and path.is_file()
        and corpus.stem in (path.stem, without_draft_suffix(path).stem)
    ]  # fmt: skip


def _refuse_unknown(wanted: Sequence[str], tiers: Sequence[Tier], corpus: Path) -> None:
    names = {name for tier in tiers for name in tier.names}
    for name in wanted:
        if tiers and name not in names:
            near = near_names(name, names)
            remedy = (
                f"Is it {' or '.join(map(repr, near))}?" if near else f"There are {', '.join(sorted(names)[:9])}."
            )
            raise InputError(f"no tier in {corpus} is called '{name}'", place="--tiers", remedy=remedy)


def _choice(tiers: Sequence[Tier], wanted: tuple[str, ...]) -> _Choice:
    """Return which tiers hold the transcript: those of the type that has text; else that has annotations; else all.

    Raises:
        InputError: there are several such types.
    """
    if wanted:
        return _Choice(wanted, None)
    tiers = [tier for tier in tiers if tier.above is None]  # those below repeat or describe what is above
    written = Counter(tier.kind for tier in tiers if any(a.text for a in tier.annotations))
    drawn = Counter(tier.kind for tier in tiers if tier.annotations)
    kinds = written or drawn or Counter(tier.kind for tier in tiers)
    if len(kinds) > 1:
        listed = ", ".join(f"'{kind}' ({count:,} tiers)" for kind, count in kinds.most_common())
        raise InputError("several tiers may hold the transcript", place="--tiers", remedy=f"Name them: {listed}.")
    return _Choice((), next(iter(kinds), None))


def _recordings(corpus: Path, console: Console) -> list[Path]:
    """Return the recordings of which no table and no text says what is said, each once."""
    if corpus.is_file():
        return [corpus] if media.is_audio(corpus) else []
    transcribed: set[Path] = set()
    for kind, reader in READERS.items():
        if reader not in (elan, praat) and kind not in _NETWORK and reader.recognises(corpus):
            try:
                transcribed |= {Path(u.audio).resolve() for u in reader.read(corpus, "und", Source(root=corpus))}
            except InputError as error:
                console.warn(f"no transcripts are read from what looks like {kind}: {error}")
    found = [path for path in media.below(corpus, media.SUFFIXES) if path == media.beside(path)]
    return [path for path in found if path.resolve() not in transcribed]


class _Drafting:
    """Drafts one file after the other.

    Args:
        load: Makes the transcriber.
        fingerprint: Of the model and its settings.
        choices: Which tiers hold the transcript, by suffix.
        channel: See `draft`.
        track: See `draft`.
    """

    def __init__(
        self,
        load: "Callable[[], Transcriber]",
        fingerprint: str,
        choices: Mapping[str, _Choice],
        channel: str | None,
        track: int | None,
    ) -> None:
        self._load, self._fingerprint, self._choices = load, fingerprint, choices
        self._channel, self._track = channel, track
        self._loaded: Transcriber | None = None
        self.summary = DraftSummary()
        self.unusable_model: InputError | None = None

    @property
    def _transcriber(self) -> "Transcriber":
        if self._loaded is None:
            try:
                self._loaded = self._load()
            except InputError as error:
                self.unusable_model = error
                raise
        return self._loaded

    def do(self, task: _Task, finder: AudioFinder) -> None:
        """Draft a file.

        Raises:
            InputError: it is damaged, its recording cannot be read, or it changed meanwhile.
        """
        before = task.target.stat().st_mtime_ns if task.target.exists() else None
        if task.recording and before is not None:
            raise InputError(
                "already exists, and would be replaced by a draft",
                place=printable(task.target),
                remedy="Move it away, or draft the folder that it is in.",
            )
        document = self._opened(task, finder)
        plan = self._plan(document)
        self._compare_with_original(document, task, finder)
        self.summary.corrected += plan.corrected
        self.summary.kept += [f"{printable(task.source)}, {what}" for what in plan.kept]
        if plan.is_empty:
            self.summary.transcribed += plan.is_transcribed
            self.summary.up_to_date += not plan.is_transcribed
            return
        recording = str(task.recording or document.audio)
        self._fill(document, plan, recording)
        self._rewrite(document, plan, recording)
        self._align(document, plan, recording, task)
        after = task.target.stat().st_mtime_ns if task.target.exists() else None
        if after != before:
            raise InputError(
                "was changed while it was drafted, so nothing was written",
                place=printable(task.target),
                remedy="Close it in ELAN or Praat, then run the same command again.",
            )
        self._write(document, task)
        self.summary.files.append(task.target)

    def _opened(self, task: _Task, finder: AudioFinder) -> DraftDocument:
        is_elan = task.target.suffix.lower() == ".eaf"
        if task.recording is None:
            return (ElanDraft if is_elan else TextGridDraft)(task.source, finder, Drafts())
        if is_elan:
            blank = writers.blank_eaf(writers.Media(task.recording), task.target.parent)
            return ElanDraft(task.target, finder, Drafts(), text=blank)
        return TextGridDraft(task.target, finder, Drafts(), duration_s=audio.duration_s(task.recording))

    def _compare_with_original(self, document: DraftDocument, task: _Task, finder: AudioFinder) -> None:
        """See whether people have gone on annotating the file that a copy is of."""
        original = without_draft_suffix(task.source)
        if original == task.source or not original.is_file():
            return
        reader = elan if original.suffix.lower() == ".eaf" else praat
        shift_s = document.shift_ms / 1000
        lacking = 0
        for tier in reader.annotated(original, finder, Drafts()):
            copied = document.tiers.get(tier.name)
            there = {_rounded(a.start_s) for a in copied.annotations} if copied else set()
            lacking += sum(
                a.start_s is not None and _rounded(a.start_s - shift_s) not in there for a in tier.annotations
            )
        if lacking:
            self.summary.behind.append(f"{printable(task.source)} lacks {lacking:,}")

    def _plan(self, document: DraftDocument) -> _Plan:
        plan = _Plan()
        is_other = document.model != self._fingerprint
        for name in document.drafts:
            if name in document.tiers:
                self._look_at_draft(document, name, plan, is_other=is_other)
        chosen = self._choice(document).of(document)
        has_text = any(a.text for tier in chosen for a in tier.annotations)
        drawn = 0
        for tier in chosen:
            empty, count = _drawn(document, tier)
            drawn += count
            if isinstance(document, TextGridDraft) and (has_text or count < 2):
                continue  # an empty interval is a pause, and a single one the recording
            of = document.draft_of(tier.name)
            for annotation in empty:
                piece = _Piece(tier.name, annotation)
                if of is None or not document.is_tried(of, piece.start_ms, piece.end_ms, heard=is_other):
                    plan.new.append(piece)
        only_one = isinstance(document, TextGridDraft) and drawn == len(chosen)
        plan.cut = not document.drafts and not has_text and (not drawn or only_one)
        plan.is_transcribed = not document.drafts and has_text
        return plan

    def _look_at_draft(self, document: DraftDocument, name: str, plan: _Plan, *, is_other: bool) -> None:
        """See which segments of a draft are a model's still, and which words are not those of their segment."""
        has_words = document.drafts[name].words in document.tiers
        for annotation in document.tiers[name].annotations:
            if not annotation.text or annotation.problem:
                continue
            piece = _Piece(name, annotation)
            words = document.words_in(name, piece.start_ms, piece.end_ms)
            fit = Words.of(" ".join(word.text for word in words)) == Words.of(annotation.text)
            where = f"tier '{name}', {annotation.start_s:.1f} s"
            if annotation.provenance != "machine":
                plan.corrected += 1
                if has_words and not fit:
                    if words and document.has_others_below(name, piece.start_ms, piece.end_ms):
                        plan.kept.append(f"{where}: the words have annotations below")
                    else:
                        plan.align.append(piece)
            elif words and not fit:
                plan.kept.append(f"{where}: the words were corrected, the segment was not: correct it, they follow")
            elif is_other:
                if document.has_others_below(name, piece.start_ms, piece.end_ms):
                    plan.kept.append(f"{where}: it has annotations below")
                else:
                    plan.rewrite.append(piece)

    def _fill(self, document: DraftDocument, plan: _Plan, recording: str) -> None:
        """Transcribe what was drawn, else the whole recording."""
        if plan.cut:
            choice = self._choice(document)
            kind = choice.kind or next(iter(choice.wanted), None)
            for of, speaker, channel in self._speakers(document, recording):
                segments = self._cut(document, recording, channel)
                number = channel if isinstance(channel, int) and self._channel == "each" else None
                document.add(of, segments, kind=kind, speaker=speaker, channel=number)
                self._count(segments)
        for tier in dict.fromkeys(piece.tier for piece in plan.new):
            pieces = [piece for piece in plan.new if piece.tier == tier]
            segments = self._transcribed(document, pieces, recording)
            found = [replace(s, above=p.annotation.name, name="") for s, p in zip(segments, pieces, strict=True)]
            channel = self._channel_of(document, pieces[0], recording) if self._channel == "each" else None
            document.add(tier, found, channel=channel if isinstance(channel, int) else None)
            self._count(segments)

    def _count(self, segments: Sequence[DraftSegment]) -> None:
        full = [s for s in segments if s.text]
        self.summary.segments += len(full)
        self.summary.duration_s += sum(s.end_ms - s.start_ms for s in full) / 1000
        self.summary.unsure += sum(s.unsure for s in full)

    def _choice(self, document: DraftDocument) -> _Choice:
        return self._choices[document.path.suffix.lower()]

    def _rewrite(self, document: DraftDocument, plan: _Plan, recording: str) -> None:
        for tier in dict.fromkeys(piece.tier for piece in plan.rewrite):
            pieces = [piece for piece in plan.rewrite if piece.tier == tier]
            segments = self._transcribed(document, pieces, recording)
            heard = [s for s in segments if s.text]  # what was heard before and no longer is stays for a person
            document.rewrite(tier, heard)
            self.summary.rewritten += len(heard)
            self.summary.unsure += sum(s.unsure for s in heard)

    def _align(self, document: DraftDocument, plan: _Plan, recording: str, task: _Task) -> None:
        """Let the words of corrected segments follow them."""
        for piece in plan.align:
            text = piece.annotation.text
            words: tuple[Span, ...] = ()
            try:
                aligned = self._transcriber.align(self._selection(document, piece, recording), [text])
                words = _words(aligned.words, piece.start_ms, piece.end_ms)
                self.summary.aligned += 1
            except DiskFull:
                raise
            except InputError as error:
                where = f"{printable(task.source)}, tier '{piece.tier}', {piece.start_ms / 1000:.1f} s"
                self.summary.unaligned.append(f"{where}: {error.problem}")
                if not document.words_in(piece.tier, piece.start_ms, piece.end_ms):
                    continue
            segment = DraftSegment(piece.start_ms, piece.end_ms, text, words, name=piece.annotation.name)
            document.rewrite_words(piece.tier, [segment])

    def _transcribed(self, document: DraftDocument, pieces: Sequence[_Piece], recording: str) -> list[DraftSegment]:
        """Return the text of each piece, an empty one where nothing is heard."""
        found: list[DraftSegment] = []
        confidences: list[float] = []
        selections = [self._selection(document, piece, recording) for piece in pieces]
        for piece, result in zip(pieces, self._transcriber.transcribe_segments(selections), strict=True):
            if isinstance(result, InputError):
                place = f"{printable(recording)}, {(piece.start_ms + document.shift_ms) / 1000:.1f} s"
                raise InputError(result.problem, place=place, remedy=result.remedy)
            words = _words(result.words, piece.start_ms, piece.end_ms)
            confidences.append(_confidence_of(result.words))
            found.append(DraftSegment(piece.start_ms, piece.end_ms, result.text, words, name=piece.annotation.name))
        return _with_unsure(found, confidences)

    def _selection(self, document: DraftDocument, piece: _Piece, recording: str) -> Selection:
        start_s = (piece.start_ms + document.shift_ms) / 1000
        end_s = (max(piece.end_ms, piece.start_ms + _SHORTEST_MS) + document.shift_ms) / 1000
        utterance = Utterance(id=piece.annotation.name, audio=recording, start_s=start_s, end_s=end_s)
        return Selection(utterance, self._channel_of(document, piece, recording), self._track)

    def _channel_of(self, document: DraftDocument, piece: _Piece, recording: str) -> audio.Channel | None:
        """Return the channel of a speaker's tier, or of a draft's.

        Raises:
            InputError: every channel is a speaker, and there are not as many tiers.
        """
        of_draft = document.drafts.get(piece.tier)
        if of_draft and of_draft.channel is not None and self._channel in (None, "each"):
            return of_draft.channel  # it was drafted so, whatever is asked for now
        if self._channel != "each":
            return as_channel(self._channel)
        channels = audio.chosen_channels(recording, "each", track=self._track)
        tiers = [tier.name for tier in self._choice(document).of(document)]
        of = document.drafts[piece.tier].of if piece.tier in document.drafts else piece.tier
        if len(tiers) != len(channels) or of not in tiers:
            raise InputError(
                f"{len(tiers)} tiers of speakers, {len(channels)} channels",
                place=printable(recording),
                remedy="Give --channel N, or leave it out.",
            )
        return channels[tiers.index(of)]

    def _speakers(
        self, document: DraftDocument, recording: str
    ) -> list[tuple[str | None, str | None, audio.Channel | None]]:
        """Return for each speaker of a recording its tier, its name where it has no tier, and its channel."""
        tiers = self._choice(document).of(document)
        if self._channel != "each":
            of = tiers[0].name if len(tiers) == 1 else None
            return [(of, None, as_channel(self._channel))]
        channels = audio.chosen_channels(recording, "each", track=self._track)
        if len(tiers) == len(channels):
            return [(tier.name, None, channel) for tier, channel in zip(tiers, channels, strict=True)]
        return [(None, f"channel {channel}", channel) for channel in channels]

    def _cut(self, document: DraftDocument, recording: str, channel: audio.Channel | None) -> list[DraftSegment]:
        """Return the segments of a recording, cut at its pauses, with a margin beside their words."""
        source: str | Utterance = recording
        if document.shift_ms:
            source = Utterance(id="recording", audio=recording, start_s=document.shift_ms / 1000)
        transcript = self._transcriber.transcribe(Selection(source, channel, self._track))
        found = intervals(transcript)
        ends = [0, *(interval.end_ms for interval in found)]
        starts = [*(interval.start_ms for interval in found[1:]), round(transcript.duration_s * 1000)]
        segments = [
            DraftSegment(
                max(interval.start_ms - _MARGIN_MS, (ends[n] + interval.start_ms + 1) // 2 if n else 0),
                max(interval.end_ms, min(interval.end_ms + _MARGIN_MS, (interval.end_ms + starts[n]) // 2)),
                interval.text,
                tuple(Span(word.start_ms, word.end_ms, word.text) for word in interval.words),
            )
            for n, interval in enumerate(found)
        ]
        return _with_unsure(segments, [_confidence_of(s.words) for s in transcript.segments if s.words])

    def _write(self, document: DraftDocument, task: _Task) -> None:
        """Write a file whole or not at all, after a backup of what was there."""
        text = document.text(self._fingerprint)
        target = task.target
        try:
            with disk_full_as_error(target, _FREE_SPACE):
                if target.exists():
                    _back_up(target)
                written = document.record(self._fingerprint)
                if isinstance(document, TextGridDraft):
                    _record(target, written, keep=True)  # whatever is there if this is interrupted is known
                write_text(target, text)
                if isinstance(document, TextGridDraft):
                    _record(target, written)
                if isinstance(document, ElanDraft):
                    _colour(task.source, target, document)
        except OSError as error:
            raise InputError(f"cannot be written ({error.strerror})", place=printable(target)) from error


def _rounded(time_s: float | None) -> int | None:
    return None if time_s is None else round(time_s * 1000)


def _confidence_of(words: Sequence[Word]) -> float:
    found = confidence.of_text(words)
    return 1.0 if found is None else found  # nothing heard: nothing to check


def _with_unsure(segments: Sequence[DraftSegment], confidences: Sequence[float]) -> list[DraftSegment]:
    """Return the segments with the least confident of them marked."""
    if not segments:
        return []
    least = min(UNSURE, sorted(confidences)[math.ceil(UNSURE_SHARE * len(confidences)) - 1])
    return [replace(s, unsure=c <= least and c < UNSURE) for s, c in zip(segments, confidences, strict=True)]


def _words(words: Sequence[Word], start_ms: int, end_ms: int) -> tuple[Span, ...]:
    """Return words with times of a piece as those of the document, inside of the piece."""
    times = apart(words, max(end_ms - start_ms, len(words)))
    return tuple(
        Span(start_ms + start, start_ms + end, word.text) for word, (start, end) in zip(words, times, strict=True)
    )


def _drawn(document: DraftDocument, tier: Tier) -> tuple[list[Annotation], int]:
    """Return the annotations that were drawn and have no text, and how many were drawn.

    In a tier that has one annotation for each of the tier above, those above are drawn.

    Raises:
        InputError: the tier divides another one.
    """
    above = document.describe(tier.name)
    drawn = (
        [a for a in document.tiers[above].annotations if above and a.start_s is not None and a.end_s is not None]
        if above in document.tiers
        else []
    )
    written = {(a.start_s, a.end_s) for a in tier.annotations if a.text}
    return [a for a in drawn if (a.start_s, a.end_s) not in written], len(drawn)


def _back_up(path: Path) -> None:
    """Copy a file beside itself: `a.eaf.backup`, `a.eaf.backup-2` and so on; the same content once."""
    number = 1
    while True:
        backup = path.with_name(f"{path.name}.backup" + (f"-{number}" if number > 1 else ""))
        if not backup.exists():
            shutil.copy2(path, backup)
            return
        if file_digest(backup) == file_digest(path):
            return
        number += 1


def _record(path: Path, draft: Draft, *, keep: bool = False) -> None:
    """Keep what a model wrote into a file that has no place for it; `keep`: beside what it wrote before."""
    folder, name = path.parent, name_as_text(path.name)
    with FileLock(folder / ".asr-adapt.lock"):
        known = TranscriptionRecord.read(folder)
        if keep and name in known.drafts:
            draft = draft.beside(known.drafts[name])
        known.model_copy(update={"drafts": known.drafts | {name: draft}}).write(LocalFolder(folder))


def _colour(source: Path, target: Path, document: ElanDraft) -> None:
    """Give the tiers of a draft colours in ELAN's preferences, beside those that the document's source has.

    Preferences that are there already are a person's and stay.
    """
    place = target.with_suffix(".pfsx")
    if place.exists():
        return
    ElementTree.register_namespace("xsi", _XSI)
    root = ElementTree.Element(
        "preferences", {"version": "1.1", f"{{{_XSI}}}noNamespaceSchemaLocation": _PREFERENCES}
    )
    if source != target:
        with contextlib.suppress(OSError, ElementTree.ParseError):  # ELAN makes new ones of what it cannot read
            root = ElementTree.parse(source.with_suffix(".pfsx")).getroot()
    colours = root.find("prefGroup[@key='TierColors']")
    if colours is None:
        colours = ElementTree.SubElement(root, "prefGroup", {"key": "TierColors"})
    for name, tier in document.drafts.items():
        for key, colour in ((name, _DRAFT_COLOUR), (tier.words, _BELOW_COLOUR), (tier.status, _BELOW_COLOUR)):
            if key:
                preference = ElementTree.SubElement(colours, "pref", {"key": key})
                ElementTree.SubElement(preference, "Object", {"class": "java.awt.Color"}).text = colour
    write_text(place, '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n")
