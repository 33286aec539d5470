"""`Batcher`: pieces of many recordings share the model, a batch at a time, each recording in its turn."""

import asyncio
import time
from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.inference.transcriber import Decode, Transcriber
from asr_adapt.records import Segment
from asr_adapt.serve.limits import Limits
from asr_adapt.serve.metrics import Metrics

# A short piece beside a long one is mostly padding: a batch holds at most so much for each second of audio.
_PADDED = 1.5
_STUCK_S = 300.0
_FIRST_GUESS = 10.0  # seconds of audio a second, until it is known
_REMEMBERED = 0.8


@dataclass(eq=False)
class _Waiting:
    """A piece that waits for the model."""

    first_sample: int
    waveform: np.ndarray
    decode: Decode | None
    read: asyncio.Future[Segment]


class Line:
    """One recording's pieces that wait, the first in front. Use it as a context: what waits at its end is dropped."""

    def __init__(self, batcher: "Batcher") -> None:
        self._batcher = batcher
        self.waiting: deque[_Waiting] = deque()

    def put(self, first_sample: int, waveform: np.ndarray, decode: Decode | None) -> asyncio.Future[Segment]:
        """Let a piece wait for the model; its segment comes, or what went wrong with it."""
        piece = _Waiting(first_sample, waveform, decode, asyncio.get_running_loop().create_future())
        self.waiting.append(piece)
        self._batcher.metrics.waiting_s.inc(len(waveform) / SAMPLE_RATE_HZ)
        self._batcher.notice(self)
        return piece.read

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        while self.waiting:
            self.take().read.cancel()

    def take(self) -> _Waiting:
        """Take the piece in front out."""
        piece = self.waiting.popleft()
        self._batcher.metrics.waiting_s.dec(len(piece.waveform) / SAMPLE_RATE_HZ)
        return piece


class Batcher:
    """Runs what waits through one `Transcriber`.

    While the model works pieces gather; when it is free, one from each recording in turn goes into the next batch,
    as long as the batch stays within `limits.batch_s`, padding included. So a long recording, which is many pieces,
    and a short one get on alike, and the piece that waits longest is always in.

    Args:
        transcriber: Reads the batches.
        limits: Its `batch_s` and `wait_s`.
        metrics: Told about each batch.
        thread: Where the model runs.
    """

    def __init__(self, transcriber: Transcriber, limits: Limits, metrics: Metrics, thread: Executor) -> None:
        self.transcriber = transcriber
        self._limit, self._wait_s = int(limits.batch_s * SAMPLE_RATE_HZ), limits.wait_s
        self.metrics, self._thread = metrics, thread
        self._lines: deque[Line] = deque()  # those in which something waits, the next one first
        self._arrived = asyncio.Event()
        self._began_s: float | None = None
        self._rate = _FIRST_GUESS
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """End; what waits is not read any more."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def is_well(self) -> bool:
        """Whether it works, and not on one batch for five minutes."""
        working = self._task is not None and not self._task.done()
        return working and (self._began_s is None or time.monotonic() - self._began_s < _STUCK_S)

    @property
    def waiting_s(self) -> float:
        """Seconds of audio that wait."""
        return sum(len(piece.waveform) for line in self._lines for piece in line.waiting) / SAMPLE_RATE_HZ

    @property
    def backlog_s(self) -> float:
        """Seconds that what waits will take."""
        return self.waiting_s / self._rate

    def line(self) -> Line:
        """Return a line for a recording."""
        return Line(self)

    def notice(self, line: Line) -> None:
        """Hear that something waits in a line."""
        if line not in self._lines:
            self._lines.append(line)
        self._arrived.set()

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            if self.waiting_s * SAMPLE_RATE_HZ < self._limit:
                await asyncio.sleep(self._wait_s)
            batch = self._next_batch()
            if batch:
                await self._read(batch)
            elif not self._lines:
                self._arrived.clear()

    def _next_batch(self) -> list[_Waiting]:
        """Take the pieces of the next batch out of their lines."""
        self._lines = deque(line for line in self._lines if line.waiting)
        batch: list[_Waiting] = []
        samples = longest = 0
        taken = True
        while taken:
            taken = False
            for line in list(self._lines):
                if not line.waiting:
                    continue
                length = len(line.waiting[0].waveform)
                padded = (len(batch) + 1) * max(longest, length)
                if batch and padded > min(self._limit, _PADDED * (samples + length)):
                    continue
                batch.append(line.take())
                samples, longest, taken = samples + length, max(longest, length), True
                self._lines.remove(line)
                self._lines.append(line)
        return batch

    async def _read(self, batch: list[_Waiting]) -> None:
        """Run a batch; where it fails, each of its pieces alone, so that only the culprit's request fails."""
        pieces = [(piece.first_sample, piece.waveform) for piece in batch]
        decodes = [piece.decode for piece in batch]
        began_s = self._began_s = time.monotonic()
        try:
            loop = asyncio.get_running_loop()
            segments = await loop.run_in_executor(self._thread, self.transcriber.read, pieces, decodes)
        except Exception as error:
            if len(batch) > 1:
                for piece in batch:
                    await self._read([piece])
            elif not batch[0].read.done():
                batch[0].read.set_exception(error)
            return
        finally:
            self._began_s = None
        took_s = time.monotonic() - began_s
        audio_s = sum(len(piece.waveform) for piece in batch) / SAMPLE_RATE_HZ
        self._rate = _REMEMBERED * self._rate + (1 - _REMEMBERED) * audio_s / max(took_s, 1e-3)
        self.metrics.batch(len(batch), audio_s, took_s)
        for piece, segment in zip(batch, segments, strict=True):
            if not piece.read.done():
                piece.read.set_result(segment)
