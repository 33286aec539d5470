"""Live audio: an utterance ends at a pause, and its text goes out."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import RATE_HZ
from serving import metric, running, until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from asr_adapt import audio, bundled, corpora
from asr_adapt.audio import vad
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.serve.limits import Limits

SILENCE = np.zeros(RATE_HZ, np.float32)


@pytest.fixture(scope="module")
def spoken() -> list[np.ndarray]:
    """Three clips in which somebody speaks without a pause of 0.3 s."""
    clips = [audio.load(u.audio) for u in corpora.read(bundled.folder("demo"), "mi")[:30]]
    return [clip for clip in clips if len(list(cut(np.concatenate([SILENCE, clip, SILENCE]), 512))) == 1][:3]


@pytest.fixture(scope="module")
def address(phones: Transcriber) -> Iterator[str]:
    with running({"base": lambda: phones}, Limits(streams=2), api_keys=["key"]) as url:
        yield url


def cut(recording: np.ndarray, size: int) -> list[tuple[int, np.ndarray]]:
    utterances = vad.Segmenter(is_live=True)
    ended = [u for i in range(0, len(recording), size) for u in utterances.feed(recording[i : i + size])]
    return ended + utterances.flush()


def live(address: str, **more: object) -> ClientConnection:
    headers = {"Authorization": "Bearer key"} | more.pop("headers", {})  # type: ignore[operator]
    return connect(f"ws{address.removeprefix('http')}/v1/audio/stream", additional_headers=headers, **more)  # type: ignore[arg-type]


def pcm(waveform: np.ndarray) -> bytes:
    return (np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes()


@pytest.mark.parametrize("size", [160, 1600, 50_000])
def test_each_clip_between_pauses_is_an_utterance_with_its_own_samples(spoken: list[np.ndarray], size: int) -> None:
    recording = np.concatenate([part for clip in spoken for part in (SILENCE, clip)] + [SILENCE])
    found = cut(recording, size)
    assert len(found) == len(spoken) == 3
    end = 0
    for (first, waveform), clip in zip(found, spoken, strict=True):
        assert first >= end and abs(len(waveform) - len(clip)) < 1.2 * RATE_HZ
        end = first + len(waveform)
        np.testing.assert_array_equal(waveform, recording[first:end])


def test_silence_and_a_click_are_no_utterance_and_take_no_memory() -> None:
    recording = np.zeros(60 * RATE_HZ, np.float32)
    recording[RATE_HZ] = 1
    utterances = vad.Segmenter(is_live=True)
    assert [u for i in range(0, len(recording), 1600) for u in utterances.feed(recording[i : i + 1600])] == []
    assert len(utterances._held) < RATE_HZ and utterances.flush() == []


def test_speech_that_goes_on_is_cut_at_thirty_seconds(spoken: list[np.ndarray]) -> None:
    loud = np.concatenate([clip[np.abs(clip) > 0.01] for clip in spoken])
    endless = np.tile(loud, 1 + 70 * RATE_HZ // len(loud))
    assert max(len(waveform) for _, waveform in cut(endless, 8000)) <= 30 * RATE_HZ


def test_each_utterance_is_answered_when_its_pause_comes(
    address: str,
    phones: Transcriber,
    spoken: list[np.ndarray],
) -> None:
    recording = np.concatenate([part for clip in spoken for part in (SILENCE, clip)] + [SILENCE])
    heard = np.frombuffer(pcm(recording), "<i2").astype(np.float32) / 32768
    expected = [phones.transcribe((waveform, RATE_HZ)).text for _, waveform in cut(heard, 3200)]
    with live(address) as socket:
        for i in range(0, len(recording), 3200):
            socket.send(pcm(recording[i : i + 3200]))
        events = [json.loads(socket.recv(timeout=60)) for _ in range(2 * len(expected))]
        assert [event["type"] for event in events] == ["transcript.text.delta", "transcript.text.done"] * 3
        assert [event["text"] for event in events[1::2]] == [event["delta"] for event in events[::2]] == expected
        starts = [event["start"] for event in events[1::2]]
        assert starts == sorted(starts) and all(e["words"] for e in events[1::2])
        socket.send(pcm(spoken[0]))
        socket.send(json.dumps({"type": "input_audio_buffer.commit"}))
        rest = [json.loads(socket.recv(timeout=60))["type"] for _ in range(3)]
        assert rest == ["transcript.text.delta", "transcript.text.done", "input_audio_buffer.committed"]


def test_a_listener_that_falls_silent_is_sent_away(phones: Transcriber) -> None:
    with running({"base": lambda: phones}, Limits(stream_idle_s=0.3)) as url:
        with connect(f"ws{url.removeprefix('http')}/v1/audio/stream") as socket:
            assert json.loads(socket.recv(timeout=10))["error"]["code"] == "request_timeout"
        until(lambda: metric(url, "asr_live_streams") == 0)


def test_a_key_is_wanted_in_the_head_or_as_a_browser_gives_it(address: str) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        live(address, headers={"Authorization": "Bearer other"})
    protocols = ["realtime", "openai-insecure-api-key.key"]
    with live(address, headers={"Authorization": "x"}, subprotocols=protocols) as socket:
        assert socket.subprotocol == "realtime"


def test_pages_of_other_sites_are_refused(address: str) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        live(address, origin="https://a.example")
    with live(address, origin=address):
        pass


def test_the_surplus_and_an_unknown_model_are_told_why(address: str) -> None:
    with live(address), live(address), live(address) as third:
        assert json.loads(third.recv())["error"]["code"] == "server_busy"
        with pytest.raises(ConnectionClosed):
            third.recv()
    until(lambda: metric(address, "asr_live_streams") == 0)
    with connect(f"ws{address.removeprefix('http')}/v1/audio/stream?model=x",
                 additional_headers={"Authorization": "Bearer key"}) as socket:  # fmt: skip
        assert json.loads(socket.recv())["error"]["code"] == "model_not_found"
