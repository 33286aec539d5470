"""Runs the application under uvicorn in one or several processes; SIGTERM finishes running requests first."""

import asyncio
import contextlib
import functools
import os
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.inference.engines import AUTO
from asr_adapt.serve.limits import Limits

if TYPE_CHECKING:  # imported late: prometheus_client reads the environment on import
    from fastapi import FastAPI

_METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
_MAX_MESSAGE_BYTES = 2**20  # of a WebSocket message: half a minute of audio
_MAX_HEAD_BYTES = 2**14
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Settings:
    """Server settings; calling them creates the application, in each worker."""

    models: tuple[tuple[str, Path], ...]
    """(name, folder) of each model; the first is the default"""
    limits: Limits = field(default_factory=Limits)
    api_keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    device: str | None = None
    engine: str = AUTO

    def __call__(self) -> "FastAPI":
        """Create the application."""
        from asr_adapt.inference.transcriber import Transcriber
        from asr_adapt.serve.app import create_app

        load = functools.partial(Transcriber.from_folder, device=self.device, engine=self.engine)
        loaders = {name: functools.partial(load, folder) for name, folder in self.models}
        return create_app(loaders, limits=self.limits, api_keys=self.api_keys, origins=self.origins)


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
    from uvicorn.supervisors import Multiprocess

    with tempfile.TemporaryDirectory(prefix="asr-adapt-metrics-") as shared:
        os.environ[_METRICS_DIR] = shared
        config = _config(settings, settings.limits, factory=True, workers=workers)
        Multiprocess(config, sockets=[listening]).run()


def _config(app: Any, limits: Limits, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=functools.partial(TimeoutProtocol, head_s=limits.head_s),  # type: ignore[arg-type]
        ws_max_size=_MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # PCM does not compress, and a small message could expand without bound
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        timeout_graceful_shutdown=limits.drain_s,
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


class TimeoutProtocol(H11Protocol):
    """HTTP/1.1 with a time limit on request heads, and on bodies that continue after the response.

    uvicorn has no timeout for either.
    """

    def __init__(self, *args: Any, head_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_s = head_s
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the timer for the first head."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self._head_s, transport.close)

    def data_received(self, data: bytes) -> None:
        """Restart the timer unless a request is being processed."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer()
        elif self._timer is None and self.transport.get_protocol() is self:
            self._timer = self.loop.call_later(self._head_s, self.transport.close)

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Stop the timer: WebSockets have their own limits."""
        self._stop_timer()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
