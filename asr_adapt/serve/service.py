"""`Service`: loaded models, concurrency limits, and transcription of one recording from bytes to segments."""

import asyncio
import functools
import logging
import math
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

import numpy as np

from asr_adapt.artifacts import NGramWeights
from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.audio.decode_pool import DecodePool, DecoderNotStarted
from asr_adapt.decoding.beam_search import BeamSearch, BeamSearchUnavailable
from asr_adapt.errors import AudioError, InputError
from asr_adapt.inference.decoding import writable
from asr_adapt.inference.transcriber import Decode, Transcriber
from asr_adapt.records import Segment, Transcript
from asr_adapt.serve.api_error import ApiError, log_unexpected
from asr_adapt.serve.batcher import Batcher
from asr_adapt.serve.limits import Limits
from asr_adapt.serve.metrics import Metrics
from asr_adapt.serve.upload import SegmentDecoder

Item = TypeVar("Item")
_log = logging.getLogger(__name__)
_MODEL_NAME = re.compile(r"[\w.:/-]{1,100}", re.ASCII)
_MIN_RETRY_S, _MAX_RETRY_S = 1, 60


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready; `search` decodes with hotwords, None where ctc-beam-decoder is unavailable."""

    name: str
    transcriber: Transcriber
    batcher: Batcher
    search: BeamSearch | None
    loaded_at: int

    def decode(self, prompt: str, limits: Limits) -> Decode | None:
        """Return the decoding function for a prompt; None is the model's default, as without beam search.

        Words that contain a letter outside the model's alphabet cannot be favoured and are ignored. Of more than
        `limits.prompt_words`, the last ones are favoured, as OpenAI's models use the last 224 tokens of a prompt.
        """
        words, _ = writable(self.transcriber.model, prompt)
        if not words or self.search is None:
            return None
        return functools.partial(self.search.runs, hotwords=words[-limits.prompt_words :])

    def ignored(self, prompt: str) -> str:
        """Return why a prompt is ignored; empty where it is not."""
        if self.search is not None or not prompt.strip():
            return ""
        _log_ignored_prompt(self.name)
        return "beam search (ctc-beam-decoder) is not available on this server"


@functools.cache
def _log_ignored_prompt(name: str) -> None:
    """Log, once for each model, that its prompts have no effect."""
    _log.warning("prompts for model '%s' are ignored: ctc-beam-decoder is not installed, or does not run here", name)


class Service:
    """State shared by all routes.

    Args:
        loaders: Creates each model's transcriber, by model name; the first is the default model.
        limits: Limits enforced on every request.
        any_model: Serve the default model under every name that is not a model's.
    """

    def __init__(
        self, loaders: Mapping[str, Callable[[], Transcriber]], limits: Limits, *, any_model: bool = False
    ) -> None:
        self.limits, self.metrics = limits, Metrics()
        self._any_model = any_model
        self.failure: Exception | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self._loaders = dict(loaders)
        self._models: dict[str, LoadedModel] = {}
        self._active_requests = self._active_streams = 0
        self._model_executor = ThreadPoolExecutor(1, "model")
        # One thread per recording, so that a file that decodes slowly delays nobody else.
        self._decode_executor = ThreadPoolExecutor(limits.requests + limits.streams, "decode")
        self._decoders = DecodePool(limits.requests)
        self._loading: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start loading the models on the running event loop."""
        self._loading = asyncio.get_running_loop().create_task(self._load())

    async def stop(self) -> None:
        """Stop all tasks and threads."""
        if self._loading:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        for model in self._models.values():
            await model.batcher.stop()
        self._model_executor.shutdown(wait=False, cancel_futures=True)
        self._decode_executor.shutdown(wait=False, cancel_futures=True)
        self._decoders.close()

    @property
    def is_ready(self) -> bool:
        """Whether every model is loaded."""
        return len(self._models) == len(self._loaders)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing has failed: models are loading, or loaded and running."""
        return self.failure is None and all(model.batcher.is_healthy for model in self._models.values())

    @property
    def models(self) -> list[LoadedModel]:
        """The loaded models, in the order of the command line."""
        return [self._models[name] for name in self._loaders if name in self._models]

    def model(self, name: str) -> LoadedModel:
        """Return a model by name; the empty name is the default model.

        Raises:
            ApiError: 404 no such model, 503 it is still loading.
        """
        if not name or (self._any_model and name not in self._loaders):
            name = next(iter(self._loaders))
        if name not in self._loaders:
            option = name if _MODEL_NAME.fullmatch(name) else "NAME"
            raise ApiError(404, "There is no model of that name; see /v1/models. To serve one under it, start the "
                           f"server with --model {option}=DIR, or with --any-model.", code="model_not_found",
                           param="model")  # fmt: skip
        if name not in self._models:
            raise ApiError(503, "The model is still loading.", code="not_ready", retry_after_s=5)
        return self._models[name]

    @contextmanager
    def request_slot(self) -> Iterator[None]:
        """Hold one of `limits.requests` slots.

        Raises:
            ApiError: 429 all slots are taken, 503 the default model is still loading.
        """
        self._admit(self._active_requests, self.limits.requests)
        self._active_requests += 1
        self.metrics.active_requests.set(self._active_requests)
        try:
            yield
        finally:
            self._active_requests -= 1
            self.metrics.active_requests.set(self._active_requests)

    @contextmanager
    def stream_slot(self) -> Iterator[None]:
        """Hold one of `limits.streams` slots.

        Raises:
            ApiError: as `request_slot`.
        """
        self._admit(self._active_streams, self.limits.streams)
        self._active_streams += 1
        self.metrics.active_streams.set(self._active_streams)
        try:
            yield
        finally:
            self._active_streams -= 1
            self.metrics.active_streams.set(self._active_streams)

    def _admit(self, active: int, limit: int) -> None:
        self.model("")
        if active >= limit:
            backlog_s = sum(model.batcher.backlog_s for model in self._models.values())
            retry_after_s = min(_MAX_RETRY_S, max(_MIN_RETRY_S, math.ceil(backlog_s)))
            raise ApiError(429, "The server is busy.", code="server_busy", retry_after_s=retry_after_s)

    async def segments(
        self, model: LoadedModel, file: BinaryIO, decode: Decode | None, deadline_s: float
    ) -> AsyncGenerator[Segment | Transcript, None]:
        """Yield a recording's segments in order as they are transcribed, then its transcript; closes the file.

        Args:
            model: The model that transcribes.
            file: An encoded audio file.
            decode: From `LoadedModel.decode`.
            deadline_s: On the clock of `time.monotonic`.

        Raises:
            ApiError: 400 the file is not audio, 413 it is too long, 503 the deadline passed.
        """
        loop, decoder = asyncio.get_running_loop(), SegmentDecoder(file, self.limits, self._decoders)
        pending: deque[tuple[int, asyncio.Future[Segment]]] = deque()  # (num_samples, result)
        done: list[Segment] = []
        is_decoded = False
        try:
            with model.batcher.queue() as queue:
                while pending or not is_decoded:
                    if not is_decoded:
                        decoded = await _before(deadline_s, loop.run_in_executor(self._decode_executor, decoder.next))
                        is_decoded = decoded is None
                        if decoded is not None:
                            pending.append((len(decoded[1]), queue.put(*decoded, decode)))
                    limit = 0 if is_decoded else self.limits.decode_ahead_s * SAMPLE_RATE_HZ
                    while pending and (pending[0][1].done() or sum(samples for samples, _ in pending) > limit):
                        segment = await _before(deadline_s, pending.popleft()[1])
                        done.append(segment)
                        yield segment
            self.metrics.record_audio(decoder.samples / SAMPLE_RATE_HZ)
            yield model.transcriber.whole(done, decoder.samples)
        finally:
            self._decode_executor.submit(decoder.close).add_done_callback(_log_failure)

    async def run_in_thread(self, work: Callable[[], Item]) -> Item:
        """Run blocking work on a decoder thread."""
        return await asyncio.get_running_loop().run_in_executor(self._decode_executor, work)

    async def transcribe_utterance(self, model: LoadedModel, first_sample: int, waveform: np.ndarray) -> Segment:
        """Transcribe an utterance of live audio, float32 (num_samples,), 16 kHz."""
        deadline_s = time.monotonic() + self.limits.request_s
        with model.batcher.queue() as queue:
            segment = await _before(deadline_s, queue.put(first_sample, waveform, None))
        self.metrics.record_audio(len(waveform) / SAMPLE_RATE_HZ)
        return segment

    async def _load(self) -> None:
        """Load the models one after the other."""
        loop = asyncio.get_running_loop()
        for name, load in self._loaders.items():
            try:
                transcriber, search = await loop.run_in_executor(self._model_executor, _load_and_warm_up, load)
            except Exception as error:
                self.failure = error
                # No request data in it; a mistake in the input is one line.
                is_bug = not isinstance(error, InputError)
                _log.error("model '%s' cannot be loaded: %s", name, error, exc_info=is_bug)
                self.on_failure()
                return
            batcher = Batcher(transcriber, self.limits, self.metrics, self._model_executor)
            batcher.start()
            self._models[name] = LoadedModel(name, transcriber, batcher, search, int(time.time()))


def _load_and_warm_up(load: Callable[[], Transcriber]) -> tuple[Transcriber, BeamSearch | None]:
    """Load a model and transcribe a second of silence, so that the first request does not pay for initialisation."""
    transcriber = load()
    next(transcriber.transcribe_segments([np.zeros(SAMPLE_RATE_HZ, np.float32)]))
    if transcriber.search is not None:
        return transcriber, transcriber.search
    try:
        return transcriber, BeamSearch(transcriber.model.alphabet, None, NGramWeights())
    except BeamSearchUnavailable:
        return transcriber, None


def _log_failure(future: Future[None]) -> None:
    error = None if future.cancelled() else future.exception()
    if error is not None:
        log_unexpected(_log, error, "a decoder cannot be closed")


async def _before(deadline_s: float, work: Awaitable[Item]) -> Item:
    """Await work until a deadline.

    Raises:
        ApiError: 503 the deadline passed or the server is too busy to decode, 400 the file is not audio.
    """
    try:
        return await asyncio.wait_for(work, max(0.0, deadline_s - time.monotonic()))
    except TimeoutError:
        raise ApiError(503, "The request timed out; send a shorter recording, or retry later.", code="timeout",
                       retry_after_s=30) from None  # fmt: skip
    except DecoderNotStarted as error:
        raise ApiError(503, "The server is too busy; retry later.", code="busy", retry_after_s=30) from error
    except AudioError as error:
        remedy = f" {error.remedy}" if error.remedy else ""
        raise ApiError(400, f"file: {error.problem}.{remedy}", code="invalid_audio", param="file") from error
