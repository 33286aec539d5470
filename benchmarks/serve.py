"""Serving speed against a plain FastAPI app that calls transformers' pipeline under a lock, with the same weights.

    python benchmarks/serve.py --corpus CORPUS                          # random weights, wav2vec2-base's shape
    python benchmarks/serve.py --corpus CORPUS --model runs/x/model --seconds 60

1, 8 and 32 clients send clips of 2 to 8 s one after another, then one client sends a long recording while 8 others
send clips. Then clips arrive at ten times the rate that the server sustained (open loop). Request bodies are built
beforehand. Each server runs in its own process, interleaved.
"""

import asyncio
import functools
import io
import multiprocessing
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import soundfile
import typer
from transcribe import _write_base_shape

from asr_adapt import audio, corpora
from asr_adapt.inference import engines
from asr_adapt.inference.transcriber import Transcriber

_CLIP_S = (2.0, 8.0)
_LONG_S = 300.0
_PATH = "/v1/audio/transcriptions"


@dataclass
class Load:
    """What the clients measured in one scenario."""

    wall_s: float = 0.0
    audio_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    refusals_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Seconds of audio transcribed per second."""
        return self.audio_s / self.wall_s

    def line(self) -> str:
        """Return a table row."""
        p50, p95, p99 = (_percentile(self.latencies_s, share) for share in (0.5, 0.95, 0.99))
        wrong = ", ".join(f"{count} × {name}" for name, count in self.errors.items()) or "none"
        return f"{self.rate:9.1f}{p50:9.2f}{p95:9.2f}{p99:9.2f}{len(self.latencies_s):8}  {wrong}"


def main(
    corpus: Annotated[Path, typer.Option(help="Corpus folder or manifest; its test split is sent.")],
    model: Annotated[Path | None, typer.Option(help="Model folder; default: random weights.")] = None,
    seconds: Annotated[float, typer.Option(help="Seconds per scenario.")] = 30.0,
    rounds: Annotated[int, typer.Option(help="Rounds; each server runs once in a round.")] = 1,
    engine: Annotated[str, typer.Option(help="Engine of our server.")] = engines.TORCH,
) -> None:
    """Load both servers in turn and print throughput and latency."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = model or _write_base_shape(Path(scratch) / "base")
        clips = list(_clips(corpus))
        print(f"{len(clips)} clips, {statistics.mean(length for _, length in clips):.1f} s on average", flush=True)
        offline = _offline_rate(folder, clips, engine)
        print(f"offline: {offline:.1f} × real time")
        print(f"{'':34}{'audio s/s':>9}{'p50 s':>9}{'p95 s':>9}{'p99 s':>9}{'done':>8}")
        rates: dict[tuple[str, int], list[float]] = {}
        for _ in range(rounds):
            for name, serve in (("plain", _plain), ("ours", functools.partial(_ours, engine))):
                with _served(serve, folder) as (url, peak_mb):
                    for clients in (1, 8, 32):
                        load = asyncio.run(_closed(url, clips, clients, seconds))
                        rates.setdefault((name, clients), []).append(load.rate)
                        print(f"{name}, {clients} clients".ljust(34) + load.line(), flush=True)
                    mixed = asyncio.run(_beside_a_long_one(url, clips, seconds))
                    print(f"{name}, 8 and a long one".ljust(34) + mixed.line(), flush=True)
                    if name == "ours":
                        _overload(url, clips, statistics.median(rates["ours", 32]), seconds)
                    print(f"{name}, peak memory: {peak_mb():.0f} MB", flush=True)
        ours, plain = (statistics.median(rates[name, 32]) for name in ("ours", "plain"))
        print(f"\n32 clients: ours / plain = {ours / plain:.2f}, ours / offline = {ours / offline:.2f}")


def _overload(url: str, clips: list[tuple[bytes, float]], peak: float, seconds: float) -> None:
    per_second = 10 * peak / statistics.mean(length for _, length in clips)
    load = asyncio.run(_open(url, clips, per_second, seconds))
    print(f"ours, {per_second:.0f} clips/s arrive".ljust(34) + load.line())
    refused = load.refusals_s
    print(f"  served {load.rate / peak:.0%} of the peak rate; {len(refused)} refused, "
          f"p50 {1e3 * _percentile(refused, 0.5):.0f} ms, p99 {1e3 * _percentile(refused, 0.99):.0f} ms")  # fmt: skip


def _clips(corpus: Path) -> Iterator[tuple[bytes, float]]:
    """Yield `(form body's file, seconds)` of the test split's clips of 2 to 8 s."""
    for utterance in corpora.read(corpus, "und"):
        if utterance.split != "test":
            continue
        waveform = audio.load(utterance.audio, start_s=utterance.start_s, end_s=utterance.end_s)
        length_s = len(waveform) / audio.SAMPLE_RATE_HZ
        if _CLIP_S[0] <= length_s <= _CLIP_S[1]:
            yield _wav(waveform), length_s


def _wav(waveform: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, audio.SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _offline_rate(folder: Path, clips: list[tuple[bytes, float]], engine: str) -> float:
    transcriber = Transcriber.from_folder(folder, engine=engine)
    transcriber.transcribe(clips[0][0])
    began = time.perf_counter()
    for result in transcriber.transcribe_all([data for data, _ in clips]):
        if isinstance(result, Exception):
            raise result
    return sum(length for _, length in clips) / (time.perf_counter() - began)


def _built(data: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a request's body and headers."""
    request = httpx.Request("POST", "http://x", files={"file": ("a.wav", data)})
    return request.read(), {"Content-Type": request.headers["content-type"]}


async def _ask(client: httpx.AsyncClient, body: tuple[bytes, dict[str, str]], length_s: float, load: Load) -> None:
    began = time.perf_counter()
    try:
        answer = await client.post(_PATH, content=body[0], headers=body[1])
    except httpx.HTTPError as error:
        load.errors[type(error).__name__] += 1
        return
    latencies_s = time.perf_counter() - began
    if answer.status_code == 200:
        load.latencies_s.append(latencies_s)
        load.audio_s += length_s
    elif answer.status_code == 429:
        load.refusals_s.append(latencies_s)
    else:
        load.errors[str(answer.status_code)] += 1


def _client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(base_url=url, timeout=600, limits=limits, trust_env=False)


async def _closed(url: str, clips: list[tuple[bytes, float]], clients: int, seconds: float) -> Load:
    """Let clients send one clip after another; requests in flight at the end are awaited and counted."""
    load, bodies = Load(), [(_built(data), length) for data, length in clips]
    began = time.perf_counter()

    async def send(first: int) -> None:
        number = first
        while time.perf_counter() - began < seconds:
            await _ask(client, *bodies[number % len(bodies)], load)
            number += clients

    async with _client(url) as client:
        await asyncio.gather(*(send(first) for first in range(clients)))
    load.wall_s = time.perf_counter() - began
    return load


async def _beside_a_long_one(url: str, clips: list[tuple[bytes, float]], seconds: float) -> Load:
    """Return what eight clients measured while another sent a recording of five minutes."""
    waveforms, length = [], 0.0
    while length < _LONG_S:
        for data, clip_s in clips:
            waveforms.append(audio.load(data))
            length += clip_s
    whole = _built(_wav(np.concatenate(waveforms)[: int(_LONG_S * audio.SAMPLE_RATE_HZ)]))
    alone = Load()

    async with _client(url) as client:
        asking = asyncio.create_task(_ask(client, whole, _LONG_S, alone))
        load = await _closed(url, clips, 8, seconds)
        await asking
    took = f"{alone.latencies_s[0]:.1f} s" if alone.latencies_s else "no answer"
    print(f"  the long recording of {_LONG_S:.0f} s: {took}")
    return load


async def _open(url: str, clips: list[tuple[bytes, float]], per_second: float, seconds: float) -> Load:
    """Send clips at a fixed rate, without waiting for answers."""
    load, bodies = Load(), [(_built(data), length) for data, length in clips]
    tasks = []
    async with _client(url) as client:
        began = time.perf_counter()
        for number in range(int(per_second * seconds)):
            await asyncio.sleep(max(0.0, began + number / per_second - time.perf_counter()))
            tasks.append(asyncio.create_task(_ask(client, *bodies[number % len(bodies)], load)))
        await asyncio.gather(*tasks)
        load.wall_s = time.perf_counter() - began
    return load


def _percentile(values: list[float], share: float) -> float:
    return float(np.quantile(values, share)) if values else float("nan")


@contextmanager
def _served(serve: Callable[[Path, int], None], folder: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """Run a server in its own process; yield its address and a function that returns its peak memory (MB)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(folder, port))
    process.start()
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            if not process.is_alive():
                sys.exit(f"the server ended with {process.exitcode}")
            try:
                if httpx.get(f"{url}/ready", trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        yield url, lambda: _peak_mb(process.pid or 0)
    finally:
        process.terminate()
        process.join()


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _ours(engine: str, folder: Path, port: int) -> None:
    from asr_adapt.console import Console
    from asr_adapt.serve import server

    server.serve(server.Settings((("base", folder),), engine=engine), "127.0.0.1", port, 1, Console(quiet=True))


def _plain(folder: Path, port: int) -> None:
    """Serve as tutorials do: the pipeline under a lock, one thread per request."""
    import uvicorn
    from fastapi import FastAPI, UploadFile
    from transformers import pipeline

    recogniser = pipeline("automatic-speech-recognition", str(folder))
    lock, app = threading.Lock(), FastAPI()

    @app.get("/ready")
    def ready() -> dict[str, str]:
        return {}

    @app.post(_PATH)
    def transcribe(file: UploadFile) -> dict[str, Any]:
        waveform, rate = soundfile.read(file.file, dtype="float32")
        with lock:
            answer: Any = recogniser({"raw": waveform, "sampling_rate": rate}, chunk_length_s=30)
            return {"text": answer["text"]}

    uvicorn.run(app, port=port, log_level="warning")


if __name__ == "__main__":
    typer.run(main)
