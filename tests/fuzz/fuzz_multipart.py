"""Fuzz target: the multipart form of a transcription request."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

from hypothesis import strategies as st
from runner import Target, main, mutated
from starlette.requests import Request

from asr_adapt.errors import InputError
from asr_adapt.serve.api_error import ApiError
from asr_adapt.serve.limits import Limits
from asr_adapt.serve.transcription_request import TranscriptionRequest
from asr_adapt.serve.upload import read_form

_LIMITS = Limits(upload_bytes=2**16, field_bytes=256, fields=8)
_REJECTIONS = frozenset({400, 413, 415})
_FIELDS = {
    "model": "whisper-1",
    "language": "mi",
    "prompt": "ā ŋ",
    "response_format": "verbose_json",
    "temperature": "0.5",
    "timestamp_granularities[0]": "word",
    "stream": "true",
    "include[]": "files",
}


def _form(fields: dict[str, str], file_name: str) -> bytes:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    file = f'--b\r\nContent-Disposition: form-data; name="file"; {file_name}\r\nContent-Type: audio/wav\r\n\r\nRIFF'
    return ("".join(parts) + file + "\r\n--b--\r\n").encode()


_BODIES = [
    _form({}, 'filename="a.wav"'),
    _form(_FIELDS, "filename*=UTF-8''%F0%9F%8E%A4.wav"),
    _form(dict.fromkeys(_FIELDS, ""), "filename=\"a.wav\"; filename*=utf-8''a"),
]
_TYPES = [b"multipart/form-data; boundary=b", b'multipart/form-data; charset=utf-16; boundary="b"']


def read_one(value: tuple[bytes, bytes, int]) -> None:
    """Read a body as the server does: it is a valid request, or rejected with a status and one line.

    Raises:
        InputError: it is rejected.
    """
    content_type, body, size = value

    async def chunks() -> AsyncIterator[bytes]:
        for i in range(0, len(body), size):
            yield body[i : i + size]

    async def read() -> None:
        request = Request({"type": "http", "method": "POST", "headers": [(b"content-type", content_type)]})
        request.stream = chunks  # type: ignore[method-assign, assignment]
        form = await read_form(request, _LIMITS, time.monotonic() + 60)
        try:
            job = TranscriptionRequest.from_form(form)
            assert job.file.tell() == 0 and len(job.file.read()) <= len(body)
        finally:
            await form.close()

    try:
        asyncio.run(read())
    except ApiError as error:
        assert error.status in _REJECTIONS, error.status
        json.dumps(error.body(), ensure_ascii=False).encode()
        raise InputError(error.message) from error


TARGET = Target(
    "multipart",
    st.tuples(st.one_of(st.sampled_from(_TYPES), mutated(_TYPES)), mutated(_BODIES), st.sampled_from([1, 7, 4096])),
    read_one,
)

if __name__ == "__main__":
    main(TARGET)
