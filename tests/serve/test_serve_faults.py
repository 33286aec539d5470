"""The server's faults: what is sent is bad, too much, too slow or gone, and the server stays as it was."""

import contextlib
import io
import json
import struct
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import soundfile
from conftest import RATE_HZ, say
from serving import Slow, connected, head, metric, open_files, post, problem, running, until, wav

from asr_adapt.audio import decode_pool, vad
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.serve.batcher import Batcher
from asr_adapt.serve.limits import Limits

SMALL = Limits(upload_bytes=2**20, field_bytes=1000, audio_s=20, requests=4, stall_s=0.5, head_s=0.5)
PATH = "/v1/audio/transcriptions"

pytestmark = pytest.mark.usefixtures("tones_are_speech")


@pytest.fixture(scope="module")
def url(phones: Transcriber) -> Iterator[str]:
    with running({"base": lambda: phones}, SMALL) as address:
        yield address


@pytest.fixture(autouse=True)
def well(url: str) -> Iterator[None]:
    """After each fault the server is alive, and nobody is in."""
    yield
    until(lambda: metric(url, "asr_requests_inside") == 0 and metric(url, "asr_queue_audio_seconds") < 1e-6)
    assert httpx.get(f"{url}/health").status_code == 200
    assert post(url, wav(say("ab"))).status_code == 200


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 5000, b"no audio at all", b"RIFF\xff\xff\xff\xffWAVEfmt ", b"fLaC" * 99]
)
def test_what_is_no_audio_is_400(url: str, data: bytes) -> None:
    answer = post(url, data)
    assert answer.status_code == 400
    assert problem(answer)["code"] == "invalid_audio" and problem(answer)["param"] == "file"


def test_a_forged_length_is_read_to_the_end_and_a_forged_rate_is_refused(url: str) -> None:
    honest = wav(say("ab"), subtype="PCM_16")
    forged_length = honest[:40] + struct.pack("<I", 2**32 - 1) + honest[44:]
    assert post(url, forged_length).status_code == 200
    for rate in (0, 1, 2**32 - 1):
        answer = post(url, honest[:24] + struct.pack("<I", rate) + honest[28:])
        assert answer.status_code == 400 and problem(answer)["code"] == "invalid_audio"


def test_a_decoder_that_crashes_costs_its_request_only(url: str) -> None:
    assert post(url, wav(say("ab"))).status_code == 200
    decoders = [child for child in psutil.Process().children() if "asr_adapt.audio.decode_pool" in child.cmdline()]
    assert decoders
    for decoder in decoders:
        decoder.suspend()
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(post, url, wav(say("ab")))
        until(lambda: metric(url, "asr_requests_inside") == 1)
        time.sleep(0.5)  # it is given to a decoder
        for decoder in decoders:
            decoder.kill()
        answer = asked.result()
    assert answer.status_code == 400 and "the decoder crashed" in problem(answer)["message"]
    assert post(url, wav(say("ab"))).status_code == 200


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\0b.wav", "x" * 3000 + ".wav", "ŋ/–.wav", "", "C:\\a.wav"])
def test_a_file_name_is_no_path(url: str, name: str) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + name.encode()
    body += b'"\r\n\r\n' + wav(say("ab")) + b"\r\n--b--\r\n"
    answer = httpx.post(url + PATH, content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code in {200, 400}
    assert answer.status_code == 200 or problem(answer)


def test_a_name_of_ten_kilobytes_is_refused(url: str) -> None:
    assert post(url, wav(say("ab")), "x" * 10_000).status_code == 400


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
@pytest.mark.parametrize(
    ("format", "subtype"), [("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", "PCM_16")]
)
def test_every_common_kind_of_audio_is_heard(url: str, rate_hz: int, format: str, subtype: str) -> None:
    stereo = np.random.default_rng(0).uniform(-0.1, 0.1, (rate_hz, 2))
    file = io.BytesIO()
    soundfile.write(file, stereo, rate_hz, format=format, subtype=subtype)
    answer = post(url, file.getvalue(), response_format="verbose_json")
    assert answer.status_code == 200 and answer.json()["duration"] == pytest.approx(1, abs=0.01)


def test_silence_has_no_text_and_is_no_error(url: str) -> None:
    answer = post(url, wav(np.zeros(300)), response_format="verbose_json")
    assert answer.status_code == 200 and answer.json()["text"] == "" and answer.json()["segments"] == []


def test_a_body_that_says_it_is_too_long_is_refused_before_it_comes(url: str) -> None:
    with connected(url) as client:
        client.sendall(head(url, Content_Length=2**40))
        assert client.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_chunked_body_is_refused_when_it_gets_too_long(url: str) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        while True:
            sent += 2**16
            yield b"\0" * 2**16

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    try:
        answer = httpx.post(url + PATH, content=endless(), headers=headers, timeout=20)
        assert answer.status_code == 413 and problem(answer)["code"] == "body_too_large"
    except httpx.TransportError:  # it goes on sending until the connection is closed, and may miss the answer
        pass
    assert sent < 2**30


def test_fields_are_bounded_in_size_and_number(url: str) -> None:
    assert post(url, wav(say("ab")), prompt="a" * 1001).status_code == 400
    assert post(url, wav(say("ab")), **{f"f{number}": "x" for number in range(40)}).status_code == 400


def test_a_head_of_a_megabyte_is_refused(url: str) -> None:
    with connected(url) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\nX: {'x' * 2**20}".encode()[: 2**18])
        assert client.recv(4096).startswith(b"HTTP/1.1 400")


def test_a_decompression_bomb_ends_at_the_limit_of_seconds(url: str) -> None:
    bomb = wav(np.zeros(3600 * RATE_HZ, np.float32), format="FLAC", subtype="PCM_16")
    assert len(bomb) < 2**20
    answer = post(url, bomb)
    assert answer.status_code == 413 and problem(answer)["code"] == "audio_too_long"
    assert post(url, wav(np.zeros(20 * RATE_HZ), format="FLAC", subtype="PCM_16")).status_code == 200


def test_a_sender_who_stops_or_trickles_is_sent_away(url: str) -> None:
    with connected(url) as client:
        client.sendall(head(url, Content_Length=1000) + b"--b\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 408")
    with connected(url) as client:
        client.sendall(head(url, Content_Length=1000))
        client.sendall(b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n')
        client.settimeout(0.2)
        answer = b""
        for _ in range(50):
            client.sendall(b"-")
            try:
                answer += client.recv(4096)
                break
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408")


def test_a_body_that_keeps_coming_has_the_request_s_time(phones: Transcriber) -> None:
    with running({"base": lambda: phones}, Limits(request_s=1)) as url, connected(url) as client:
        client.sendall(head(url, Content_Length=10**7))
        client.sendall(b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n')
        began, answer = time.monotonic(), b""
        client.settimeout(0.05)
        while not answer and time.monotonic() - began < 8:
            client.sendall(b"-" * 10_000)
            with contextlib.suppress(TimeoutError):
                answer = client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 408")


def test_a_head_that_does_not_come_closes_the_connection(url: str) -> None:
    with connected(url) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost:")
        assert client.recv(4096) == b""
    with connected(url) as client:
        assert client.recv(4096) == b""


def test_a_client_that_leaves_frees_its_place(phones: Transcriber) -> None:
    slow = Slow(phones)
    with running({"base": lambda: slow}, SMALL) as url:
        slow.may.clear()
        body = httpx.Request("POST", url, files={"file": ("a.wav", wav(say("ab")))})
        data = body.read()
        leaving = []
        for _ in range(SMALL.requests):
            client = connected(url)
            client.sendall(head(url, Content_Length=len(data), Content_Type=body.headers["content-type"]) + data)
            leaving.append(client)
        until(lambda: metric(url, "asr_requests_inside") == SMALL.requests)
        refused = post(url, wav(say("ab")))
        assert refused.status_code == 429 and problem(refused)["type"] == "rate_limit_error"
        assert int(refused.headers["Retry-After"]) >= 1
        for client in leaving:
            client.close()
        until(lambda: metric(url, "asr_requests_inside") == 0)
        slow.may.set()
        assert post(url, wav(say("ab"))).status_code == 200


def test_a_listener_who_leaves_a_stream_frees_its_place(phones: Transcriber) -> None:
    slow = Slow(phones)
    long = wav(np.tile(np.concatenate([say("abcde abc"), np.zeros(RATE_HZ, np.float32)]), 20), subtype="PCM_16")
    limits = Limits(decode_ahead_s=0.0, batch_s=1)
    with running({"base": lambda: slow}, limits) as url:
        slow.begun.clear()
        with httpx.stream("POST", url + PATH, files={"file": ("a.wav", long)}, data={"stream": "true"}) as answer:
            next(answer.iter_lines(), None)
        until(lambda: metric(url, "asr_requests_inside") == 0)
        assert post(url, wav(say("ab"))).status_code == 200


def test_one_that_takes_too_long_is_told_so(phones: Transcriber) -> None:
    slow = Slow(phones)
    with running({"base": lambda: slow}, Limits(request_s=0.5)) as url:
        slow.may.clear()
        answer = post(url, wav(say("ab")))
        assert answer.status_code == 503 and problem(answer)["code"] == "timeout" and answer.headers["Retry-After"]
        slow.may.set()
        until(lambda: post(url, wav(say("ab"))).status_code == 200)


def test_a_server_too_busy_to_start_a_decoder_says_so_and_blames_no_file(
    phones: Transcriber, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running({"base": lambda: phones}, Limits()) as url:
        with monkeypatch.context() as patch:
            patch.setattr(decode_pool, "_START_S", 0.01)
            answer = post(url, clips[0].read_bytes())
        assert answer.status_code == 503 and answer.headers["Retry-After"] == "30"
        assert problem(answer)["code"] == "busy"
        assert post(url, clips[0].read_bytes()).status_code == 200


def test_a_hundred_clients_get_the_answers_of_one_and_the_surplus_429(
    phones: Transcriber,
    clips: list[Path],
) -> None:
    slow = Slow(phones)
    data = [clip.read_bytes() for clip in clips]
    serial = [phones.transcribe(item).text for item in data]
    with running({"base": lambda: slow}, Limits(requests=64)) as url, ThreadPoolExecutor(100) as pool:
        slow.may.clear()
        asked = [pool.submit(post, url, data[number % len(data)]) for number in range(100)]
        until(lambda: metric(url, "asr_requests_inside") == 64)
        until(lambda: sum(answer.done() for answer in asked) == 36)
        slow.may.set()
        answers = [answer.result() for answer in asked]
        assert Counter(answer.status_code for answer in answers) == {200: 64, 429: 36}
        for number, answer in enumerate(answers):
            if answer.status_code == 200:
                assert answer.json()["text"] == serial[number % len(data)]
        assert metric(url, "asr_batch_pieces_sum") > 2 * metric(url, "asr_batch_pieces_count"), "they ran together"


def test_what_was_sent_is_closed_and_forgotten(phones: Transcriber) -> None:
    with running({"base": lambda: phones}, Limits(audio_s=20)) as url:
        bodies = [
            wav(np.zeros(60 * RATE_HZ, np.float32), subtype="PCM_16"),  # too long, and on disk
            wav(np.zeros(15 * RATE_HZ, np.float32), subtype="FLOAT"),
            b"\0" * 2**21,
        ]
        statuses = [post(url, body).status_code for body in bodies]
        assert statuses == [413, 200, 400]
        before = open_files()
        for number in range(30):
            post(url, bodies[number % 3], temperature="hot" if number > 20 else "0")
        until(lambda: open_files() <= before + 3)


def test_json_that_is_deep_or_odd_ends_a_live_stream_alone(url: str) -> None:
    from websockets.sync.client import connect

    for bad in ("[" * 100_000, "{}", "x", b"\0"):
        with connect(f"ws{url.removeprefix('http')}/v1/audio/stream") as live:
            live.send(bad)
            assert json.loads(live.recv())["type"] == "error"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), MemoryError(), OSError(28, "No space left")])
def test_a_model_that_fails_to_load_is_logged_with_traceback_and_is_unhealthy(
    phones: Transcriber, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def load() -> Transcriber:
        raise error

    with running({"base": lambda: phones, "other": load}, wait=False) as url:
        until(lambda: httpx.get(f"{url}/health").status_code == 503)
        assert httpx.get(f"{url}/ready").status_code == 503
        assert post(url, wav(say("ab")), model="other").status_code == 503
    assert "model 'other' cannot be loaded" in caplog.text and "Traceback" in caplog.text


def test_a_crash_of_the_batcher_is_a_503_and_unhealthy(
    phones: Transcriber, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running({"base": lambda: phones}) as url:
        monkeypatch.setattr(Batcher, "_next_batch", lambda _: 1 / 0)
        for _ in range(2):
            answer = post(url, wav(say("ab")))
            assert answer.status_code == 503 and problem(answer)["code"] == "model_failed"
        assert httpx.get(f"{url}/health").status_code == httpx.get(f"{url}/ready").status_code == 503
        assert "batching ended: ZeroDivisionError" in caplog.text


def test_a_crash_in_a_live_stream_is_logged_and_ends_it_alone(
    phones: Transcriber, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from websockets.exceptions import ConnectionClosedError
    from websockets.sync.client import connect

    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    with running({"base": lambda: phones}) as url:
        with connect(f"ws{url.removeprefix('http')}/v1/audio/stream") as socket:
            monkeypatch.setattr(vad.Segmenter, "feed", fail)
            socket.send(bytes(3200))
            assert json.loads(socket.recv(timeout=10))["error"]["code"] == "internal_error"
            with pytest.raises(ConnectionClosedError) as closed:
                socket.recv(timeout=10)
            assert closed.value.rcvd and closed.value.rcvd.code == 1011
        until(lambda: metric(url, "asr_live_streams") == 0)
        assert httpx.get(f"{url}/health").status_code == 200
    assert "RuntimeError" in caplog.text and "secret" not in caplog.text
