"""OpenAI's realtime transcription events: clients of it work against the live stream."""

import base64
import json
from collections.abc import Iterator

import numpy as np
import openai
import pytest
import soxr
from conftest import RATE_HZ
from openai.types.realtime import (
    ConversationItemInputAudioTranscriptionCompletedEvent,
    ConversationItemInputAudioTranscriptionDeltaEvent,
    InputAudioBufferClearedEvent,
    InputAudioBufferCommittedEvent,
    RealtimeErrorEvent,
    RealtimeTranscriptionSessionCreateResponse,
)
from serving import running
from websockets.sync.client import ClientConnection, connect

from asr_adapt import audio, bundled, corpora
from asr_adapt.audio.resample import StreamResampler
from asr_adapt.inference.transcriber import Transcriber

KINDS = {
    "input_audio_buffer.committed": InputAudioBufferCommittedEvent,
    "input_audio_buffer.cleared": InputAudioBufferClearedEvent,
    "conversation.item.input_audio_transcription.delta": ConversationItemInputAudioTranscriptionDeltaEvent,
    "conversation.item.input_audio_transcription.completed": ConversationItemInputAudioTranscriptionCompletedEvent,
    "error": RealtimeErrorEvent,
}


@pytest.fixture(scope="module")
def url(phones: Transcriber) -> Iterator[str]:
    with running({"base": lambda: phones, "other": lambda: phones}) as address:
        yield address


@pytest.fixture(scope="module")
def recording() -> np.ndarray:
    """Two clips with silence around them, 24 kHz."""
    clips = [audio.load(u.audio) for u in corpora.read(bundled.folder("demo"), "mi")[:2]]
    silence = np.zeros(RATE_HZ, np.float32)
    return soxr.resample(np.concatenate([silence, clips[0], silence, clips[1], silence]), RATE_HZ, 24_000)


def session(url: str, query: str = "?intent=transcription") -> ClientConnection:
    return connect(f"ws{url.removeprefix('http')}/v1/realtime{query}")


def appended(waveform: np.ndarray, size: int = 4800) -> Iterator[str]:
    pcm = (np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes()
    for i in range(0, len(pcm), 2 * size):
        yield json.dumps(
            {"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm[i : i + 2 * size]).decode()}
        )


def received(socket: ClientConnection) -> dict:
    """Return the next event, which must fit OpenAI's type."""
    event = json.loads(socket.recv(timeout=60))
    if event["type"] in KINDS:
        KINDS[event["type"]].model_validate(event, strict=True)
    else:
        assert event["type"].endswith(("session.created", "session.updated", "transcription_session.updated"))
        RealtimeTranscriptionSessionCreateResponse.model_validate(event["session"], strict=True)
    return event


def commit(socket: ClientConnection) -> None:
    socket.send(json.dumps({"type": "input_audio_buffer.commit"}))


def test_each_pause_ends_an_item_with_its_transcript(url: str, recording: np.ndarray) -> None:
    with session(url) as socket:
        assert received(socket)["type"] == "session.created"
        for message in appended(recording):
            socket.send(message)
        commit(socket)
        events: list[dict] = []
        while sum(event["type"].endswith("completed") for event in events) < 2:
            events.append(received(socket))
        assert len(events) % 3 == 0
        items = [events[i : i + 3] for i in range(0, len(events), 3)]
        for number, (committed, delta, completed) in enumerate(items, start=1):
            assert committed["item_id"] == delta["item_id"] == completed["item_id"] == f"item_{number}"
            assert committed["previous_item_id"] == (f"item_{number - 1}" if number > 1 else None)
            assert delta["delta"] == completed["transcript"] != "" and completed["usage"]["seconds"] > 0


@pytest.mark.parametrize(
    "update",
    [
        {"type": "session.update", "session": {"type": "transcription", "audio": {"input": {
            "format": {"type": "audio/pcm", "rate": 24000}, "transcription": {"model": "other", "language": "mi"},
            "turn_detection": None}}}},
        {"type": "transcription_session.update", "session": {"input_audio_format": "pcm16", "turn_detection": None,
                                                            "input_audio_transcription": {"model": "other"}}},
    ],
)  # fmt: skip
def test_without_turn_detection_a_commit_ends_an_item(url: str, recording: np.ndarray, update: dict) -> None:
    with session(url) as socket:
        received(socket)
        socket.send(json.dumps(update))
        updated = received(socket)
        assert updated["type"] == update["type"] + "d"
        assert updated["session"]["audio"]["input"]["transcription"]["model"] == "other"
        assert updated["session"]["audio"]["input"]["turn_detection"] is None
        for message in appended(recording):
            socket.send(message)
        commit(socket)
        assert received(socket)["type"] == "input_audio_buffer.committed"
        deltas = [received(socket), received(socket)]
        completed = received(socket)
        assert "".join(delta["delta"] for delta in deltas) == completed["transcript"]
        commit(socket)
        assert received(socket)["error"]["code"] == "input_audio_buffer_commit_empty"
        for message in appended(np.zeros(24_000, np.float32)):
            socket.send(message)
        commit(socket)
        assert received(socket)["type"] == "input_audio_buffer.committed"
        assert received(socket)["transcript"] == ""


def test_a_buffer_can_be_cleared(url: str, recording: np.ndarray) -> None:
    with session(url) as socket:
        received(socket)
        for message in appended(recording[:36_000]):
            socket.send(message)
        socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
        assert received(socket)["type"] == "input_audio_buffer.cleared"
        commit(socket)
        assert received(socket)["error"]["code"] == "input_audio_buffer_commit_empty"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no json", "invalid_event"), ("[" * 100_000, "invalid_event"), ("[]", "invalid_event"),
        (b"\0\0", "invalid_event"), ('{"type": "response.create"}', "unknown_event"), ("{}", "unknown_event"),
        ('{"type": [1]}', "unknown_event"),
        ('{"type": "x", "event_id": "\\ud800"}', "unknown_event"),
        ('{"type": "input_audio_buffer.append"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "é"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "AA=="}', "invalid_value"),
        ('{"type": "session.update", "session": []}', "invalid_value"),
        ('{"type": "session.update", "session": {"type": "realtime"}}', "invalid_value"),
        ('{"type": "session.update", "session": {"input_audio_format": "g711_ulaw"}}', "invalid_value"),
        ('{"type": "session.update", "session": {"input_audio_transcription": {"model": "x"}}}', "model_not_found"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_and_the_session_continues(url: str, message: str | bytes, code: str) -> None:
    with session(url) as socket:
        received(socket)
        socket.send(message)
        error = received(socket)["error"]
        assert error["code"] == code
        socket.send(json.dumps({"type": "session.update", "event_id": "mine", "session": {"type": "transcription"}}))
        assert received(socket)["type"] == "session.updated"
        socket.send(json.dumps({"type": "x", "event_id": "mine"}))
        assert received(socket)["error"]["event_id"] == "mine"


def test_only_transcription_is_offered(url: str) -> None:
    for query, code in (("", "not_offered"), ("?intent=transcription&model=x", "model_not_found")):
        with session(url, query) as socket:
            assert received(socket)["error"]["code"] == code


def test_openai_s_client_works(url: str, recording: np.ndarray) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        for message in appended(recording):
            connection.send(json.loads(message))
        for event in connection:
            if event.type == "conversation.item.input_audio_transcription.completed":
                assert event.transcript
                break


def test_a_stream_is_resampled_as_one_signal(recording: np.ndarray) -> None:
    stream = StreamResampler(24_000)
    parts = [stream.feed(recording[i : i + 999]) for i in range(0, len(recording), 999)]
    whole = np.concatenate([*parts, stream.flush()])
    np.testing.assert_allclose(whole, soxr.resample(recording, 24_000, RATE_HZ, quality="HQ"), atol=1e-4)
