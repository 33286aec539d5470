"""Live audio: 16-bit PCM comes in over a WebSocket, and each utterance goes out as text when a pause ends it."""

import asyncio
import json
from typing import Any

import numpy as np
from starlette.websockets import WebSocket

from asr_adapt.audio import SAMPLE_RATE_HZ, vad
from asr_adapt.records import Segment
from asr_adapt.serve.refusal import Refusal
from asr_adapt.serve.service import Served, Service

_SPEECH = 0.3  # as vad cuts recordings
_PAUSE = int(0.6 * SAMPLE_RATE_HZ) // vad.WINDOW  # windows
_MARGIN = int(0.3 * SAMPLE_RATE_HZ) // vad.WINDOW
_LONGEST = int(30 * SAMPLE_RATE_HZ) // vad.WINDOW
_FEWEST = 3  # windows of speech; fewer are a click
_LONGEST_MESSAGE = 256  # letters of text
_COMMIT = "input_audio_buffer.commit"
_COMMITTED = "input_audio_buffer.committed"


class Utterances:
    """Finds the utterances of live audio: each ends at a pause of 0.6 s, or after 30 s.

    Memory is that of an utterance; silence between them is dropped but for 0.3 s on either side.
    """

    def __init__(self) -> None:
        self._voice = vad.VoiceActivity()
        self._first = 0  # of the samples that are held
        self._held = np.zeros(0, np.float32)
        self._speech: list[bool] = []  # of the windows that are held

    def feed(self, block: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Return `(first sample, waveform)` of the utterances that end in a block, float32 (num_samples,), 16 kHz."""
        self._held = np.concatenate([self._held, block])
        ended = []
        for is_speech in (self._voice.probabilities(block) >= _SPEECH).tolist():
            self._speech.append(is_speech)
            if not any(self._speech):
                self._drop(max(0, len(self._speech) - _MARGIN))
            elif not any(self._speech[-_PAUSE:]) or len(self._speech) >= _LONGEST:
                ended += self._utterance(is_cut=any(self._speech[-_PAUSE:]))
        return ended

    def flush(self) -> list[tuple[int, np.ndarray]]:
        """Return the utterance that has not ended yet, if somebody is speaking, and begin anew."""
        ended = self._utterance(is_cut=True)
        self._drop(len(self._speech))
        return ended

    def _utterance(self, *, is_cut: bool) -> list[tuple[int, np.ndarray]]:
        """Take what is held up to 0.3 s after the last speech; all of it where the utterance is cut off."""
        spoken = [number for number, is_speech in enumerate(self._speech) if is_speech]
        windows = len(self._speech) if is_cut else spoken[-1] + 1 + _MARGIN
        found = (self._first, self._held[: windows * vad.WINDOW].copy())
        self._drop(windows)
        return [found] if len(spoken) >= _FEWEST else []

    def _drop(self, windows: int) -> None:
        self._first += windows * vad.WINDOW
        self._held, self._speech = self._held[windows * vad.WINDOW :], self._speech[windows:]


async def listen(socket: WebSocket, service: Service, served: Served) -> None:
    """Answer a WebSocket that was accepted, until it is closed.

    Binary messages are 16-bit little-endian PCM, 16 kHz, mono. For each utterance a `transcript.text.delta` goes out,
    then its `transcript.text.done`, which begins and ends at `start` and `end` seconds and has `words`. The text
    message `{"type": "input_audio_buffer.commit"}` ends an utterance at once and is answered by
    `input_audio_buffer.committed` after its events. Nothing more is read while the model is behind.

    Raises:
        Refusal: a message is neither, or none comes for `live_idle_s`.
    """
    utterances = Utterances()
    while True:
        try:
            message = await asyncio.wait_for(socket.receive(), service.limits.live_idle_s)
        except TimeoutError:
            raise Refusal(408, "Nothing came for too long.", code="request_timeout") from None
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes")
        if data is not None:
            if len(data) % 2:
                raise Refusal(400, "A binary message must be 16-bit samples; this one has an odd number of bytes.")
            block = np.frombuffer(data, "<i2").astype(np.float32) / 32768
            ended = await service.heard(lambda: utterances.feed(block))  # noqa: B023
        elif _is_commit(message.get("text") or ""):
            ended = utterances.flush()
        else:
            raise Refusal(400, f'A text message must be {{"type": "{_COMMIT}"}}.')
        for first_sample, waveform in ended:
            segment = await service.say(served, first_sample, waveform)
            if segment.text:
                await socket.send_json(delta(segment, False, with_times=False))
                await socket.send_json(done({"text": segment.text, **_times(segment)}))
        if data is None:
            await socket.send_json({"type": _COMMITTED})


def delta(segment: Segment, is_later: bool, *, with_times: bool) -> dict[str, Any]:
    """Return the event that brings a segment's text; the deltas of a recording together are its text."""
    fields = {"type": "transcript.text.delta", "delta": (" " if is_later else "") + segment.text}
    return fields | (_times(segment) if with_times else {})


def done(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the event that brings the whole."""
    return {"type": "transcript.text.done"} | fields


def _times(segment: Segment) -> dict[str, Any]:
    words = [
        {"word": w.text, "start": round(w.start_s, 3), "end": round(w.end_s, 3), "confidence": round(w.confidence, 4)}
        for w in segment.words
    ]
    return {"start": round(segment.start_s, 3), "end": round(segment.end_s, 3), "words": words}


def _is_commit(text: str) -> bool:
    try:
        fields = json.loads(text) if len(text) <= _LONGEST_MESSAGE else None
    except ValueError:
        return False
    return isinstance(fields, dict) and fields.get("type") == _COMMIT
