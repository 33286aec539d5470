"""Multipart upload parsed within limits, and incremental decoding of the uploaded recording."""

import asyncio
import errno
import logging
import os
import re
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import closing
from typing import BinaryIO

import numpy as np
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from asr_adapt import audio
from asr_adapt.audio import vad
from asr_adapt.audio.decode_pool import DecodePool
from asr_adapt.serve.api_error import ApiError
from asr_adapt.serve.limits import Limits

_log = logging.getLogger(__name__)
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_NAME = re.compile(rb";\s*filename\s*=", re.IGNORECASE)
_EXTENDED_NAME = re.compile(rb";\s*filename\*\s*=", re.IGNORECASE)


async def read_form(request: Request, limits: Limits, deadline_s: float) -> FormData:
    """Parse a request's multipart form; its file, if any, is open at the start.

    Args:
        request: Its body has not been read yet.
        limits: Limits on body and fields.
        deadline_s: When the body must be complete, on the clock of `time.monotonic`.

    Raises:
        ApiError: 408 the upload is too slow, 413 the body is too large (rejected before the excess is stored), 415 it
            is not a multipart form, 400 the form is malformed, 507 there is no space to store it.
        ClientDisconnect: the client disconnected.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.upload_bytes:
        raise _too_large(limits)
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ApiError(415, "The body must be multipart/form-data.", code="unsupported_media_type")
    parser = _FormParser(
        request.headers,
        _limited_body(request, limits, deadline_s),
        max_files=1,
        max_fields=limits.fields,
        max_part_size=limits.field_bytes,
    )
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise ApiError(400, f"The form cannot be read: {error.message}", code="invalid_form") from error
    except (LookupError, ValueError) as error:  # of its charset
        raise ApiError(400, "The form cannot be read: its charset is unknown, or not that of its fields.",
                       code="invalid_form") from error  # fmt: skip
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        _log.error("an upload cannot be stored in %s: %s", tempfile.gettempdir(), os.strerror(error.errno))
        raise ApiError(507, "The server has no space left for the recording.", code="no_space",
                       retry_after_s=60) from error  # fmt: skip


class _FormParser(MultiPartParser):
    """Takes a part whose name is given as `filename*` only (RFC 5987) for a file too; python-multipart drops it."""

    def on_headers_finished(self) -> None:
        """Decide whether the part is a file or a field."""
        disposition = self._current_part.content_disposition or b""
        if _EXTENDED_NAME.search(disposition) and not _NAME.search(disposition):
            self._current_part.content_disposition = disposition + b'; filename="recording"'
        super().on_headers_finished()


async def _limited_body(request: Request, limits: Limits, deadline_s: float) -> AsyncGenerator[bytes, None]:
    """Yield the body's chunks, enforcing the limits on size and speed."""
    received, started_s = 0, time.monotonic()
    chunks = request.stream()
    while True:
        now = time.monotonic()
        allowed_s = limits.stall_s + received / limits.min_bytes_per_s - (now - started_s)
        try:
            chunk = await asyncio.wait_for(anext(chunks), max(0.0, min(limits.stall_s, allowed_s, deadline_s - now)))
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise ApiError(408, "The upload is too slow.", code="request_timeout") from None
        received += len(chunk)
        if received > limits.upload_bytes:
            raise _too_large(limits)
        yield chunk


def _too_large(limits: Limits) -> ApiError:
    megabytes = limits.upload_bytes / 2**20
    return ApiError(413, f"The body is larger than {megabytes:g} MB.", code="body_too_large", param="file")


class SegmentDecoder:
    """Decodes an uploaded recording segment by segment, in a decoder process. Closes the file.

    Args:
        file: An encoded file, open at the start.
        limits: Its `audio_s` is enforced while decoding.
        pool: Decodes: a file that crashes FFmpeg costs its request, not the server.
    """

    def __init__(self, file: BinaryIO, limits: Limits, pool: DecodePool) -> None:
        self.samples = 0  # decoded so far, at 16 kHz
        self._file, self._limit_s, self._pool = file, limits.audio_s, pool
        self._stopped, self._lock = threading.Event(), threading.Lock()
        self._blocks = self._limited_blocks()
        self._segments = vad.segments(self._blocks)

    def next(self) -> tuple[int, np.ndarray] | None:
        """Return `(first sample, waveform)` of the next segment, None after the last.

        Raises:
            AudioError: the file cannot be decoded.
            ApiError: 413, the recording is too long.
        """
        with self._lock:
            return None if self._stopped.is_set() else next(self._segments, None)

    def close(self) -> None:
        """Stop decoding at the next block and close the file."""
        self._stopped.set()
        with self._lock:
            self._segments.close()  # type: ignore[attr-defined]
            self._blocks.close()
            self._file.close()

    def _limited_blocks(self) -> Generator[np.ndarray, None, None]:
        # One second more than the limit, to tell a recording of exactly that length from a longer one.
        with closing(self._pool.blocks(self._file, end_s=self._limit_s + 1)) as blocks:
            for block in blocks:
                self.samples += len(block)
                if self.samples > self._limit_s * audio.SAMPLE_RATE_HZ:
                    raise ApiError(413, f"The recording is longer than {self._limit_s:g} s.", code="audio_too_long",
                                  param="file")  # fmt: skip
                if self._stopped.is_set():
                    return
                yield block
