"""A server in a thread, for the tests that want a real one."""

import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
import uvicorn
from conftest import RATE_HZ

from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.records import Segment
from asr_adapt.serve import server
from asr_adapt.serve.app import create_app
from asr_adapt.serve.limits import Limits


@contextmanager
def running(
    loaders: Mapping[str, Callable[[], Transcriber]], limits: Limits | None = None, *, wait: bool = True, **more: Any
) -> Iterator[str]:
    """Run a server, and give its address; leave when it has drained."""
    limits = limits or Limits()
    app = create_app(loaders, limits=limits, **more)
    served = uvicorn.Server(server._config(app, limits))
    listening = server._listen("127.0.0.1", 0)
    thread = threading.Thread(target=served.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        until(lambda: served.started)
        if wait:
            until(lambda: httpx.get(f"{url}/ready").status_code == 200)
        yield url
    finally:
        served.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def until(holds: Callable[[], bool], timeout_s: float = 30) -> None:
    """Wait until something holds."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "condition not met in time"
        time.sleep(0.02)


def metric(url: str, name: str) -> float:
    """Return a metric of a server, summed over its labels."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def wav(waveform: np.ndarray, rate_hz: int = RATE_HZ, **more: str) -> bytes:
    """Return a waveform as a file."""
    file = io.BytesIO()
    soundfile.write(file, waveform, rate_hz, format=more.pop("format", "WAV"), **more)
    return file.getvalue()


def post(url: str, data: bytes, name: str = "a.wav", **fields: object) -> httpx.Response:
    """Ask for a transcription; `__` in a field's name stands for brackets."""
    named = {key.replace("__", "[]"): value for key, value in fields.items()}
    return httpx.post(f"{url}/v1/audio/transcriptions", files={"file": (name, data)}, data=named, timeout=120)


def problem(response: httpx.Response) -> dict:
    """Return the error of an answer, which must have OpenAI's shape."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return error


class Slow(Transcriber):
    """Reads when it may."""

    def __init__(self, phones: Transcriber) -> None:
        super().__init__(phones.model, precision="fp32")
        self.may, self.begun = threading.Event(), threading.Event()
        self.may.set()

    def read(self, *arguments: object) -> list[Segment]:  # type: ignore[override]
        self.begun.set()
        assert self.may.wait(60)
        return super().read(*arguments)  # type: ignore[arg-type]


def head(url: str, **headers: object) -> bytes:
    fields = {"Host": "localhost", "Content_Type": "multipart/form-data; boundary=b"} | headers
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"POST /v1/audio/transcriptions HTTP/1.1\r\n{lines}\r\n".encode()


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def start(*arguments: object, **environment: str) -> tuple[subprocess.Popen, str]:
    """Start `asr-adapt serve` at a free port; return it and its address."""
    command = [sys.executable, "-c", "from asr_adapt.cli import main; main()", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, *map(str, arguments)], stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    assert process.stderr
    line = process.stderr.readline()
    assert "http://" in line, line + process.stderr.read()
    return process, line.split()[0]
