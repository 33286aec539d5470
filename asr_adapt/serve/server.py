"""Runs the application under uvicorn in one or several processes; SIGTERM finishes running requests first."""

import asyncio
import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import h11
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.supervisors import Multiprocess

from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.inference.engines import AUTO
from asr_adapt.serve.limits import Limits

if TYPE_CHECKING:  # imported late: prometheus_client reads the environment on import
    from fastapi import FastAPI

_log = logging.getLogger(__name__)
API_KEYS_VARIABLE = "ASR_ADAPT_API_KEYS"
"""environment variable with API keys, separated by spaces"""
_METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
_MAX_MESSAGE_BYTES = 2**20  # of a WebSocket message: half a minute of audio
_MAX_QUEUED_MESSAGES = 4  # more wait unparsed, at most what is read at once (256 kB)
_PARSED_BYTES = 2**12
# uvicorn kills workers that do not answer within 5 s, also while they import: on a busy computer, for ever.
_WORKER_S = 120
_LINGER_S = 30.0  # as nginx's lingering_time
_LINGER_BYTES = 2**28
_GRACE_S = 5.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Settings:
    """Server settings; calling them creates the application, in each worker."""

    models: tuple[tuple[str, Path], ...]
    """(name, folder) of each model; the first is the default"""
    limits: Limits = field(default_factory=Limits)
    api_keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    any_model: bool = False
    device: str | None = None
    engine: str = AUTO
    use_ngram: bool = True

    def __call__(self) -> "FastAPI":
        """Create the application."""
        from asr_adapt.inference.transcriber import Transcriber
        from asr_adapt.serve.app import create_app

        load = functools.partial(
            Transcriber.from_folder, device=self.device, engine=self.engine, use_ngram=self.use_ngram
        )
        loaders = {name: functools.partial(load, folder) for name, folder in self.models}
        _end_with_parent()
        return create_app(loaders, limits=self.limits, api_keys=self.api_keys, origins=self.origins,
                          allowed_hosts=self.allowed_hosts, any_model=self.any_model)  # fmt: skip


def let_idle_threads_sleep() -> None:
    """Keep PyTorch's idle threads from spinning while decoders need the cores; to be called before it is imported.

    With ten times too much load a server on two cores did twice as much (docs/log.md, Serving again).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def parse_models(models: list[str]) -> tuple[tuple[str, Path], ...]:
    """Parse each `[NAME=]DIR` into `(name, folder)`; the default name of a run's `model/` is that of the run.

    Raises:
        InputError: a folder is not a model, or two models have the same name.
    """
    from asr_adapt.model import ngram_file

    found: dict[str, Path] = {}
    for text in models:
        name, is_named, folder = text.rpartition("=")
        path = Path(folder)
        if not is_named:
            absolute = path.resolve()
            name = absolute.parent.name if absolute.name == "model" else absolute.name
        ngram_file.read(path)  # fails where the folder is not a model
        if not name or name in found:
            problem = f"two models are named '{name}'" if name else "the model name is empty"
            raise InputError(problem, place=f"--model {text}", remedy="Give each a name: --model NAME=DIR.")
        found[name] = path
    return tuple(found.items())


def parse_api_keys(options: Sequence[str], environment: str | None) -> tuple[str, ...]:
    """Return the API keys of the command line and of the environment variable, which separates them by spaces.

    Raises:
        InputError: a key is blank or contains white space, or the environment variable is set but blank, as after a
            substitution that failed.
    """
    for key in options:
        if not key or key.split() != [key]:
            problem = "the key contains white space" if key.strip() else "the key is blank"
            raise InputError(problem, place="--api-key", remedy="Give a key, or omit the option.")
    if environment is not None and not environment.strip():
        raise InputError("is set but blank", place=API_KEYS_VARIABLE, remedy="Set it to a key, or unset it.")
    return (*options, *(environment or "").split())


def serve(settings: Settings, host: str, port: int, workers: int, console: Console) -> None:
    """Serve until SIGTERM or SIGINT; running requests are finished before it returns.

    Raises:
        InputError: cannot bind to the address, or a model cannot be loaded.
    """
    listening = _listen(host, port)
    shown_host = f"[{host}]" if ":" in host else host
    console.say(
        f"http://{shown_host}:{listening.getsockname()[1]} serves {', '.join(name for name, _ in settings.models)}"
    )
    if host not in _LOOPBACK and not settings.api_keys:
        console.warn(f"no --api-key: anyone who can reach {host} can use the server")
    if workers > 1:
        _serve_from_several(settings, listening, workers)
        return
    app = settings()
    server = uvicorn.Server(_config(app, settings.limits))
    app.state.service.on_failure = functools.partial(setattr, server, "should_exit", True)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    failure = app.state.service.failure
    if isinstance(failure, InputError):
        raise failure
    if failure:  # its traceback has been logged
        raise SystemExit(1)


def _serve_from_several(settings: Settings, listening: socket.socket, workers: int) -> None:
    with tempfile.TemporaryDirectory(prefix="asr-adapt-metrics-") as shared:
        os.environ[_METRICS_DIR] = shared
        config = _config(settings, settings.limits, factory=True, workers=workers)
        supervisor = _Supervisor(config, sockets=[listening])
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):  # has been logged
        raise SystemExit(1)


class _Supervisor(Multiprocess):
    """Replaces workers that die: says so in the log, and takes their gauges out of the metrics."""

    _counted: frozenset[int] = frozenset()

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have died or hang."""
        before = list(self.processes)
        super().keep_subprocess_alive()
        for old in before:
            if old not in self.processes:
                _log.error("worker %s ended with exit code %s; another one starts", old.pid, old.exitcode)
        alive = frozenset(process.pid for process in self.processes if process.pid is not None)
        from prometheus_client import multiprocess  # reads the environment on import

        for pid in self._counted - alive:
            multiprocess.mark_process_dead(pid)
        self._counted = alive


def _end_with_parent() -> None:
    """In a worker: end as at SIGTERM when the supervisor is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        _log.error("the parent process is gone: worker %s ends", os.getpid())
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def _config(app: Any, limits: Limits, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=functools.partial(BoundedProtocol, limits=limits),  # type: ignore[arg-type]
        ws=LiveProtocol,
        ws_ping_timeout=None,  # while the model is behind nothing is read, no pong either; `stream_idle_s` applies
        ws_max_size=_MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # PCM does not compress, and a small message could expand without bound
        h11_max_incomplete_event_size=limits.head_bytes,
        timeout_graceful_shutdown=limits.drain_s,
        timeout_worker_healthcheck=_WORKER_S,
        access_log=False,
        log_level="warning",
        server_header=False,
        **more,
    )


def _listen(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot bind to the address ({reason})", place=f"{host}:{port}",
                         remedy="Use another --host or --port.") from error  # fmt: skip
    bound.set_inheritable(True)
    return bound


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 with a time limit on request heads, on whole requests, and on bodies that continue after the response.

    uvicorn has none of these. A client that does not read its response holds its request until the deadline, when the
    connection is aborted. After an error response, what the client is still sending is discarded for a while: if the
    connection were closed at once, its reset could overtake the response (RFC 9112, section 9.6).
    """

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._timed: object = None  # what the timer is for
        self._discarded_bytes = 0

    @property
    def is_receiving(self) -> bool:
        """Whether a request's body is incomplete."""
        return self.conn.their_state is h11.SEND_BODY and self.transport.get_protocol() is self

    def connection_made(self, transport: Any) -> None:
        """Start the timer for the first head."""
        super().connection_made(cast(Any, _LingeringTransport(transport, self)))
        self._time("head", self._limits.head_s)

    def data_received(self, data: bytes) -> None:
        """Process data; after the last response of a connection, discard it, within bounds."""
        if self.transport.is_closing() or self._timed == "rest":
            self._discarded_bytes += len(data)
            if self._discarded_bytes > _LINGER_BYTES:
                self.transport.abort()
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.transport.get_protocol() is self:
            self._update_timer(is_idle=False)

    def on_response_complete(self) -> None:
        """Stop the request's timer."""
        super().on_response_complete()
        self._update_timer(is_idle=True)

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Stop the timer: WebSockets have their own limits."""
        self._stop_timer()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def _update_timer(self, *, is_idle: bool) -> None:
        if self.transport.is_closing():
            self._stop_timer()
        elif self.cycle is not None and not self.cycle.response_complete:
            self._time(self.cycle, self._limits.request_s)
        elif self.is_receiving:
            self._time("rest", _LINGER_S)
        elif is_idle:  # until the next head begins, uvicorn's timer applies
            self._stop_timer()
        else:
            self._time("head", self._limits.head_s)

    def _time(self, what: object, limit_s: float) -> None:
        if what is not self._timed:
            self._stop_timer()
            self._timed = what
            self._timer = self.loop.call_later(limit_s, self._on_deadline)

    def _on_deadline(self) -> None:
        if self._timed is not self.cycle:
            self.transport.close()
        elif self.flow.write_paused:
            self.transport.abort()
        else:  # the application answers that the time is over
            self._timer = self.loop.call_later(_GRACE_S, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._timed = None


class _LingeringTransport:
    """A transport whose `close` leaves a client time to read the response, and to stop sending; but not for ever."""

    def __init__(self, transport: asyncio.Transport, protocol: BoundedProtocol) -> None:
        self._transport, self._protocol = transport, protocol
        self._is_closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether `close` was called."""
        return self._is_closing or self._transport.is_closing()

    def close(self) -> None:
        """Close; a client that is still sending sees the end of the response first."""
        if self.is_closing():
            return
        self._is_closing = True
        if self._protocol.is_receiving and self._transport.can_write_eof():
            with contextlib.suppress(OSError):  # the client has already gone
                self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()
            if not self._transport.get_write_buffer_size():
                return
        self._protocol.loop.call_later(_LINGER_S, self._transport.abort)


class LiveProtocol(WebSocketsSansIOProtocol):
    """WebSockets with a bound on the messages that are queued for the application.

    uvicorn stops reading when a message is queued, but queues all messages of what was read: 40,000 of a byte each.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unparsed = bytearray()

    def data_received(self, data: bytes) -> None:
        """Parse as much as may be queued, and keep the rest."""
        self._unparsed += data
        self._parse()

    async def receive(self) -> Any:
        """Return the next message; read on when all have been taken."""
        message = await self.queue.get()
        self._parse()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self.transport.resume_reading()
        return message

    def _parse(self) -> None:
        while self._unparsed and (self.close_sent or self.queue.qsize() < _MAX_QUEUED_MESSAGES):
            part = bytes(self._unparsed[:_PARSED_BYTES])
            del self._unparsed[:_PARSED_BYTES]
            super().data_received(part)
