"""Connections: bounded heads, slow readers and senders, who is addressed, keys, full disks, and workers that die."""

import contextlib
import errno
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from conftest import RATE_HZ, say
from serving import Slow, connected, head, metric, open_files, post, problem, running, start, until, wav
from websockets.sync.client import connect

from asr_adapt import audio, bundled
from asr_adapt.errors import InputError
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.records import Segment
from asr_adapt.serve import server
from asr_adapt.serve.app import create_app
from asr_adapt.serve.limits import Limits

SMALL = Limits(upload_bytes=2**20, stall_s=5)
PATH = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def url(phones: Transcriber) -> Iterator[str]:
    with running({"base": lambda: phones}, SMALL) as address:
        yield address


@pytest.mark.parametrize("path", ["/health", PATH])
def test_a_head_of_many_small_fields_is_rejected(url: str, path: str) -> None:
    fields = "".join(f"X{number}: {number}\r\n" for number in range(10_000))
    with connected(url) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{fields}\r\n".encode())
        assert client.recv(4096).startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))
    few = {f"X{number}": "x" * 30 for number in range(300)}
    assert httpx.get(f"{url}/health", headers=few).status_code == 200
    assert httpx.get(f"{url}/health", headers=few | {f"Y{n}": "x" * 30 for n in range(300)}).status_code == 431


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_413_reaches_a_client_that_continues_to_send(url: str, connection: str) -> None:
    with connected(url) as client:
        client.sendall(head(url, Content_Length=10 * SMALL.upload_bytes, Connection=connection))
        for _ in range(9):
            time.sleep(0.05)
            client.sendall(b"-" * SMALL.upload_bytes)
        assert client.recv(4096).startswith(b"HTTP/1.1 413")
    assert httpx.get(f"{url}/health").status_code == 200


def test_a_client_that_does_not_read_loses_its_slot_at_the_deadline(phones: Transcriber) -> None:
    class Verbose(Transcriber):
        def read(self, pieces: list, decodes: object = None) -> list[Segment]:  # type: ignore[override]
            return [Segment("x" * 2**20, 0.0, 1.0, ()) for _ in pieces]

    speech = np.concatenate([say("abcde abc"), np.zeros(RATE_HZ, np.float32)])
    long = wav(np.tile(speech, 200), subtype="PCM_16")
    request = httpx.Request("POST", "http://x", files={"file": ("a", long)}, data={"stream": "true"})
    data = request.read()
    with running({"base": lambda: Verbose(phones.model, precision="fp32")}, Limits(request_s=4)) as url:
        with connected(url) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
            client.sendall(head(url, Content_Length=len(data), Content_Type=request.headers["content-type"]) + data)
            until(lambda: metric(url, "asr_requests_inside") == 1)
            until(lambda: metric(url, "asr_requests_inside") == 0)
            received = 0
            with contextlib.suppress(ConnectionResetError):
                while part := client.recv(2**16):
                    received += len(part)
        assert 0 < received < 50 * 2**20
        assert post(url, wav(say("ab"))).status_code == 200


def test_a_live_stream_queues_a_few_messages_and_no_more(
    phones: Transcriber, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[server.LiveProtocol] = []
    most = 0

    class Watched(server.LiveProtocol):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)
            opened.append(self)

        def data_received(self, data: bytes) -> None:
            nonlocal most
            super().data_received(data)
            most = max(most, self.queue.qsize())

    monkeypatch.setattr(server, "LiveProtocol", Watched)
    slow = Slow(phones)
    with running({"base": lambda: slow}) as url, connect(f"ws{url.removeprefix('http')}/v1/audio/stream") as live:
        slow.may.clear()
        slow.begun.clear()
        spoken = np.concatenate([audio.load(clips[0]), np.zeros(2 * RATE_HZ, np.float32)])
        live.send((spoken * 32767).astype("<i2").tobytes())
        assert slow.begun.wait(60)
        frame = b"\x82\x82" + bytes(6)  # one masked sample
        live.socket.settimeout(1)
        with contextlib.suppress(TimeoutError):
            for _ in range(1000):
                live.socket.sendall(frame * 2**13)
        assert 0 < most < 1000 and len(opened[0]._unparsed) < 2**19
        slow.may.set()
        live.socket.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example", 403), ("evil.example:8000", 403), ("localhost.evil.example", 403),
     ("127.0.0.1.evil.example", 403), ("localhost", 200), ("LOCALHOST.:80", 200), ("127.0.0.1", 200),
     ("[::1]:8000", 200), ("192.0.2.7:8000", 200)],
)  # fmt: skip
def test_the_host_must_be_an_address_or_a_name_of_the_server(url: str, host: str, status: int) -> None:
    answer = httpx.get(f"{url}/health", headers={"Host": host})
    assert answer.status_code == status
    assert status == 200 or problem(answer)["code"] == "host_not_allowed"


def test_more_hosts_are_allowed_when_the_server_is_told_so(phones: Transcriber) -> None:
    for allowed, host, status in (
        ("A.example", "a.example", 200),
        ("a.example", "b.example", 403),
        ("*", "b.c", 200),
    ):
        with running({"base": lambda: phones}, allowed_hosts=[allowed], wait=False) as url:
            assert httpx.get(f"{url}/health", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [("localhost", "http://localhost", 101), ("evil.example", "http://evil.example", 403), ("localhost", "null", 403),
     ("localhost", "http://evil.example", 403), ("127.0.0.1", "http://localhost", 403)],
)  # fmt: skip
def test_a_live_stream_checks_host_and_origin(url: str, host: str, origin: str, status: int) -> None:
    request = (
        f"GET /v1/audio/stream HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\nUpgrade: "
        "websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with connected(url) as client:
        client.sendall(request.encode())
        assert client.recv(4096).startswith(f"HTTP/1.1 {status}".encode())


def test_a_full_disk_is_507_and_leaves_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    large = wav(np.zeros(10 * RATE_HZ, np.float32), subtype="PCM_16")
    assert post(url, large).status_code == 200
    before = open_files()
    with monkeypatch.context() as patch:
        patch.setattr(tempfile.SpooledTemporaryFile, "write", full)
        for _ in range(3):
            answer = post(url, large)
            assert answer.status_code == 507 and problem(answer)["code"] == "no_space"
            assert answer.headers["Retry-After"]
    assert "No space left" in caplog.text
    until(lambda: open_files() <= before)


@pytest.mark.parametrize("key", ["ключ", "k\udcffy", "a-b_c"])
def test_a_key_is_compared_as_bytes(phones: Transcriber, key: str) -> None:
    with running({"base": lambda: phones}, api_keys=[key]) as url:
        given = b"Bearer " + os.fsencode(key)
        assert httpx.get(f"{url}/v1/models", headers={"Authorization": given}).status_code == 200
        for wrong in (given[:-1], given + b"\xff", b"Bearer \xff\xfe", b"Bearer", b"\xe9", b"Bearer x" * 99):
            assert httpx.get(f"{url}/v1/models", headers={"Authorization": wrong}).status_code == 401


def test_blank_keys_are_rejected_before_anything_starts() -> None:
    assert server.parse_api_keys(["a"], None) == ("a",) and server.parse_api_keys([], " b  c ") == ("b", "c")
    assert server.parse_api_keys([], None) == ()
    for options, environment in (([""], None), (["a", " "], None), ([], ""), (["a"], " \n"), (["a b"], None)):
        with pytest.raises(InputError, match=r"blank|white space"):
            server.parse_api_keys(options, environment)
    with pytest.raises(ValueError, match="blank"):
        create_app({}, api_keys=[""])


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_all_end_with_their_parent() -> None:
    process, url = start("--model", f"base={bundled.folder('base')}", "--workers", 2)
    try:
        until(lambda: _is_ready(url), 120)
        parent = psutil.Process(process.pid)
        workers = [child for child in parent.children() if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
        with connect(f"ws{url.removeprefix('http')}/v1/audio/stream"):
            until(lambda: metric(url, "asr_live_streams") == 1)
            for worker in workers:
                worker.send_signal(signal.SIGKILL)
        until(lambda: metric(url, "asr_live_streams") == 0 if _is_ready(url) else False, 120)
        replaced = [child for child in parent.children() if "spawn_main" in " ".join(child.cmdline())]
        assert {child.pid for child in replaced}.isdisjoint(child.pid for child in workers)
        process.kill()
        assert process.stderr
        log = process.stderr.read()  # ends when the last worker has
        assert log.count("ended with exit code -9") == 2 and log.count("the parent process is gone") == 2
        assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in replaced)
    finally:
        process.kill()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
