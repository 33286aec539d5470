"""Soak test of the server: valid and hostile clients at once, for minutes.

    python benchmarks/soak.py --minutes 10 --workers 2
    python benchmarks/soak.py --minutes 10 --model runs/x/model

Every valid answer must be the text that the same clip had when nothing else ran (in fp32, as the bundled model runs,
a text does not depend on what shares its batch), every hostile one must be rejected with its status, and afterwards
open files and temporary files must be what they were. The memory's plateau is printed. The exit code is 1 where
something is wrong.
"""

import contextlib
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import av
import httpx
import numpy as np
import psutil
import typer
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from asr_adapt import audio, bundled, corpora

_PATH = "/v1/audio/transcriptions"
_KEY = "soak"
_HEADERS = {"Authorization": f"Bearer {_KEY}"}
_BUSY = frozenset({429, 503})
_SAMPLE_EVERY_S = 2.0
_SETTLE_S = 45.0  # lingering connections are closed by then


@dataclass
class Soak:
    """What the clients share, and what they have seen."""

    url: str
    clips: list[bytes]
    texts: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def post(self, file: bytes, **fields: str) -> httpx.Response:
        """Request a transcript."""
        form = {"file": ("a", file)}
        return httpx.post(self.url + _PATH, files=form, data=fields, headers=_HEADERS, timeout=120)

    def check(self, what: str, holds: bool, shown: object) -> None:
        """Count an answer, and keep a wrong one."""
        self.done[what] += 1
        if not holds:
            self.wrong.append(f"{what}: {str(shown)[:300]}")


def valid(soak: Soak, rng: random.Random) -> None:
    """Request a transcript of a clip in some format."""
    number = rng.randrange(len(soak.clips))
    form = rng.choice(["json", "verbose_json", "text"])
    answer = soak.post(soak.clips[number], response_format=form)
    if answer.status_code in _BUSY:
        soak.done["busy"] += 1
        return
    text = answer.text.removesuffix("\n") if form == "text" else answer.json().get("text")
    soak.check("transcript", answer.status_code == 200 and text == soak.texts[number], answer.text)


def streamed(soak: Soak, rng: random.Random) -> None:
    """Request a transcript as events."""
    number = rng.randrange(len(soak.clips))
    answer = soak.post(soak.clips[number], stream="true")
    if answer.status_code in _BUSY:
        soak.done["busy"] += 1
        return
    data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    soak.check("events", bool(data) and json.loads(data[-1]).get("text") == soak.texts[number], answer.text)


def live(soak: Soak, rng: random.Random) -> None:
    """Send a clip as live audio, and commit it."""
    samples = audio.load(io.BytesIO(rng.choice(soak.clips)))
    pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    with connect(f"ws{soak.url.removeprefix('http')}/v1/audio/stream", additional_headers=_HEADERS) as opened:
        for i in range(0, len(pcm), 6400):
            opened.send(pcm[i : i + 6400])
        opened.send(json.dumps({"type": "input_audio_buffer.commit"}))
        while (event := json.loads(opened.recv(timeout=120)))["type"].startswith("transcript.text"):
            pass
        is_busy = event.get("error", {}).get("code") == "server_busy"
        soak.check("live", is_busy or event["type"] == "input_audio_buffer.committed", event)


def hostile_live(soak: Soak, rng: random.Random) -> None:
    """Send nonsense over a live socket, or fall silent."""
    path = rng.choice(["/v1/audio/stream", "/v1/realtime?intent=transcription"])
    with connect(f"ws{soak.url.removeprefix('http')}{path}", additional_headers=_HEADERS) as opened:
        for _ in range(20):
            message: Any = rng.choice([rng.randbytes(rng.randrange(1, 5000)), "[" * 5000, "{}", b""])
            opened.send(message)
    soak.done["hostile live"] += 1


def surround(soak: Soak, rng: random.Random) -> None:
    """Send 7.1 sound."""
    answer = soak.post(rng.choice(_SURROUND))
    soak.check("7.1", answer.status_code in {200, 400, *_BUSY}, answer.text)


def no_audio(soak: Soak, rng: random.Random) -> None:
    """Send what is no audio, or is damaged."""
    clip = rng.choice(soak.clips)
    cut = rng.randrange(len(clip))
    data = rng.choice([b"", rng.randbytes(5000), clip[:cut], clip[:cut] + rng.randbytes(100) + clip[cut + 100 :]])
    answer = soak.post(data)
    soak.check("damaged", answer.status_code in {200, 400, *_BUSY}, answer.text)


def bad_form(soak: Soak, rng: random.Random) -> None:
    """Send a damaged multipart body."""
    body = bytearray(b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nRIFF\r\n--b--\r\n')
    for _ in range(rng.randrange(1, 5)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    headers = _HEADERS | {"Content-Type": "multipart/form-data; boundary=b"}
    answer = httpx.post(soak.url + _PATH, content=bytes(body), headers=headers, timeout=60)
    soak.check("bad form", answer.status_code in {400, *_BUSY}, answer.text)


def wrong_key(soak: Soak, rng: random.Random) -> None:
    """Use a wrong key."""
    key = rng.choice([b"", b"Bearer", b"Bearer \xff", b"Bearer " + rng.randbytes(9).hex().encode()])
    answer = httpx.get(f"{soak.url}/v1/models", headers={b"Authorization": key})
    soak.check("wrong key", answer.status_code == 401, answer.text)


def huge_head(soak: Soak, rng: random.Random) -> None:
    """Send a head that is too large, in many fields or in one."""
    many = "".join(f"X{number}: {number}\r\n" for number in range(rng.randrange(2000, 9000)))
    field_lines = rng.choice([many, f"X: {'x' * rng.randrange(20_000, 200_000)}\r\n"])
    with socket.create_connection(soak.address, timeout=30) as client:
        answer = b""
        with contextlib.suppress(ConnectionError):  # a head that is cut short resets the connection
            client.sendall(f"GET /health HTTP/1.1\r\nHost: localhost\r\n{field_lines}\r\n".encode())
            answer = client.recv(1000)
        soak.check("huge head", answer[:12] in {b"", b"HTTP/1.1 431", b"HTTP/1.1 400"}, answer)


def too_large(soak: Soak, rng: random.Random) -> None:
    """Declare a body of a terabyte, and send on after the answer."""
    with socket.create_connection(soak.address, timeout=30) as client:
        client.sendall(_head(2**40))
        with contextlib.suppress(ConnectionError):
            for _ in range(10):
                client.sendall(bytes(2**16))
        answer = client.recv(1000)
        soak.check("too large", answer[:12] in {b"HTTP/1.1 413", b"HTTP/1.1 429"}, answer)


def aborted(soak: Soak, rng: random.Random) -> None:
    """Leave in the middle of an upload, or right after it."""
    request = httpx.Request("POST", soak.url, files={"file": ("a", rng.choice(soak.clips))})
    data = request.read()
    with socket.create_connection(soak.address, timeout=30) as client:
        client.sendall(_head(len(data), request.headers["content-type"]))
        client.sendall(data[: rng.choice([len(data) // 2, len(data)])])
        time.sleep(rng.random())
    soak.done["aborted"] += 1


def slow_reader(soak: Soak, rng: random.Random) -> None:
    """Ask for everything, and do not read."""
    data = {"response_format": "verbose_json", "include[]": "files", "stream": "true"}
    request = httpx.Request("POST", soak.url, files={"file": ("a", rng.choice(soak.clips))}, data=data)
    body = request.read()
    with socket.create_connection(soak.address, timeout=30) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.sendall(_head(len(body), request.headers["content-type"]) + body)
        soak.over.wait(10)
    soak.done["slow reader"] += 1


def _head(length: int, content_type: str = "multipart/form-data; boundary=b") -> bytes:
    return (f"POST {_PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {_KEY}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n").encode()  # fmt: skip


def _surround(container: str, codec: str) -> bytes:
    """Return a second of noise in eight channels."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=48_000, layout="7.1")
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, (1, 8 * 48_000)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(noise, format="flt", layout="7.1")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="7.1", rate=48_000)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()


_SURROUND = [_surround("ipod", "aac"), _surround("flac", "flac")]
_HOSTILE: Sequence[Callable[[Soak, random.Random], None]] = (
    hostile_live, surround, no_audio, bad_form, wrong_key, huge_head, too_large, aborted, slow_reader,
)  # fmt: skip


def _work(soak: Soak, seed: int, choices: Sequence[Callable[[Soak, random.Random], None]]) -> None:
    rng = random.Random(seed)
    while not soak.over.is_set():
        client = rng.choice(choices)
        try:
            client(soak, rng)
        except (httpx.TransportError, OSError, WebSocketException) as error:
            # The server closes on hostile clients; valid ones are always answered.
            soak.check(f"{client.__name__} interrupted", client in _HOSTILE, repr(error))


def _tree(process: psutil.Process) -> tuple[float, int]:
    """Return memory in MB and open files of a process and its children."""
    memory, files = 0.0, 0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            memory += each.memory_info().rss / 2**20
            files += each.num_fds()
    return memory, files


def main(
    minutes: Annotated[float, typer.Option(help="How long.")] = 10,
    workers: Annotated[int, typer.Option(help="Worker processes of the server.")] = 2,
    model: Annotated[str, typer.Option(help="Model folder; default: the bundled one.")] = "",
    seed: Annotated[int, typer.Option(help="Of the clients' choices.")] = 0,
) -> None:
    """Run the soak."""
    folder = model or str(bundled.folder("base_small"))
    recordings = [bundled_clip for bundled_clip in corpora.read(bundled.folder("demo"), "mi")][:12]
    clips = [Path(utterance.audio).read_bytes() for utterance in recordings]
    with tempfile.TemporaryDirectory() as temporary:
        command = [
            sys.executable,
            "-c",
            "from asr_adapt.cli import main; main()",
            "serve",
            "--model",
            f"base={folder}",
        ]
        server = subprocess.Popen(
            [*command, "--port", "0", "--workers", str(workers), "--api-key", _KEY, "--max-requests", "8"],
            stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": temporary},
        )  # fmt: skip
        assert server.stderr
        log = [server.stderr.readline()]
        soak = Soak(log[0].split()[0], clips)
        threading.Thread(target=lambda: log.extend(server.stderr or ()), daemon=True).start()
        try:
            failures = _soak(soak, server, Path(temporary), minutes, seed, workers)
        finally:
            server.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(60)
            server.kill()
        left = sorted(path.name for path in Path(temporary).iterdir() if not path.name.startswith("torchinductor_"))
        failures += [f"left in the folder for temporary files: {left}"] if left else []
        failures += [f"log: {line.strip()}" for line in log if "Traceback" in line or "ended with exit code" in line]
    for failure in failures:
        print("WRONG", failure)
    raise SystemExit(1 if failures else 0)


def _soak(
    soak: Soak, server: subprocess.Popen[str], temporary: Path, minutes: float, seed: int, workers: int
) -> list[str]:
    process = psutil.Process(server.pid)
    while True:
        with contextlib.suppress(httpx.TransportError):
            if all(httpx.get(f"{soak.url}/ready").status_code == 200 for _ in range(10 * workers)):
                break
        time.sleep(1)
    soak.texts = [soak.post(clip).json()["text"] for clip in soak.clips]
    with ThreadPoolExecutor(8) as pool:  # so that each worker has started its decoders
        list(pool.map(soak.post, soak.clips * 4 * workers))
    _HOSTILE[0](soak, random.Random(seed))  # opens what is opened once
    live(soak, random.Random(seed))
    memory, files_before = _tree(process)
    temporary_before = sorted(path.name for path in temporary.rglob("*") if path.suffix != ".db")
    print(f"{len(soak.clips)} clips, {workers} workers, {memory:.0f} MB, {files_before} open files at the start")
    plans = [[valid, streamed], [valid, live], [valid], *[_HOSTILE] * 4]
    threads = [threading.Thread(target=_work, args=(soak, seed + n, plan)) for n, plan in enumerate(plans)]
    for thread in threads:
        thread.start()
    samples = []
    end_s = time.monotonic() + 60 * minutes
    while time.monotonic() < end_s:
        time.sleep(_SAMPLE_EVERY_S)
        samples.append(_tree(process)[0])
    soak.over.set()
    for thread in threads:
        thread.join()
    quarters = [max(part) for part in np.array_split(samples, 4)]
    print("memory, highest of each quarter (MB): " + ", ".join(f"{value:.0f}" for value in quarters))
    print("answers: " + ", ".join(f"{name} {count}" for name, count in sorted(soak.done.items())))
    deadline_s = time.monotonic() + _SETTLE_S
    while (files := _tree(process)[1]) > files_before and time.monotonic() < deadline_s:
        time.sleep(1)
    memory = _tree(process)[0]
    print(f"afterwards: {memory:.0f} MB, {files} open files")
    failures = list(soak.wrong)
    if files > files_before:
        failures.append(f"{files} open files, {files_before} before")
    if (found := sorted(path.name for path in temporary.rglob("*") if path.suffix != ".db")) != temporary_before:
        failures.append(f"temporary files {found}, before {temporary_before}")
    if httpx.get(f"{soak.url}/health").status_code != 200:
        failures.append("not healthy")
    if [soak.post(clip).json()["text"] for clip in soak.clips] != soak.texts:
        failures.append("other texts than before")
    return failures


if __name__ == "__main__":
    typer.run(main)
