"""Live audio: 16-bit PCM arrives over a WebSocket; each segment is transcribed at the pause that ends it."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.websockets import WebSocket

from asr_adapt.audio import vad
from asr_adapt.records import Segment
from asr_adapt.serve.api_error import ApiError
from asr_adapt.serve.service import LoadedModel, Service

_MAX_TEXT_MESSAGE = 256  # characters
_COMMIT = "input_audio_buffer.commit"
_COMMITTED = "input_audio_buffer.committed"


async def next_message(socket: WebSocket, service: Service) -> Mapping[str, Any] | None:
    """Return the next message of a WebSocket, None where it is closed.

    Raises:
        ApiError: 408, none arrives for `stream_idle_s`.
    """
    try:
        message = await asyncio.wait_for(socket.receive(), service.limits.stream_idle_s)
    except TimeoutError:
        raise ApiError(408, "No message arrived in time.", code="request_timeout") from None
    return None if message["type"] == "websocket.disconnect" else message


async def serve_stream(socket: WebSocket, service: Service, model: LoadedModel) -> None:
    """Transcribe the audio of an accepted WebSocket until it is closed.

    Binary messages are 16-bit little-endian PCM, 16 kHz, mono. Each utterance is answered by a
    `transcript.text.delta` and a `transcript.text.done`; the latter has `start` and `end` in seconds and `words`. The
    text message `{"type": "input_audio_buffer.commit"}` ends an utterance at once and is answered by
    `input_audio_buffer.committed` after its events. Nothing is read while the model is behind.

    Raises:
        ApiError: a message is invalid, or none arrives for `stream_idle_s`.
    """
    segmenter = vad.Segmenter(is_live=True)
    while True:
        message = await next_message(socket, service)
        if message is None:
            return
        data = message.get("bytes")
        if data is not None:
            if len(data) % 2:
                raise ApiError(400, "A binary message must be 16-bit samples; this one has an odd number of bytes.")
            block = np.frombuffer(data, "<i2").astype(np.float32) / 32768
            ended = await service.run_in_thread(lambda: segmenter.feed(block))  # noqa: B023
        elif _is_commit(message.get("text") or ""):
            ended = segmenter.flush()
        else:
            raise ApiError(400, f'A text message must be {{"type": "{_COMMIT}"}}.')
        for first_sample, waveform in ended:
            segment = await service.transcribe_utterance(model, first_sample, waveform)
            if segment.text:
                await socket.send_json(delta_event(segment, False, with_times=False))
                await socket.send_json(done_event({"text": segment.text, **_times(segment)}))
        if data is None:
            await socket.send_json({"type": _COMMITTED})


def delta_event(segment: Segment, is_later: bool, *, with_times: bool) -> dict[str, Any]:
    """Return the event with a segment's text; the deltas of a recording, concatenated, are its text."""
    fields = {"type": "transcript.text.delta", "delta": (" " if is_later else "") + segment.text}
    return fields | (_times(segment) if with_times else {})


def done_event(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the event with the complete text."""
    return {"type": "transcript.text.done"} | fields


def _times(segment: Segment) -> dict[str, Any]:
    words = [
        {"word": w.text, "start": round(w.start_s, 3), "end": round(w.end_s, 3), "confidence": round(w.confidence, 4)}
        for w in segment.words
    ]
    return {"start": round(segment.start_s, 3), "end": round(segment.end_s, 3), "words": words}


def _is_commit(text: str) -> bool:
    try:
        fields = json.loads(text) if len(text) <= _MAX_TEXT_MESSAGE else None
    except ValueError:
        return False
    return isinstance(fields, dict) and fields.get("type") == _COMMIT
