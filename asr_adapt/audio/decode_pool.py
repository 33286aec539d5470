"""Decoding in separate processes: a decoder that crashes or hangs costs one recording, not the server.

A worker receives an open file and sends blocks of samples over a socket until it is told to stop. It ends with its
parent, because its socket is closed then.
"""

import io
import json
import logging
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, BinaryIO, cast

import numpy as np

from asr_adapt import audio
from asr_adapt.audio import Audio, Channel
from asr_adapt.audio.locators import opened, place_of
from asr_adapt.errors import AudioError, InputError

_HEADER = struct.Struct("<cI")  # kind, size of what follows
_BLOCK, _END, _ERROR, _BUG, _WARNING = b"b", b"e", b"x", b"t", b"w"
_GO_ON, _STOP = b"g", b"s"
_MAX_REQUEST_BYTES = 4_096
# Of the worker, which holds a block and what a decoder needs; most of it is libraries that are mapped.
_MEMORY_BYTES = 4 << 30
_START_S = 60.0
_STOP_S = 1.0
_PATIENCE_S = 1.0
_STARTING_AT_ONCE = os.cpu_count() or 1
_MAX_PLACE = 200  # characters, in warnings
_CONVERT = "Convert it to WAV or FLAC, for example with `ffmpeg -i IN OUT.wav`."

_log = logging.getLogger(__name__)


class DecoderNotStarted(InputError):
    """The machine is too busy to start a decoder."""


class DecodePool:
    """Decodes audio in worker processes, which are started on demand, and again after a crash.

    Safe to use from several threads. A worker holds some 60 MB.

    Args:
        workers: Maximum number of recordings that are decoded at once; further ones wait.
        spare: Number of workers that stay. More are started only when all of these have been busy for a second, as
            with long recordings; starting one costs more than decoding most clips.
        timeout_s: Longest time for one block; a decoder that takes longer is killed.
    """

    def __init__(self, workers: int, *, spare: int = 2, timeout_s: float = 60.0) -> None:
        self._timeout_s = timeout_s
        self._slots = threading.BoundedSemaphore(workers)
        self._max_spare = spare
        self._spare: list[_Worker] = []
        self._lock = threading.Condition()
        self._alive = self._starting = 0
        self._moved_at = 0.0
        """when a worker last started or became spare"""
        self._is_closed = False

    def blocks(
        self,
        recording: Audio,
        *,
        end_s: float | None = None,
        block_s: float = 30.0,
        channel: Channel | None = None,
        track: int | None = None,
    ) -> Generator[np.ndarray, None, None]:
        """Yield what `audio.blocks` yields; the next block is decoded while the caller is busy with the last one.

        Args:
            recording: As for `audio.blocks`. An open file is shared with the worker: leave its position alone.
            end_s: As for `audio.blocks`, like the rest.
            block_s: Length of a block.
            channel: The channel to read.
            track: The track to read.

        Raises:
            AudioError: as `audio.blocks`, and where the decoder crashed, hung or needed too much memory.
            DecoderNotStarted: the machine is too busy to start a decoder; the recording may be fine.
        """
        place = place_of(recording)
        choice = {"end_s": end_s, "block_s": block_s, "channel": channel, "track": track}
        with self._slots:
            worker = self._take()
            try:
                with ExitStack() as files:
                    file = files.enter_context(opened(recording))
                    worker.begin({**choice, "place": place[:_MAX_PLACE]}, files.enter_context(_with_descriptor(file)))
                yield from worker.blocks(place, self._timeout_s)
            finally:
                self._give_back(worker)

    def _take(self) -> "_Worker":
        """Return a spare worker, or a new one where none has become spare for a while.

        Few are started at once: in a burst, all would wait for the processor, and those that have started are soon
        spare again.
        """
        with self._lock:
            while True:
                while self._spare:
                    worker = self._spare.pop()
                    if not worker.has_ended:
                        return worker
                    self._alive -= 1
                    worker.end()
                patience_s = self._moved_at + _PATIENCE_S - time.monotonic()
                if self._starting >= _STARTING_AT_ONCE:
                    self._lock.wait()
                elif self._alive >= self._max_spare and patience_s > 0:
                    self._lock.wait(patience_s)
                else:
                    break
            self._alive += 1
            self._starting += 1
        try:
            worker = _Worker()
            worker.wait_until_started()
        except (OSError, DecoderNotStarted):
            self._lose()
            raise
        finally:
            with self._lock:
                self._starting -= 1
                self._moved_at = time.monotonic()
                self._lock.notify_all()
        return worker

    def _give_back(self, worker: "_Worker") -> None:
        is_usable = worker.stop()
        with self._lock:
            if is_usable and not self._is_closed and len(self._spare) < self._max_spare:
                self._spare.append(worker)
                self._moved_at = time.monotonic()
                self._lock.notify_all()
                return
        worker.end()
        self._lose()

    def _lose(self) -> None:
        with self._lock:
            self._alive -= 1
            self._lock.notify_all()

    def close(self) -> None:
        """End all workers; busy ones end with their recording."""
        with self._lock:
            self._is_closed = True
            idle, self._spare = self._spare, []
            self._alive -= len(idle)
        for worker in idle:
            worker.end()


class _Worker:
    """The parent's side of a worker process."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", __name__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._is_ready = True  # for another request

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def begin(self, request: dict[str, Any], file: BinaryIO) -> None:
        self._is_ready = False
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [file.fileno()])
        except (OSError, EOFError):  # it has died; `blocks` raises
            self.end()

    def wait_until_started(self) -> None:
        """Wait until it has imported what it needs, which may take seconds on a busy machine."""
        try:
            _exactly(self._socket, 1, _START_S)
        except TimeoutError as error:
            self.end()
            raise DecoderNotStarted(f"no decoder has started in {_START_S:g} s", remedy="Try again later.") from error
        except (OSError, EOFError):  # it has died; `blocks` raises
            self.end()

    def blocks(self, place: str, timeout_s: float) -> Iterator[np.ndarray]:
        while True:
            try:
                kind, payload = self._received(timeout_s)
            except TimeoutError as error:
                self.end()
                raise AudioError(
                    f"decoding takes more than {timeout_s:g} s for a block", place=place, remedy=_CONVERT
                ) from error
            except (OSError, EOFError) as error:
                self.end()
                raise AudioError(
                    f"the decoder crashed (exit code {self._process.returncode})", place=place, remedy=_CONVERT
                ) from error
            if kind == _BLOCK:
                yield np.frombuffer(bytearray(payload), np.float32)
                self._send(_GO_ON)
            elif kind == _WARNING:
                _log.warning("%s", payload.decode(errors="replace"))
            else:
                self._is_ready = True
                if kind == _END:
                    return
                if kind == _ERROR:
                    raise AudioError(place=place, **json.loads(payload))
                raise RuntimeError(f"in a decoder process:\n{payload.decode(errors='replace')}")

    def stop(self) -> bool:
        """Make the worker ready for another recording; return False if it has died or is not ready in time."""
        if self._socket.fileno() < 0:
            return False
        try:
            if not self._is_ready:
                self._send(_STOP)
            while not self._is_ready:
                kind, _ = self._received(_STOP_S)
                self._is_ready = kind in (_END, _ERROR, _BUG)
        except (OSError, EOFError):
            return False
        return not self.has_ended

    def end(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _send(self, word: bytes) -> None:
        with suppress(OSError):  # it has died; the next receipt raises
            self._socket.sendall(word)

    def _received(self, timeout_s: float) -> tuple[bytes, bytes]:
        kind, size = _HEADER.unpack(_exactly(self._socket, _HEADER.size, timeout_s))
        return kind, _exactly(self._socket, size, timeout_s)


def _exactly(connection: socket.socket, size: int, timeout_s: float | None) -> bytes:
    data = bytearray()
    connection.settimeout(timeout_s)
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


@contextmanager
def _with_descriptor(file: BinaryIO) -> Iterator[BinaryIO]:
    """Yield the file itself if it has a descriptor, else a copy in a temporary file."""
    try:
        file.fileno()
    except (OSError, AttributeError):
        with tempfile.TemporaryFile() as copy:
            file.seek(0)
            shutil.copyfileobj(file, copy)
            copy.flush()
            yield cast(BinaryIO, copy)
    else:
        yield file


# In the worker process


def _serve(connection: socket.socket) -> None:
    """Decode what the parent sends until it closes the connection."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, _MAX_REQUEST_BYTES, 1)
        if not message:
            return
        with os.fdopen(descriptors[0], "rb") as file:
            request = json.loads(message)
            _answer(connection, audio.blocks(_Named(file, request.pop("place")), **request))


def _answer(connection: socket.socket, blocks: Iterator[np.ndarray]) -> None:
    """Send each block when the parent asks for it, decoding the next one meanwhile; then send how it ended."""
    kind, payload, is_awaited = _END, b"", False
    try:
        for block in blocks:
            if is_awaited and _exactly(connection, 1, None) == _STOP:
                is_awaited = False
                break
            _reply(connection, _BLOCK, block.tobytes())
            is_awaited = True
    except InputError as error:
        kind, payload = _ERROR, json.dumps({"problem": error.problem, "remedy": error.remedy}).encode()
    except MemoryError:
        kind, payload = _ERROR, json.dumps({"problem": "decoding needs too much memory", "remedy": _CONVERT}).encode()
    except (OSError, EOFError):  # the parent is gone
        raise
    except Exception:
        kind, payload = _BUG, traceback.format_exc().encode(errors="replace")
    if is_awaited:
        _exactly(connection, 1, None)
    _reply(connection, kind, payload)


def _reply(connection: socket.socket, kind: bytes, payload: bytes) -> None:
    connection.sendall(_HEADER.pack(kind, len(payload)) + payload)


class _Warnings(logging.Handler):
    """Sends warnings to the parent, in the order of the blocks."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(logging.WARNING)
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        """Send a warning."""
        _reply(self._connection, _WARNING, record.getMessage().encode(errors="replace"))


class _Named(io.FileIO):
    """An open file under the name that the parent gives it."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        super().__init__(file.fileno(), "rb", closefd=False)
        self.name = name


def _main(descriptor: int) -> None:
    connection = socket.socket(fileno=descriptor)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which closes the socket
    logging.getLogger().addHandler(_Warnings(connection))
    with suppress(OSError, EOFError):
        connection.sendall(_GO_ON)
        _serve(connection)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
