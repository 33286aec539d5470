"""OpenAI's realtime transcription events over a WebSocket, on top of the live stream's segmenter."""

import base64
import binascii
import itertools
import json
from typing import Any

import numpy as np
from starlette.websockets import WebSocket

from asr_adapt.audio import vad
from asr_adapt.audio.resample import StreamResampler
from asr_adapt.errors import printable
from asr_adapt.records import Segment
from asr_adapt.serve.api_error import ApiError
from asr_adapt.serve.live import next_message
from asr_adapt.serve.service import LoadedModel, Service

_MAX_EVENT_ID = 512  # characters, as OpenAI's
_RATE_HZ = 24_000  # OpenAI's only rate
_UPDATES = {"session.update": "session.updated", "transcription_session.update": "transcription_session.updated"}
_TRANSCRIPTION = "conversation.item.input_audio_transcription"


async def serve_realtime(socket: WebSocket, service: Service, model: LoadedModel) -> None:
    """Serve a transcription session on an accepted WebSocket until it is closed.

    Audio arrives as base64 of 16-bit PCM, 24 kHz, mono. Where turn detection is on, as it is by default, each pause
    ends an item; else `input_audio_buffer.commit` does, which ends the current item at any time. An item is announced
    by `input_audio_buffer.committed` and followed by its transcript. A mistake in an event is answered by an `error`
    event, and the session continues.

    Raises:
        ApiError: no message arrives for `stream_idle_s`, or the model has failed.
    """
    session = _Session(socket, service, model)
    await session.send("session.created", session=session.settings())
    while True:
        message = await next_message(socket, service)
        if message is None:
            return
        event: dict[str, Any] = {}
        try:
            event = _event(message.get("text"))
            await session.handle(event)
        except ApiError as error:
            if error.status >= 500:
                raise
            event_id = printable((_text(event, "event_id") or "")[:_MAX_EVENT_ID]) or None  # no lone surrogates
            await session.send("error", error=error.body()["error"] | {"event_id": event_id})


class _Session:
    """The state of a session."""

    def __init__(self, socket: WebSocket, service: Service, model: LoadedModel) -> None:
        self._socket, self._service, self._model = socket, service, model
        self._segmenter, self._resampler = vad.Segmenter(is_live=True), StreamResampler(_RATE_HZ)
        self._detects_turns = True
        self._received = 0  # samples since the last commit
        self._spoken: list[Segment] = []  # of the current item, where only a commit ends one
        self._events, self._items = itertools.count(1), itertools.count(1)
        self._last_item: str | None = None

    async def send(self, kind: str, **fields: Any) -> None:
        """Send an event."""
        await self._socket.send_json({"type": kind, "event_id": f"event_{next(self._events)}", **fields})

    def settings(self) -> dict[str, Any]:
        """Return the session object."""
        turns = {"type": "server_vad"} if self._detects_turns else None
        audio_input = {"format": {"type": "audio/pcm", "rate": _RATE_HZ}, "noise_reduction": None,
                       "transcription": {"model": self._model.name}, "turn_detection": turns}  # fmt: skip
        return {"type": "transcription", "id": "sess_1", "object": "realtime.transcription_session",
                "audio": {"input": audio_input}}  # fmt: skip

    async def handle(self, event: dict[str, Any]) -> None:
        """Process a client's event.

        Raises:
            ApiError: the event is invalid.
        """
        kind = _text(event, "type")
        if kind in _UPDATES:
            self._update(event.get("session"))
            await self.send(_UPDATES[kind], session=self.settings())
        elif kind == "input_audio_buffer.append":
            await self._append(_samples(event.get("audio")))
        elif kind == "input_audio_buffer.commit":
            await self._commit()
        elif kind == "input_audio_buffer.clear":
            self._resampler.flush()
            self._segmenter.flush()
            self._spoken, self._received = [], 0
            await self.send("input_audio_buffer.cleared")
        else:
            raise ApiError(400, "An event of this type is not supported in a transcription session.",
                           code="unknown_event", param="type")  # fmt: skip

    def _update(self, session: Any) -> None:
        """Apply a session object in today's form (`audio.input`) or that of the beta (`input_audio_…`)."""
        if not isinstance(session, dict):
            raise _invalid("session", "Must be an object.")
        if session.get("type", "transcription") != "transcription":
            raise _invalid("session.type", "Only transcription is offered.")
        nested = session.get("audio")
        settings = nested.get("input") if isinstance(nested, dict) else None
        is_nested = isinstance(settings, dict)
        if not isinstance(settings, dict):
            settings = session
        sound = settings.get("format" if is_nested else "input_audio_format")
        if sound not in (None, "pcm16", {"type": "audio/pcm"}, {"type": "audio/pcm", "rate": _RATE_HZ}):
            raise _invalid("session.audio.input.format", f"Only 16-bit PCM at {_RATE_HZ} Hz is supported.")
        transcription = settings.get("transcription" if is_nested else "input_audio_transcription")
        name = _text(transcription, "model") if isinstance(transcription, dict) else None
        model = self._service.model(name) if name else self._model
        if "turn_detection" in settings:
            self._detects_turns = settings["turn_detection"] is not None
        self._model = model

    async def _append(self, samples: np.ndarray) -> None:
        self._received += len(samples)
        ended = await self._service.run_in_thread(lambda: self._segmenter.feed(self._resampler.feed(samples)))
        await self._transcribe(ended)

    async def _commit(self) -> None:
        if not self._received:
            raise ApiError(400, "There is no audio to commit.", code="input_audio_buffer_commit_empty")
        rest = self._resampler.flush()
        ended = await self._service.run_in_thread(lambda: [*self._segmenter.feed(rest), *self._segmenter.flush()])
        self._received = 0
        if not self._detects_turns or not ended:
            self._spoken += [await self._service.transcribe_utterance(self._model, *segment) for segment in ended]
            spoken, self._spoken = self._spoken, []
            await self._send_item(spoken)
        else:
            await self._transcribe(ended)

    async def _transcribe(self, ended: list[tuple[int, np.ndarray]]) -> None:
        for first_sample, waveform in ended:
            segment = await self._service.transcribe_utterance(self._model, first_sample, waveform)
            if not self._detects_turns:
                self._spoken.append(segment)
            elif segment.text:
                await self._send_item([segment])

    async def _send_item(self, segments: list[Segment]) -> None:
        """Send an item's events: committed, a delta for each segment, and the transcript."""
        item, previous = f"item_{next(self._items)}", self._last_item
        self._last_item = item
        await self.send("input_audio_buffer.committed", item_id=item, previous_item_id=previous)
        texts = [segment.text for segment in segments if segment.text]
        for number, text in enumerate(texts):
            delta = (" " if number else "") + text
            await self.send(f"{_TRANSCRIPTION}.delta", item_id=item, content_index=0, delta=delta)
        seconds = round(sum(segment.end_s - segment.start_s for segment in segments), 3)
        await self.send(f"{_TRANSCRIPTION}.completed", item_id=item, content_index=0, transcript=" ".join(texts),
                        usage={"type": "duration", "seconds": seconds})  # fmt: skip


def _event(text: str | None) -> dict[str, Any]:
    try:
        event = json.loads(text or "")
    except (ValueError, RecursionError):
        raise ApiError(400, "A message must be a JSON object.", code="invalid_event") from None
    if not isinstance(event, dict):
        raise ApiError(400, "A message must be a JSON object.", code="invalid_event")
    return event


def _samples(audio: Any) -> np.ndarray:
    """Return base64 of 16-bit little-endian PCM as float32 (num_samples,)."""
    try:
        data = base64.b64decode(audio, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise _invalid("audio", "Must be base64.") from None
    if len(data) % 2:
        raise _invalid("audio", "Must be 16-bit samples, but has an odd number of bytes.")
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768


def _text(fields: Any, name: str) -> str | None:
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, str) and value else None


def _invalid(param: str, message: str) -> ApiError:
    return ApiError(400, f"{param}: {message}", code="invalid_value", param=param)
