"""A request's form, read within its limits, and the sound in it, decoded piece by piece."""

import asyncio
import io
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from typing import BinaryIO, cast

import numpy as np
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from asr_adapt import audio
from asr_adapt.audio import vad
from asr_adapt.serve.limits import Limits
from asr_adapt.serve.refusal import Refusal


async def read_form(request: Request, limits: Limits, deadline_s: float) -> FormData:
    """Return the form of a request; its file, if any, is open at its beginning.

    Args:
        request: Whose body was not read yet.
        limits: What it may bring.
        deadline_s: When its body must be there, on the clock of `time.monotonic`.

    Raises:
        Refusal: 408 the sender is too slow, 413 the body is too long (noticed before the excess is kept), 415 it is
            no multipart form, 400 it is a broken one.
        ClientDisconnect: the client left.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.upload_bytes:
        raise _too_large(limits)
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Refusal(415, "The body must be multipart/form-data.", code="unsupported_media_type")
    parser = MultiPartParser(
        request.headers,
        _measured(request, limits, deadline_s),
        max_files=1,
        max_fields=limits.fields,
        max_part_size=limits.field_bytes,
    )
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise Refusal(400, f"The form cannot be read: {error.message}", code="invalid_form") from error


async def _measured(request: Request, limits: Limits, deadline_s: float) -> AsyncGenerator[bytes, None]:
    """Yield the body's chunks as long as they are within the limits."""
    received, began = 0, time.monotonic()
    chunks = request.stream()
    while True:
        now = time.monotonic()
        allowed_s = limits.stall_s + received / limits.least_bytes_per_s - (now - began)
        try:
            chunk = await asyncio.wait_for(anext(chunks), max(0.0, min(limits.stall_s, allowed_s, deadline_s - now)))
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refusal(408, "The body came too slowly.", code="request_timeout") from None
        received += len(chunk)
        if received > limits.upload_bytes:
            raise _too_large(limits)
        yield chunk


def _too_large(limits: Limits) -> Refusal:
    megabytes = limits.upload_bytes / 2**20
    return Refusal(413, f"The body is larger than {megabytes:g} MB.", code="body_too_large", param="file")


class Decoder:
    """Gives the pieces of an uploaded recording, one at a time, on whatever thread asks; then it closes the file.

    Args:
        file: An encoded file, open at its beginning.
        limits: Its `audio_s` holds while decoding.
    """

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self.samples = 0  # at 16 kHz, decoded so far
        self._file, self._limit_s = file, limits.audio_s
        self._stopped, self._at_work = threading.Event(), threading.Lock()
        self._pieces = vad.pieces(self._blocks())

    def next(self) -> tuple[int, np.ndarray] | None:
        """Return `(first sample, waveform)` of the next piece, None after the last.

        Raises:
            AudioError: it cannot be read as sound.
            Refusal: 413, it is too long.
        """
        with self._at_work:
            return None if self._stopped.is_set() else next(self._pieces, None)

    def close(self) -> None:
        """Stop, soon after where it is, and close the file."""
        self._stopped.set()
        with self._at_work:
            self._pieces.close()  # type: ignore[attr-defined]
            self._file.close()

    def _blocks(self) -> Iterator[np.ndarray]:
        # Beyond the limit by so much that it shows.
        for block in audio.blocks(cast(BinaryIO, _Nameless(self._file)), end_s=self._limit_s + 1):
            self.samples += len(block)
            if self.samples > self._limit_s * audio.SAMPLE_RATE_HZ:
                raise Refusal(413, f"The recording is longer than {self._limit_s:g} s.", code="audio_too_long",
                              param="file")  # fmt: skip
            if self._stopped.is_set():
                return
            yield block


class _Nameless(io.RawIOBase):
    """A file without its name: a spooled file's is a number or None, which PyAV takes for a path."""

    def __init__(self, file: BinaryIO) -> None:
        self._under = file

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fill a buffer, and return how much of it."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._under.read(len(view))
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, and return where it is."""
        self._under.seek(offset, whence)
        return self._under.tell()

    def tell(self) -> int:
        """Return where it is."""
        return self._under.tell()
