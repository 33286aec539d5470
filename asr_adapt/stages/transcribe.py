"""transcribe: recordings become transcripts beside each other in a folder, or on standard output."""

import contextlib
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from asr_adapt.artifacts import Draft, TranscriptionRecord, model_fingerprint
from asr_adapt.console import Console
from asr_adapt.errors import DiskFull, InputError, printable
from asr_adapt.formats import writers
from asr_adapt.inference.recordings import Input, Selection, exists
from asr_adapt.records import Segment, Transcript, describe_duration
from asr_adapt.storage import disk_full_as_error, name_as_text, name_of_text, write_text

if TYPE_CHECKING:  # it brings torch, and a misspelt path shall be answered at once
    from asr_adapt.inference.transcriber import Transcriber

# The record of many thousands is not written again for each: so many transcripts, or seconds, wait for one another.
_WRITTEN_EVERY, _WRITTEN_EVERY_S = 50, 10.0
_SHOWN = 3
_FREE_SPACE = "Free some space, then run the same command again."


def destinations(inputs: Sequence[Input], out: Path, format: str) -> list[Path]:
    """Return where each transcript goes: `<stem>.<format>`; recordings of equal stems keep their subfolders.

    Raises:
        InputError: two recordings in one folder differ in their suffix alone, or have one id.
    """
    stems = Counter(item.stem for item in inputs)
    common = Path(os.path.commonpath([item.folder for item in inputs]))
    taken: dict[Path, Input] = {}
    for item in inputs:
        folder = out if stems[item.stem] == 1 else out / item.folder.relative_to(common)
        place = folder / f"{item.stem}.{format}"
        if place in taken:
            raise InputError(
                f"both '{taken[place].name}' and '{item.name}' would become {printable(place)}",
                place="--out",
                remedy="Transcribe them into two folders.",
            )
        taken[place] = item
    return list(taken)


def transcribe(
    load: "Callable[[], Transcriber]",
    model: Path,
    inputs: Sequence[Input],
    format: str,
    out: Path | None,
    console: Console,
    settings: str = "",
    channel: str | None = None,
    track: int | None = None,
) -> int:
    """Transcribe recordings, and return how many could not be done; those are named, the others are done.

    Each result is written whole or not at all. Started again, it does what is missing, or older than its recording
    and not edited by hand.

    Args:
        load: Makes the transcriber, once it is known that there is work.
        model: The folder that it is made from.
        inputs: Of `recordings.find`.
        format: A name in `formats.WRITERS`.
        out: Folder for the transcripts; None prints them.
        console: Where to report.
        settings: What else decides about the text: options of `load`.
        channel: `left`, `right`, `each` (a speaker for each), or a number from 1 on; None mixes all.
        track: Audio track, from 1 on; None is the default one.

    Raises:
        InputError: the folder holds transcripts of another model, or a file that would be written over and is not
            the transcript of this recording.
        DiskFull: a transcript cannot be written; those before it are complete.
    """
    if format != "txt" and not out and len(inputs) > 1:
        raise InputError(f"{len(inputs)} files as {format} need a folder", place="--out", remedy="Give --out DIR.")
    work: list[tuple[Input, Path | None]] = [(item, None) for item in inputs]
    fingerprint = model_fingerprint(model, settings)
    if out:
        work = [*_missing(inputs, destinations(inputs, out, format), out, fingerprint, console)]
    if not work:
        return 0
    from asr_adapt.inference.decoding import Decoding

    transcriber = load()
    if transcriber.decoding != Decoding():
        console.say(transcriber.decoding.describe())
    failed, audio_s, began = 0, 0.0, time.perf_counter()
    waiting = _Waiting(out, format) if out else None
    done = 0

    def write() -> None:
        nonlocal done, failed
        for error in waiting.write() if waiting else ():
            done += error is None
            if error is not None:
                failed += 1
                console.error(str(error))

    try:
        with console.progress("transcribe", total=len(work)) as progress:
            speakers: list[list[str | None]] = []  # of each recording; filled as recordings are opened

            def selected() -> Iterator[Selection]:
                for item, _ in work:
                    selections = item.selections(channel, track)
                    speakers.append([speaker for speaker, _ in selections])
                    yield from (selection for _, selection in selections)

            results = transcriber.transcribe_all(selected())
            for number, (item, place) in enumerate(work, start=1):
                first = next(results)
                result = _together([first, *(next(results) for _ in speakers[number - 1][1:])], speakers[number - 1])
                progress.at(number, f"{audio_s / (time.perf_counter() - began):.0f}× real time")
                try:
                    if isinstance(result, InputError):
                        raise InputError(result.problem, place=item.name, remedy=result.remedy)
                    audio_s += result.duration_s
                    draft = writers.draft_of(result, format, fingerprint)
                    text = writers.written(result, format, item.media, place.parent if place else None, draft)
                    if waiting and place:
                        waiting.add(place, text, draft)
                    else:
                        _print(f"{item.name}: {text}" if len(inputs) > 1 else text)
                        done += 1
                except DiskFull:
                    raise
                except InputError as error:
                    failed += 1
                    console.error(str(error))
                if waiting and waiting.is_due:
                    write()
            write()
    except BaseException as error:
        if not isinstance(error, DiskFull):
            with contextlib.suppress(OSError, DiskFull):  # what ended the work is the error to report
                write()
        if isinstance(error, KeyboardInterrupt | DiskFull):
            console.say(f"{done} of {len(work)} files are transcribed; the same command does the others.")
        raise
    elapsed_s = time.perf_counter() - began
    console.say(
        f"{len(work) - failed} of {len(work)} files, {describe_duration(audio_s)} of audio in {elapsed_s:.1f} s "
        f"({audio_s / elapsed_s:.0f}× real time)"
    )
    return failed


def _together(results: Sequence[Transcript | InputError], speakers: Sequence[str | None]) -> Transcript | InputError:
    """Return the transcript of a recording, from those of its speakers."""
    segments: list[Segment] = []
    duration_s, language = 0.0, ""
    for result, speaker in zip(results, speakers, strict=True):
        if isinstance(result, InputError):
            return result
        segments += [replace(segment, speaker=speaker) for segment in result.segments]
        duration_s, language = max(duration_s, result.duration_s), result.language
    segments.sort(key=lambda segment: segment.start_s)
    return Transcript(" ".join(segment.text for segment in segments), language, duration_s, tuple(segments))


def _missing(
    inputs: Sequence[Input], places: Sequence[Path], out: Path, fingerprint: str, console: Console
) -> Iterator[tuple[Input, Path]]:
    """Claim the places for this model and these recordings, and yield what is still to be done."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        _claim(out, fingerprint, {p: item.source(out) for p, item in zip(places, inputs, strict=True)})
    except OSError as error:
        raise InputError(f"nothing can be written here ({error.strerror})", place=printable(out)) from error
    there = [exists(place) for place in places]
    newer = [old and item.is_newer_than(p) for item, p, old in zip(inputs, places, there, strict=True)]
    digests = TranscriptionRecord.read(out).digests
    # What is piped in has no time of its own and is always done.
    due = [again or (old and item.recording is None) for item, again, old in zip(inputs, newer, there, strict=True)]
    edited = [again and _is_edited(place, out, digests) for place, again in zip(places, due, strict=True)]
    if kept := sum(there) - sum(newer):
        console.say(f"{kept} of {len(inputs)} are there already")
    if again := sum(new and not stays for new, stays in zip(newer, edited, strict=True)):
        console.say(f"{again} of {len(inputs)} are done again: the recording is newer than the transcript")
    if stay := [place for place, is_edited in zip(places, edited, strict=True) if is_edited]:
        console.warn(
            f"{len(stay)} of {len(inputs)} are older than their recordings, but edited by hand since; they stay "
            f"({_named(stay)}). Move them away to transcribe these again."
        )
    for item, place, old, again, stays in zip(inputs, places, there, due, edited, strict=True):
        if not old or (again and not stays):
            yield item, place


def _is_edited(place: Path, out: Path, digests: dict[str, str]) -> bool:
    """Whether a transcript is not what was written; without a record of that, it is not."""
    recorded = digests.get(name_as_text(str(place.relative_to(out))))
    return recorded is not None and hashlib.sha256(place.read_bytes()).hexdigest() != recorded


class _Waiting:
    """Transcripts that wait to be written: their marks are recorded before, so that none is taken for a person's.

    Args:
        out: Folder for the transcripts.
        format: A name in `formats.WRITERS`.
    """

    def __init__(self, out: Path, format: str) -> None:
        self._out, self._format = out, format
        self._texts: dict[Path, tuple[str, Draft]] = {}
        self._written_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether enough of them wait, or long enough."""
        return len(self._texts) >= _WRITTEN_EVERY or time.monotonic() - self._written_at >= _WRITTEN_EVERY_S

    def add(self, place: Path, text: str, draft: Draft) -> None:
        """Let a transcript wait."""
        self._texts[place] = text, draft

    def write(self) -> Iterator[InputError | None]:
        """Write all that wait, and yield for each None, or why it could not be written.

        Raises:
            DiskFull: one cannot be written; those before it are complete.
        """
        if self._texts:
            there = {place: of for place, of in self._texts.items() if exists(place)}
            _record(self._out, {p: of for p, of in self._texts.items() if p not in there}, self._format)
            if there:
                _record(self._out, there, self._format, keep=True)
            for place, (text, _) in list(self._texts.items()):
                error = None
                try:
                    _keep(text, place)
                except DiskFull:
                    raise
                except InputError as found:
                    error = found
                    there.pop(place, None)
                del self._texts[place]
                yield error
            if there:
                _record(self._out, there, self._format)
        self._written_at = time.monotonic()


def _record(out: Path, written: dict[Path, tuple[str, Draft]], format: str, *, keep: bool = False) -> None:
    """Record digests and marks; `keep`: marks alone, beside those of what is there before it is replaced."""
    record = out / TranscriptionRecord.FILE
    with FileLock(out / ".asr-adapt.lock"):
        known = TranscriptionRecord.read(out)
        names = {place: name_as_text(str(place.relative_to(out))) for place in written}
        digests = (
            {} if keep else {names[p]: hashlib.sha256(text.encode()).hexdigest() for p, (text, _) in written.items()}
        )
        # An ELAN document keeps its own, wherever it goes.
        drafts = {} if format == "eaf" else {names[place]: draft for place, (_, draft) in written.items()}
        if keep:
            drafts = {
                name: of.beside(known.drafts[name]) if name in known.drafts else of for name, of in drafts.items()
            }
        with disk_full_as_error(record, _FREE_SPACE):
            known.model_copy(update={"digests": known.digests | digests, "drafts": known.drafts | drafts}).write_file(
                record
            )


def _claim(out: Path, fingerprint: str, sources_of: dict[Path, str]) -> None:
    """Write down which model the transcripts are of, and of what each is; refuse what would mix or overwrite."""
    with FileLock(out / ".asr-adapt.lock"):  # several commands may fill one folder
        known = TranscriptionRecord.read(out)
        before = {name_of_text(place): name_of_text(source) for place, source in known.sources.items()}
        digests, drafts = known.digests, known.drafts
        if known.model != fingerprint:
            if old := [out / place for place in before if exists(out / place)]:
                raise _of_another_model(out, old, digests)
            drafts = {place: draft for place, draft in drafts.items() if place not in known.sources}
            before, digests = {}, {}
        for place, source in sources_of.items():
            written = before.get(str(place.relative_to(out)))
            if written != source and exists(place):
                what = f"the transcript of {printable(out / written)}" if written else "not by asr-adapt"
                raise InputError(
                    f"there already, and {what}", place=printable(place), remedy="Give another --out, or move it."
                )
        claimed = {str(place.relative_to(out)): source for place, source in sources_of.items()}
        sources = {name_as_text(place): name_as_text(source) for place, source in (before | claimed).items()}
        TranscriptionRecord(model=fingerprint, sources=sources, digests=digests, drafts=drafts).write_file(
            out / TranscriptionRecord.FILE
        )


def _of_another_model(out: Path, old: Sequence[Path], digests: dict[str, str]) -> InputError:
    """Return the error; what a person may have edited is never to be deleted."""
    edited = [place for place in old if _is_edited(place, out, digests)]
    problem = f"holds {len(old)} transcripts of another model, or of this one before it or its settings changed"
    if edited:
        problem += f"; {len(edited)} of these were edited by hand since ({_named(edited)})"
    unchanged = all(name_as_text(str(place.relative_to(out))) in digests for place in old) and not edited
    remedy = "Give another --out, or delete them: none was edited." if unchanged else "Give another --out; they stay."
    return InputError(problem, place=printable(out), remedy=remedy)


def _named(places: Sequence[Path]) -> str:
    return ", ".join(printable(place.name) for place in places[:_SHOWN]) + (", …" if len(places) > _SHOWN else "")


def _keep(text: str, place: Path) -> None:
    try:
        with disk_full_as_error(place, _FREE_SPACE):
            place.parent.mkdir(parents=True, exist_ok=True)
            write_text(place, text)
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", place=printable(place)) from error


def _print(text: str) -> None:
    with disk_full_as_error(Path("standard output"), _FREE_SPACE):
        print(text, end="", flush=True)
