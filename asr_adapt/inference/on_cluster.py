"""Transcription on a Ray cluster: each worker loads the model once, and is sent recordings by their places."""

import functools
import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr_adapt import cluster as clusters
from asr_adapt.artifacts import model_fingerprint
from asr_adapt.cluster import Cluster, Work
from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.inference import batch, engines
from asr_adapt.inference.batch import Job, Outcome, Task
from asr_adapt.inference.options import TranscriptionOptions

if TYPE_CHECKING:  # it brings torch, and a misspelt path shall be answered at once
    from asr_adapt.inference.transcriber import Transcriber

# A chunk is lost with its worker, and its segments of similar length share batches: 64 clips of a corpus are a few
# minutes of speech, which is what a transcriber looks ahead.
_FILES, _BYTES = 64, 32 * 2**20


@dataclass(frozen=True)
class Loader:
    """Loads a model on a worker: from its folder, where the worker's machine has the very same, else from a copy."""

    options: TranscriptionOptions
    fingerprint: str
    """of the model alone"""
    packed: bytes | None
    """the folder as a tar file; None: the workers are on this machine"""

    @classmethod
    def of(cls, options: TranscriptionOptions, cluster: Cluster) -> "Loader":
        """Return the loader, with one precision for all processors: each would measure, and some otherwise."""
        model = options.model.resolve()
        options = replace(options, model=model, cpu_precision=engines.precision(options.engine, model))
        packed = None
        if cluster.address != clusters.LOCAL:
            file = io.BytesIO()
            with tarfile.open(fileobj=file, mode="w") as tar:
                tar.add(model, ".")
            packed = file.getvalue()
        return cls(options, model_fingerprint(model, ""), packed)

    def __call__(self) -> "Transcriber":
        """Load the model.

        Raises:
            InputError: it is damaged.
        """
        here = self.options.model
        if self.packed is None or (here.is_dir() and model_fingerprint(here, "") == self.fingerprint):
            return self.options.load()
        with tempfile.TemporaryDirectory() as copy:
            with tarfile.open(fileobj=io.BytesIO(self.packed)) as tar:
                tar.extractall(copy, filter="data")
            return replace(self.options, model=Path(copy)).load()


def transcribed(
    cluster: Cluster, load: "Callable[[], Transcriber]", tasks: Iterator[Task], job: Job, console: Console
) -> Iterator[tuple[Task, Outcome]]:
    """Yield each task with its transcript, or with why there is none, as they are done.

    Args:
        cluster: Where the work is done.
        load: Makes the transcriber; it can be pickled.
        tasks: What is to be done.
        job: What is made of each.
        console: Where to report.

    Raises:
        InputError: the cluster cannot be used, or the model cannot be loaded there.
    """
    make = functools.partial(_work, load, job)
    found: Iterator[tuple[Task, Outcome]] = clusters.results(cluster, make, _chunks(tasks), console)
    for task, result in found:
        if isinstance(result, InputError):
            result.place = result.place or task.item.name
        yield task, result


def _work(load: "Callable[[], Transcriber]", job: Job) -> Work:
    from asr_adapt.inference.decoding import Decoding

    transcriber = load()
    if transcriber.decoding != Decoding():
        Console().say(transcriber.decoding.describe())  # Ray shows it where the command runs

    def work(tasks: list[Task]) -> list[Outcome]:
        return [outcome for _, outcome in batch.transcribed(transcriber, tasks, job)]

    return work


def _chunks(tasks: Iterator[Task]) -> Iterator[list[Task]]:
    chunk: list[Task] = []
    size = 0
    for task in tasks:
        chunk.append(replace(task, item=task.item.absolute()))
        size += task.item.size
        if len(chunk) >= _FILES or size >= _BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
