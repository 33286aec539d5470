"""`Batcher`: dynamic batching of segments from concurrent requests, round-robin over recordings."""

import asyncio
import logging
import time
from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.inference.transcriber import Decode, Transcriber
from asr_adapt.records import Segment
from asr_adapt.serve.api_error import ApiError, log_unexpected
from asr_adapt.serve.limits import Limits
from asr_adapt.serve.metrics import Metrics

_log = logging.getLogger(__name__)
# A short segment next to a long one is mostly padding: the padded size is at most this many times the audio.
_MAX_PADDING_RATIO = 1.5
_STUCK_S = 300.0
_INITIAL_SPEED = 10.0  # seconds of audio per second, until it has been measured
_SPEED_DECAY = 0.8
_PROBE = np.zeros(SAMPLE_RATE_HZ, np.float32)  # a second of silence, which every model that works transcribes


@dataclass(eq=False)
class _QueuedSegment:
    """A segment that waits for the model; waveform: float32 (num_samples,), 16 kHz."""

    first_sample: int
    waveform: np.ndarray
    decode: Decode | None
    result: asyncio.Future[Segment]


class SegmentQueue:
    """The queued segments of one recording, in order. A context manager: what is left on exit is cancelled."""

    def __init__(self, batcher: "Batcher") -> None:
        self._batcher = batcher
        self.waiting: deque[_QueuedSegment] = deque()

    def put(self, first_sample: int, waveform: np.ndarray, decode: Decode | None) -> asyncio.Future[Segment]:
        """Queue a segment; return the future of its transcript, or of the exception that the model raised.

        Raises:
            ApiError: 503, batching has ended.
        """
        if not self._batcher.is_running:
            raise _unavailable()
        segment = _QueuedSegment(first_sample, waveform, decode, asyncio.get_running_loop().create_future())
        self.waiting.append(segment)
        self._batcher.metrics.queued_s.inc(len(waveform) / SAMPLE_RATE_HZ)
        self._batcher.schedule(self)
        return segment.result

    def __enter__(self) -> "SegmentQueue":
        return self

    def __exit__(self, *_: object) -> None:
        while self.waiting:
            self.pop().result.cancel()

    def pop(self) -> _QueuedSegment:
        """Remove and return the first segment."""
        segment = self.waiting.popleft()
        self._batcher.metrics.queued_s.dec(len(segment.waveform) / SAMPLE_RATE_HZ)
        return segment


class Batcher:
    """Runs queued segments through one `Transcriber` in batches.

    Segments accumulate while the model is busy. When it is free, the next batch takes one segment from each recording
    in turn as long as it stays within `limits.batch_s`, padding included. Long recordings and short ones therefore
    progress together, and the segment that has waited longest is always in the next batch.

    Args:
        transcriber: Transcribes the batches.
        limits: Its `batch_s` and `batch_wait_s` apply.
        metrics: Records each batch.
        executor: Runs the model; one thread.
    """

    def __init__(self, transcriber: Transcriber, limits: Limits, metrics: Metrics, executor: Executor) -> None:
        self.transcriber = transcriber
        self._max_samples, self._wait_s = int(limits.batch_s * SAMPLE_RATE_HZ), limits.batch_wait_s
        self.metrics, self._executor = metrics, executor
        self._queues: deque[SegmentQueue] = deque()  # those with waiting segments, the next one first
        self._batch: list[_QueuedSegment] = []  # being transcribed
        self._arrived = asyncio.Event()
        self._batch_started_s: float | None = None
        self._speed = _INITIAL_SPEED
        self._model_works = True
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start batching on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """Log why batching ended, and fail what is queued: nobody will transcribe it."""
        if task.cancelled():
            return
        log_unexpected(_log, task.exception() or RuntimeError(), "batching ended")
        queued = [queue.pop() for queue in self._queues for _ in list(queue.waiting)]
        for segment in (*self._batch, *queued):
            if not segment.result.done():
                segment.result.set_exception(_unavailable())

    async def stop(self) -> None:
        """Stop; queued segments are not transcribed."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def is_healthy(self) -> bool:
        """Whether the task is running, the model works, and no batch has taken five minutes."""
        is_stuck = self._batch_started_s is not None and time.monotonic() - self._batch_started_s >= _STUCK_S
        return self.is_running and self._model_works and not is_stuck

    @property
    def is_running(self) -> bool:
        """Whether queued segments are going to be transcribed."""
        return self._task is not None and not self._task.done()

    @property
    def queued_s(self) -> float:
        """Seconds of audio in the queue."""
        return sum(len(segment.waveform) for queue in self._queues for segment in queue.waiting) / SAMPLE_RATE_HZ

    @property
    def backlog_s(self) -> float:
        """Estimated seconds until the queue is empty."""
        return self.queued_s / self._speed

    def queue(self) -> SegmentQueue:
        """Return a queue for one recording."""
        return SegmentQueue(self)

    def schedule(self, queue: SegmentQueue) -> None:
        """Add a queue that has waiting segments to the round-robin."""
        if queue not in self._queues:
            self._queues.append(queue)
        self._arrived.set()

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            if self.queued_s * SAMPLE_RATE_HZ < self._max_samples:
                await asyncio.sleep(self._wait_s)
            batch = self._next_batch()
            if batch:
                await self._transcribe(batch)
            elif not self._queues:
                self._arrived.clear()

    def _next_batch(self) -> list[_QueuedSegment]:
        """Remove the next batch from the queues."""
        self._queues = deque(queue for queue in self._queues if queue.waiting)
        batch = self._batch = []
        samples = longest = 0
        added = True
        while added:
            added = False
            for queue in list(self._queues):
                if not queue.waiting:
                    continue
                length = len(queue.waiting[0].waveform)
                padded = (len(batch) + 1) * max(longest, length)
                if batch and padded > min(self._max_samples, _MAX_PADDING_RATIO * (samples + length)):
                    continue
                batch.append(queue.pop())
                samples, longest, added = samples + length, max(longest, length), True
                self._queues.remove(queue)
                self._queues.append(queue)
        return batch

    async def _transcribe(self, batch: list[_QueuedSegment]) -> None:
        """Run a batch. If it fails, run its segments one by one, so that only the culprit's request fails."""
        started_s = time.monotonic()
        try:
            results = await self._run_model(
                [(segment.first_sample, segment.waveform) for segment in batch], [segment.decode for segment in batch]
            )
        except Exception as error:
            if len(batch) > 1:
                for segment in batch:
                    await self._transcribe([segment])
                return
            if not batch[0].result.done():
                batch[0].result.set_exception(error)
            await self._probe()
            return
        self._model_works = True
        duration_s = time.monotonic() - started_s
        audio_s = sum(len(segment.waveform) for segment in batch) / SAMPLE_RATE_HZ
        self._speed = _SPEED_DECAY * self._speed + (1 - _SPEED_DECAY) * audio_s / max(duration_s, 1e-3)
        self.metrics.record_batch(len(batch), audio_s, duration_s)
        for segment, result in zip(batch, results, strict=True):
            if not segment.result.done():
                segment.result.set_result(result)

    async def _probe(self) -> None:
        """After a failure, find out whether the model fails on everything, as after an error of the GPU."""
        try:
            await self._run_model([(0, _PROBE)], [None])
        except Exception as error:
            if self._model_works:
                log_unexpected(_log, error, "the model fails on every input")
            self._model_works = False

    async def _run_model(self, inputs: list[tuple[int, np.ndarray]], decodes: list[Decode | None]) -> list[Segment]:
        self._batch_started_s = time.monotonic()
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, self.transcriber.read, inputs, decodes)
        finally:
            self._batch_started_s = None


def _unavailable() -> ApiError:
    return ApiError(503, "The model has failed; see the server's log.", code="model_failed")
