"""Recordings become the texts of their transcripts: what a process does of a batch, on one machine or on many."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr_adapt.artifacts import Draft
from asr_adapt.audio.decoded_cache import ordered_map
from asr_adapt.errors import InputError
from asr_adapt.formats import writers
from asr_adapt.inference.recordings import Input, Selection
from asr_adapt.records import Segment, Transcript

if TYPE_CHECKING:  # it brings torch, and a misspelt path shall be answered at once
    from asr_adapt.inference.transcriber import Transcriber

_OPENED_AHEAD = 4  # threads, each of which opens four recordings ahead: fetching one takes some 50 ms


@dataclass(frozen=True)
class Job:
    """What is made of every recording."""

    format: str
    """a name in `formats.WRITERS`"""
    fingerprint: str
    """of the model and its settings, for the drafts' marks"""
    channel: str | None = None
    """as in `TranscriptionOptions`, like the next one"""
    track: int | None = None


@dataclass(frozen=True)
class Task:
    """A recording, and where its transcript goes."""

    item: Input
    name: str | None = None
    """of the transcript, in its folder; None: it is printed"""
    folder: Path | None = None
    """the one that the transcript is in, where that is on this machine: links to the recording start there"""


@dataclass(frozen=True)
class Written:
    """A transcript as it is to be written."""

    text: str
    draft: Draft
    duration_s: float


Outcome = Written | InputError


def transcribed(transcriber: "Transcriber", tasks: Iterable[Task], job: Job) -> Iterator[tuple[Task, Outcome]]:
    """Yield each task with its transcript, or with why there is none, in order."""
    opened: deque[tuple[Task, list[str | None]]] = deque()  # filled as recordings are opened

    def open_one(task: Task) -> tuple[Task, list[tuple[str | None, Selection]]]:
        return task, task.item.selections(job.channel, job.track)

    def selected() -> Iterator[Selection]:
        for task, selections in ordered_map(open_one, tasks, _OPENED_AHEAD):
            opened.append((task, [speaker for speaker, _ in selections]))
            yield from (selection for _, selection in selections)

    results = transcriber.transcribe_all(selected())
    for first in results:
        task, speakers = opened.popleft()
        result = _together([first, *(next(results) for _ in speakers[1:])], speakers)
        if isinstance(result, InputError):
            yield task, InputError(result.problem, place=task.item.name, remedy=result.remedy)
            continue
        draft = writers.draft_of(result, job.format, job.fingerprint)
        text = writers.written(result, job.format, task.item.media, task.folder, draft)
        yield task, Written(text, draft, result.duration_s)


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
