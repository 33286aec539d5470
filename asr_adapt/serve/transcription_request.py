"""`TranscriptionRequest`: the validated form of `/v1/audio/transcriptions`."""

import re
from dataclasses import dataclass
from typing import Any, BinaryIO

from starlette.datastructures import FormData, UploadFile

from asr_adapt import languages
from asr_adapt.serve.api_error import ApiError

PLAIN = {"text": "txt", "srt": "srt", "vtt": "vtt"}
"""response formats that are plain text, with their names in `formats.WRITERS`"""
MEDIA_TYPES = {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}
_GRANULARITIES = ("word", "segment")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False, "": False}

FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "An audio or video file: "
                                 "wav, flac, mp3, ogg, opus, m4a, mp4, webm and others, at any sample rate."},
                        "model": {"type": "string", "description": "A model of /v1/models; default: the first."},
                        "language": {"type": "string", "description": "A BCP 47 tag; accepted without effect: a "
                                     "model writes the language it was adapted to."},
                        "prompt": {"type": "string", "description": "Words to favour (hotwords); the last 200 of "
                                   "them. Where beam search is not available, ignored: see X-Prompt-Ignored."},
                        "response_format": {"type": "string", "enum": ["json", "verbose_json", *PLAIN],
                                            "default": "json"},
                        "temperature": {"type": "number", "minimum": 0, "maximum": 1,
                                        "description": "Accepted without effect: decoding is deterministic."},
                        "timestamp_granularities[]": {
                            "type": "array", "items": {"type": "string", "enum": list(_GRANULARITIES)},
                            "description": "Timestamps in verbose_json; default: segment."},
                        "stream": {"type": "boolean", "default": False, "description": "Server-sent events; json "
                                   "and verbose_json only."},
                        "include[]": {
                            "type": "array", "items": {"type": "string", "enum": ["files"]},
                            "description": "Extension: `files` adds the transcript in every output format "
                            "to verbose_json."},
                    },
                }
            }
        },
    }
}  # fmt: skip


@dataclass(frozen=True)
class TranscriptionRequest:
    """A validated transcription request; `file` is open at the start."""

    file: BinaryIO
    model: str
    prompt: str
    response_format: str
    words: bool
    segments: bool
    stream: bool
    files: bool

    @classmethod
    def from_form(cls, form: FormData) -> "TranscriptionRequest":
        """Validate a form.

        Raises:
            ApiError: 400, naming the invalid field.
        """
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise ApiError(400, "The form has no file.", code="missing_file", param="file")
        response_format = _text(form, "response_format", "json")
        if response_format not in {"json", "verbose_json", *PLAIN}:
            raise _invalid("response_format", f"Must be one of json, verbose_json, {', '.join(PLAIN)}.")
        granularities = _texts(form, "timestamp_granularities[]")
        if not set(granularities) <= set(_GRANULARITIES):
            raise _invalid("timestamp_granularities[]", "Must be word or segment.")
        if granularities and response_format != "verbose_json":
            raise _invalid("timestamp_granularities[]", "Requires response_format verbose_json.")
        include = _texts(form, "include[]")
        if not set(include) <= {"files"} or (include and response_format != "verbose_json"):
            raise _invalid("include[]", "Only files is supported, with response_format verbose_json.")
        language = _text(form, "language", "")
        if language and not languages.is_well_formed(language):
            raise _invalid("language", "Must be a BCP 47 tag, such as mdw.")
        _check_temperature(_text(form, "temperature", "0"))
        stream = _text(form, "stream", "").lower()
        if stream not in _BOOLEANS:
            raise _invalid("stream", "Must be true or false.")
        if _BOOLEANS[stream] and response_format in PLAIN:
            raise _invalid("stream", "Only json and verbose_json can be streamed.")
        return cls(
            file=upload.file,
            model=_text(form, "model", ""),
            prompt=_text(form, "prompt", ""),
            response_format=response_format,
            words="word" in granularities,
            segments="segment" in granularities or not granularities,
            stream=_BOOLEANS[stream],
            files=bool(include),
        )


def _texts(form: FormData, name: str) -> list[str]:
    """Return a field's values except empty ones; a list's name may have `[]`, `[0]` or nothing after it."""
    stem = name.removesuffix("[]")
    pattern = re.compile(re.escape(stem) + (r"(\[\d*\])?" if name != stem else ""))
    values = [value for given, value in form.multi_items() if pattern.fullmatch(given)]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values):
        raise _invalid(name, "Must be text, not a file.")
    return [text for text in texts if text]


def _text(form: FormData, name: str, default: str) -> str:
    values = _texts(form, name)
    if len(values) > 1:
        raise _invalid(name, "Given more than once.")
    return values[0] if values else default


def _check_temperature(text: str) -> None:
    try:
        fits = 0 <= float(text) <= 1
    except ValueError:
        fits = False
    if not fits:
        raise _invalid("temperature", "Must be a number from 0 to 1.")


def _invalid(param: str, message: str) -> ApiError:
    return ApiError(400, f"{param}: {message}", code="invalid_value", param=param)
