"""`Service`: the models, who is in, and a recording's way from its bytes to its segments."""

import asyncio
import functools
import logging
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

import numpy as np

from asr_adapt.artifacts import NGramWeights
from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.decoding.beam_search import BeamSearch
from asr_adapt.errors import AudioError, InputError
from asr_adapt.inference.transcriber import Decode, Transcriber, writable
from asr_adapt.records import Segment, Transcript
from asr_adapt.serve.batcher import Batcher
from asr_adapt.serve.limits import Limits
from asr_adapt.serve.metrics import Metrics
from asr_adapt.serve.refusal import Refusal
from asr_adapt.serve.upload import Decoder

Item = TypeVar("Item")
_log = logging.getLogger(__name__)
_SHORTEST_RETRY_S, _LONGEST_RETRY_S = 1, 60


@dataclass(frozen=True)
class Served:
    """A model that is loaded; `search` hears hotwords, None where ctc-beam-decoder does not run."""

    name: str
    transcriber: Transcriber
    batcher: Batcher
    search: BeamSearch | None
    loaded_at: int

    def decode(self, prompt: str, limits: Limits) -> Decode | None:
        """Return how a request with a prompt is decoded; None is the model's own way.

        Words with a letter that the model cannot write cannot be favoured, and are left out.

        Raises:
            Refusal: 400, there are too many words, or no beam search.
        """
        model = self.transcriber.model
        words, _ = writable(model, prompt)
        if not words:
            return None
        if len(words) > limits.hotwords:
            raise Refusal(
                400, f"prompt: {len(words)} words, at most {limits.hotwords} can be favoured.", param="prompt"
            )
        if self.search is None:
            raise Refusal(400, "prompt: ctc-beam-decoder does not run on this server.", param="prompt")
        return functools.partial(self.search.runs, hotwords=words)


class Service:
    """What the routes share.

    Args:
        loaders: Makes each model's transcriber, by the model's name; the first is the default.
        limits: What a request may bring, take and wait for.
    """

    def __init__(self, loaders: Mapping[str, Callable[[], Transcriber]], limits: Limits) -> None:
        self.limits, self.metrics = limits, Metrics()
        self.failure: InputError | None = None
        self.when_failed: Callable[[], None] = lambda: None
        self._loaders = dict(loaders)
        self._served: dict[str, Served] = {}
        self._inside = self._live = 0
        self._model_thread = ThreadPoolExecutor(1, "model")
        # A thread for each recording: one that decodes slowly keeps nobody else waiting.
        self._decoding = ThreadPoolExecutor(limits.requests + limits.live, "decode")
        self._loading: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to load the models, on the running loop."""
        self._loading = asyncio.get_running_loop().create_task(self._load())

    async def stop(self) -> None:
        """End."""
        if self._loading:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        for served in self._served.values():
            await served.batcher.stop()
        self._model_thread.shutdown(wait=False, cancel_futures=True)
        self._decoding.shutdown(wait=False, cancel_futures=True)

    @property
    def is_ready(self) -> bool:
        """Whether every model is loaded."""
        return len(self._served) == len(self._loaders)

    @property
    def is_well(self) -> bool:
        """Whether it loads or works."""
        return self.failure is None and all(served.batcher.is_well for served in self._served.values())

    @property
    def models(self) -> list[Served]:
        """The models that are loaded, in the order in which they were named."""
        return [self._served[name] for name in self._loaders if name in self._served]

    def model(self, name: str) -> Served:
        """Return a model by its name, the first for the empty name.

        Raises:
            Refusal: 404 there is none of that name, 503 it is not loaded yet.
        """
        name = name or next(iter(self._loaders))
        if name not in self._loaders:
            raise Refusal(404, "There is no model of that name; /v1/models lists them.", code="model_not_found",
                          param="model")  # fmt: skip
        if name not in self._served:
            raise Refusal(503, "The model is not loaded yet.", code="not_ready", retry_after_s=5)
        return self._served[name]

    @contextmanager
    def place(self) -> Iterator[None]:
        """Be in, as one of `limits.requests`.

        Raises:
            Refusal: 429 there is no place, 503 no model is loaded yet.
        """
        self.model("")
        if self._inside >= self.limits.requests:
            raise Refusal(429, "The server is busy.", code="server_busy", retry_after_s=self._retry_after_s())
        self._inside += 1
        self.metrics.inside.set(self._inside)
        try:
            yield
        finally:
            self._inside -= 1
            self.metrics.inside.set(self._inside)

    @contextmanager
    def live_place(self) -> Iterator[None]:
        """Be in, as one of `limits.live`.

        Raises:
            Refusal: as of `place`.
        """
        self.model("")
        if self._live >= self.limits.live:
            raise Refusal(429, "The server is busy.", code="server_busy", retry_after_s=self._retry_after_s())
        self._live += 1
        self.metrics.live.set(self._live)
        try:
            yield
        finally:
            self._live -= 1
            self.metrics.live.set(self._live)

    def _retry_after_s(self) -> int:
        backlog_s = sum(served.batcher.backlog_s for served in self._served.values())
        return min(_LONGEST_RETRY_S, max(_SHORTEST_RETRY_S, math.ceil(backlog_s)))

    async def segments(
        self, served: Served, file: BinaryIO, decode: Decode | None, deadline_s: float
    ) -> AsyncGenerator[Segment | Transcript, None]:
        """Yield a recording's segments in order, as they are read, and its transcript last; closes the file.

        Args:
            served: Who reads.
            file: An encoded file.
            decode: Of `Served.decode`.
            deadline_s: On the clock of `time.monotonic`.

        Raises:
            Refusal: 400 it is no sound, 413 it is too long, 500 the model failed on it, 503 it takes too long.
        """
        loop, decoder = asyncio.get_running_loop(), Decoder(file, self.limits)
        ahead: deque[tuple[int, asyncio.Future[Segment]]] = deque()  # with the samples of each
        found: list[Segment] = []
        is_last = False
        try:
            with served.batcher.line() as line:
                while ahead or not is_last:
                    if not is_last:
                        piece = await _within(deadline_s, loop.run_in_executor(self._decoding, decoder.next))
                        is_last = piece is None
                        if piece is not None:
                            ahead.append((len(piece[1]), line.put(*piece, decode)))
                    limit = 0 if is_last else self.limits.ahead_s * SAMPLE_RATE_HZ
                    while ahead and (ahead[0][1].done() or sum(samples for samples, _ in ahead) > limit):
                        segment = await _within(deadline_s, ahead.popleft()[1])
                        found.append(segment)
                        yield segment
            self.metrics.audio(decoder.samples / SAMPLE_RATE_HZ)
            yield served.transcriber.whole(found, decoder.samples)
        finally:
            self._decoding.submit(decoder.close)

    async def heard(self, work: Callable[[], Item]) -> Item:
        """Do what blocks on a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._decoding, work)

    async def say(self, served: Served, first_sample: int, waveform: np.ndarray) -> Segment:
        """Return what is said in a piece of live audio, float32 (num_samples,)."""
        deadline_s = time.monotonic() + self.limits.request_s
        with served.batcher.line() as line:
            segment = await _within(deadline_s, line.put(first_sample, waveform, None))
        self.metrics.audio(len(waveform) / SAMPLE_RATE_HZ)
        return segment

    async def _load(self) -> None:
        """Load one model after the other; what was said on the way through each is thrown away."""
        loop = asyncio.get_running_loop()
        for name, load in self._loaders.items():
            try:
                transcriber, search = await loop.run_in_executor(self._model_thread, _warm, load)
            except InputError as error:
                self.failure = error
                _log.error("model '%s' cannot be loaded: %s", name, error)
                self.when_failed()
                return
            batcher = Batcher(transcriber, self.limits, self.metrics, self._model_thread)
            batcher.start()
            self._served[name] = Served(name, transcriber, batcher, search, int(time.time()))


def _warm(load: Callable[[], Transcriber]) -> tuple[Transcriber, BeamSearch | None]:
    """Load a model, let it hear a second of silence, so that the first client does not wait for that."""
    transcriber = load()
    transcriber.transcribe(np.zeros(SAMPLE_RATE_HZ, np.float32))
    if transcriber.search is not None:
        return transcriber, transcriber.search
    try:
        return transcriber, BeamSearch(transcriber.model.alphabet, None, NGramWeights())
    except (ImportError, OSError):
        return transcriber, None


async def _within(deadline_s: float, work: Awaitable[Item]) -> Item:
    """Return what comes of work.

    Raises:
        Refusal: 503 it takes too long, 400 it is no sound.
    """
    try:
        return await asyncio.wait_for(work, max(0.0, deadline_s - time.monotonic()))
    except TimeoutError:
        raise Refusal(503, "It took too long; send less, or come later.", code="timeout", retry_after_s=30) from None
    except AudioError as error:
        remedy = f" {error.remedy}" if error.remedy else ""
        raise Refusal(400, f"file: {error.problem}.{remedy}", code="invalid_audio", param="file") from error
