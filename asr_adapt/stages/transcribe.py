"""transcribe: recordings become transcripts beside each other in a folder, or on standard output."""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

from asr_adapt import remote
from asr_adapt.artifacts import RecordLine, TranscriptionRecord, model_fingerprint
from asr_adapt.cluster import Cluster
from asr_adapt.console import Console
from asr_adapt.errors import DiskFull, InputError, printable
from asr_adapt.folders import Folder, folder_of
from asr_adapt.inference.batch import Job, Outcome, Task, Written, transcribed
from asr_adapt.inference.recordings import Input, Recordings
from asr_adapt.keys import KeyTable, key
from asr_adapt.records import describe_duration
from asr_adapt.storage import disk_full_as_error, name_as_text, name_of_text

if TYPE_CHECKING:  # it brings torch, and a misspelt path shall be answered at once
    from asr_adapt.inference.transcriber import Transcriber

FAILED = "failed.jsonl"
"""in the folder of the transcripts: a line for each recording that could not be done"""
# The record of many thousands is not written again for each: so many transcripts, or seconds, wait for one another.
_WRITTEN_EVERY, _WRITTEN_EVERY_S = 50, 10.0
_PARTS = 100  # of the record of a long batch: each holds a hundredth of what is done
_MOST_IN_ONE_FILE = 20_000  # transcripts whose record is one file again when a batch ends
_SHOWN = 3
_FREE_SPACE = "Free some space, then run the same command again."


class Destinations:
    """Where each transcript goes: `<stem>.<format>`; recordings of equal stems keep their subfolders.

    Raises:
        InputError: two recordings in one folder differ in their suffix alone, or have one id.
    """

    def __init__(self, inputs: Recordings, out: Folder, format: str) -> None:
        self._format = format
        stems, places = KeyTable(), KeyTable()
        folders: set[Path] = set()
        for item in inputs:
            stems.add(key(item.stem))
            places.add(key(f"{item.folder}/{item.stem}"))
            folders.add(item.folder)
        self._repeated = stems.repeated()
        self._common = Path(os.path.commonpath(folders))
        if len(twice := places.repeated()):
            of_one: dict[str, Input] = {}
            for item in inputs:
                if key(f"{item.folder}/{item.stem}") in twice:
                    other = of_one.setdefault(name := self.of(item), item)
                    if other is not item:
                        raise InputError(
                            f"both '{other.name}' and '{item.name}' would become {out.place(name)}",
                            place="--out",
                            remedy="Transcribe them into two folders.",
                        )

    def of(self, item: Input) -> str:
        """Return the name of a recording's transcript, in the folder."""
        name = f"{item.stem}.{self._format}"
        if key(item.stem) not in self._repeated:
            return name
        return (item.folder.relative_to(self._common) / name).as_posix()


def transcribe(
    load: "Callable[[], Transcriber]",
    model: Path,
    inputs: Recordings,
    format: str,
    out: Path | str | None,
    console: Console,
    settings: str = "",
    channel: str | None = None,
    track: int | None = None,
    cluster: Cluster | None = None,
) -> int:
    """Transcribe recordings, and return how many could not be done; those are named, the others are done.

    Each result is written whole or not at all. Started again, it does what is missing, or older than its recording
    and not edited by hand.

    Args:
        load: Makes the transcriber, once it is known that there is work; for a cluster, it can be pickled.
        model: The folder that it is made from.
        inputs: Of `recordings.find`.
        format: A name in `formats.WRITERS`.
        out: Folder for the transcripts, or its URL; None prints them.
        console: Where to report.
        settings: What else decides about the text: options of `load`.
        channel: `left`, `right`, `each` (a speaker for each), or a number from 1 on; None mixes all.
        track: Audio track, from 1 on; None is the default one.
        cluster: Where the work is done; None: here.

    Raises:
        InputError: the folder holds transcripts of another model, or a file that would be written over and is not
            the transcript of this recording; or the cluster cannot be used.
        DiskFull: a transcript cannot be written; those before it are complete.
    """
    if format != "txt" and not out and len(inputs) > 1:
        raise InputError(f"{len(inputs)} files as {format} need a folder", place="--out", remedy="Give --out DIR.")
    if cluster and not out:
        raise InputError("a cluster's transcripts need a folder", place="--out", remedy="Give --out DIR.")
    job = Job(format, model_fingerprint(model, settings), channel, track)
    folder = folder_of(out) if out else None
    batch = _Batch(inputs, folder, job, console)
    if not batch.total:
        return 0
    results = _results(load, batch.tasks(), job, console, cluster)
    failed, audio_s, began = 0, 0.0, time.perf_counter()
    waiting = _Waiting(folder, job.fingerprint) if folder else None
    done = 0

    def write() -> None:
        nonlocal done
        for item, error in waiting.write() if waiting else ():
            done += error is None
            if error is not None:
                fail(item, error)

    with _Failed(folder) as failures:

        def fail(item: Input, error: InputError) -> None:
            nonlocal failed
            failed += 1
            console.error(str(error))
            failures.add(item, error)

        try:
            with console.progress("transcribe", total=batch.total) as progress:
                for number, (task, result) in enumerate(results, start=1):
                    progress.at(number, f"{audio_s / (time.perf_counter() - began):.0f}× real time")
                    if isinstance(result, InputError):
                        fail(task.item, result)
                    else:
                        audio_s += result.duration_s
                        if waiting:
                            waiting.add(task, result)
                        else:
                            _print(f"{task.item.name}: {result.text}" if len(inputs) > 1 else result.text)
                            done += 1
                    if waiting and waiting.is_due(done):
                        write()
                write()
        except BaseException as error:
            if not isinstance(error, DiskFull):
                with contextlib.suppress(OSError, DiskFull):  # what ended the work is the error to report
                    write()
            if isinstance(error, KeyboardInterrupt | DiskFull):
                console.say(f"{done} of {batch.total} files are transcribed; the same command does the others.")
            raise
        finally:
            if folder and folder.path and batch.recorded + done <= _MOST_IN_ONE_FILE:
                with contextlib.suppress(OSError, DiskFull), folder.locked():
                    TranscriptionRecord.of(folder).write(folder)
    elapsed_s = time.perf_counter() - began
    console.say(
        f"{batch.total - failed} of {batch.total} files, {describe_duration(audio_s)} of audio in {elapsed_s:.1f} s "
        f"({audio_s / elapsed_s:.0f}× real time)"
    )
    if failed and folder:
        console.say(f"{failed} could not be done: {folder.place(FAILED)}")
    return failed


def _results(
    load: "Callable[[], Transcriber]", tasks: Iterator[Task], job: Job, console: Console, cluster: Cluster | None
) -> Iterator[tuple[Task, Outcome]]:
    """Yield each task with what became of it; in order, unless a cluster does them."""
    from asr_adapt.inference.decoding import Decoding

    if cluster:
        from asr_adapt.inference import on_cluster

        yield from on_cluster.transcribed(cluster, load, tasks, job, console)
        return
    transcriber = load()
    if transcriber.decoding != Decoding():
        console.say(transcriber.decoding.describe())
    yield from transcribed(transcriber, tasks, job)


@dataclass(frozen=True)
class _Recorded:
    """The transcripts that a folder has a record of, by keys of their names."""

    sources: KeyTable
    """key of the recording"""
    digests: KeyTable
    """key of the digest of what was written"""

    @classmethod
    def of(cls, out: Folder, fingerprint: str) -> "_Recorded":
        """Return what is on record, and let the folder be this model's.

        Raises:
            InputError: the folder holds transcripts of another model, or its record is damaged.
        """
        found = cls(KeyTable(1), KeyTable(1))
        is_this_models = out.path is None or TranscriptionRecord.whole(out).model == fingerprint
        for model, line in TranscriptionRecord.lines(out):
            is_this_models = is_this_models and model == fingerprint
            if line.source is not None:
                found.sources.add(key(line.place), key(line.source))
            if line.digest is not None:
                found.digests.add(key(line.place), key(line.digest))
        if is_this_models:
            return found
        known = TranscriptionRecord.of(out)
        others = [place for place in known.sources if out.changed_ns(name_of_text(place)) is not None]
        if known.model != fingerprint and others:
            raise _of_another_model(out, others, found)
        if known.model != fingerprint:
            drafts = {place: draft for place, draft in known.drafts.items() if place not in known.sources}
            TranscriptionRecord(model=fingerprint, drafts=drafts).write(out)
            return cls(KeyTable(1), KeyTable(1))
        return found

    def is_edited(self, out: Folder, name: str) -> bool:
        """Whether a transcript is not what was written; without a record of that, it is not."""
        recorded = self.digests.get(key(name_as_text(name)))
        return recorded is not None and key(hashlib.sha256(out.read(name)).hexdigest()) != recorded[0]


class _Batch:
    """The recordings of a command: which of them are to be done, and where their transcripts go.

    Of each it holds a few dozen bytes, and of the record of what is there.

    Args:
        inputs: The recordings.
        out: Where their transcripts go; None: nowhere.
        job: What is made of each.
        console: Told what is there.

    Raises:
        InputError: see `transcribe`.
    """

    def __init__(self, inputs: Recordings, out: Folder | None, job: Job, console: Console) -> None:
        self._inputs, self._out = inputs, out
        self.recorded = 0
        """transcripts that the folder has a record of"""
        self._is_due = bytearray(b"\1") * len(inputs)
        if out is None:
            return
        self._destinations = Destinations(inputs, out, job.format)
        out.create()
        with out.locked():  # several commands may fill one folder
            recorded = _Recorded.of(out, job.fingerprint)
            self.recorded = len(recorded.sources)
            self._look(out, recorded, console)

    @property
    def total(self) -> int:
        """How many are to be done."""
        return sum(self._is_due)

    def tasks(self) -> Iterator[Task]:
        """Yield those that are to be done."""
        for item in compress(self._inputs, self._is_due):
            if self._out is None:
                yield Task(item)
            else:
                name = self._destinations.of(item)
                yield Task(item, name, (self._out.path / name).parent if self._out.path else None)

    def _look(self, out: Folder, recorded: _Recorded, console: Console) -> None:
        kept = again = 0
        stay: list[str] = []
        edited = 0
        for number, item in enumerate(self._inputs):
            name = self._destinations.of(item)
            written_ns = out.changed_ns(name)
            if written_ns is None:
                continue
            if recorded.sources.get(key(name_as_text(name))) != (key(name_as_text(item.source(out.path))),):
                raise _not_of_this(out, name)
            newer = item.is_newer_than(written_ns)
            # What is piped in has no time of its own and is always done.
            is_edited = (newer or item.recording is None) and recorded.is_edited(out, name)
            self._is_due[number] = (newer or item.recording is None) and not is_edited
            kept += not newer
            again += newer and not is_edited
            edited += is_edited
            if is_edited and len(stay) <= _SHOWN:
                stay.append(name)
        if kept:
            console.say(f"{kept} of {len(self._inputs)} are there already")
        if again:
            console.say(f"{again} of {len(self._inputs)} are done again: the recording is newer than the transcript")
        if edited:
            console.warn(
                f"{edited} of {len(self._inputs)} are older than their recordings, but edited by hand since; they "
                f"stay ({_named(stay)}). Move them away to transcribe these again."
            )


def _of_another_model(out: Folder, old: Sequence[str], recorded: _Recorded) -> InputError:
    """Return the error; what a person may have edited is never to be deleted."""
    edited = [place for place in old if recorded.is_edited(out, name_of_text(place))]
    problem = f"holds {len(old)} transcripts of another model, or of this one before it or its settings changed"
    if edited:
        problem += f"; {len(edited)} of these were edited by hand since ({_named(edited)})"
    unchanged = all(key(place) in recorded.digests for place in old) and not edited
    remedy = "Give another --out, or delete them: none was edited." if unchanged else "Give another --out; they stay."
    return InputError(problem, place=out.place(), remedy=remedy)


def _not_of_this(out: Folder, name: str) -> InputError:
    """Return the error for a file that is in the way."""
    source = None
    for _, line in TranscriptionRecord.lines(out):
        source = line.source if line.place == name_as_text(name) and line.source is not None else source
    written = name_of_text(source) if source else None
    named = (
        printable(written if out.path is None or remote.is_url(written) else out.path / written) if written else ""
    )
    what = f"the transcript of {named}" if written else "not by asr-adapt"
    return InputError(f"there already, and {what}", place=out.place(name), remedy="Give another --out, or move it.")


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name.rpartition("/")[2]) for name in names[:_SHOWN])
    return shown + (", …" if len(names) > _SHOWN else "")


class _Waiting:
    """Transcripts that wait to be written: their marks are recorded before, so that none is taken for a person's.

    Args:
        out: Folder for the transcripts.
        fingerprint: Of the model and its settings.
    """

    def __init__(self, out: Folder, fingerprint: str) -> None:
        self._out, self._fingerprint = out, fingerprint
        self._of: dict[str, tuple[Input, Written]] = {}
        self._written_at = time.monotonic()

    def is_due(self, done: int) -> bool:
        """Whether enough of them wait, or long enough, when so many are done."""
        enough = max(_WRITTEN_EVERY, done // _PARTS)
        return len(self._of) >= enough or time.monotonic() - self._written_at >= _WRITTEN_EVERY_S

    def add(self, task: Task, written: Written) -> None:
        """Let a transcript wait."""
        assert task.name is not None
        self._of[task.name] = task.item, written

    def write(self) -> Iterator[tuple[Input, InputError | None]]:
        """Write all that wait, and yield for each None, or why it could not be written.

        Raises:
            DiskFull: one cannot be written; those before it are complete.
        """
        if self._of:
            there = {name for name in self._of if self._out.changed_ns(name) is not None}
            self._record(self._line(name, source=True, digest=name not in there) for name in self._of)
            for name, error in self._out.write_all([(name, of.text) for name, (_, of) in self._of.items()]):
                if error is not None:
                    there.discard(name)
                item, _ = self._of[name] if name in there else self._of.pop(name)
                yield item, error
            if there:
                self._record(self._line(name, source=False, digest=True) for name in there)
            self._of.clear()
        self._written_at = time.monotonic()

    def _record(self, lines: Iterable[RecordLine]) -> None:
        with self._out.locked():
            TranscriptionRecord.append(self._out, self._fingerprint, lines)

    def _line(self, name: str, *, source: bool, digest: bool) -> RecordLine:
        """Return what is recorded; without the digest, the old transcript may still be there."""
        item, written = self._of[name]
        return RecordLine(
            place=name_as_text(name),
            source=name_as_text(item.source(self._out.path)) if source else None,
            digest=hashlib.sha256(written.text.encode()).hexdigest() if digest else None,
            # An ELAN document keeps its own, wherever it goes.
            draft=None if name.endswith(".eaf") else written.draft,
            beside=not digest,
        )


class _Failed:
    """`failed.jsonl`, replaced when the batch ends; of a batch without failures there is none."""

    def __init__(self, out: Folder | None) -> None:
        self._out, self._count = out, 0
        self._lines = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed when we are left

    def add(self, item: Input, error: InputError) -> None:
        """Add a recording that could not be done."""
        reason = error.problem + (f". {error.remedy}" if error.remedy else "")
        print(json.dumps({"input": item.name, "reason": printable(reason)}, ensure_ascii=False), file=self._lines)
        self._count += 1

    def __enter__(self) -> "_Failed":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lines:
            if self._out and self._count:
                self._lines.seek(0)
                self._out.write(FAILED, self._lines.read())
            elif self._out and self._out.changed_ns(FAILED) is not None:
                self._out.delete(FAILED)


def _print(text: str) -> None:
    with disk_full_as_error(Path("standard output"), _FREE_SPACE):
        print(text, end="", flush=True)
