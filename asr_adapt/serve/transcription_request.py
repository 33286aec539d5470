"""`Asked`: what a request's form asks for."""

import re
from dataclasses import dataclass
from typing import Any, BinaryIO

from starlette.datastructures import FormData, UploadFile

from asr_adapt.serve.refusal import Refusal

PLAIN = {"text": "txt", "srt": "srt", "vtt": "vtt"}
"""response formats that are a file's text, with their names in `formats.WRITERS`"""
MEDIA_TYPES = {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}
_GRANULARITIES = ("word", "segment")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_TRUTH = {"true": True, "1": True, "false": False, "0": False, "": False}

FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "A recording: wav, flac, mp3, "
                                 "ogg, opus, m4a, mp4, webm and others, at any rate."},
                        "model": {"type": "string", "description": "A name of /v1/models; default: the first."},
                        "language": {"type": "string", "description": "A BCP 47 tag; accepted, since a model writes "
                                     "the language it was adapted to."},
                        "prompt": {"type": "string", "description": "Words that are favoured (hotwords)."},
                        "response_format": {"type": "string", "enum": ["json", "verbose_json", *PLAIN],
                                            "default": "json"},
                        "temperature": {"type": "number", "minimum": 0, "maximum": 1,
                                        "description": "Accepted, since nothing is drawn at random."},
                        "timestamp_granularities[]": {
                            "type": "array", "items": {"type": "string", "enum": list(_GRANULARITIES)},
                            "description": "What verbose_json has times of; default: segment."},
                        "stream": {"type": "boolean", "default": False, "description": "Server-sent events, for json "
                                   "and verbose_json."},
                        "include[]": {
                            "type": "array", "items": {"type": "string", "enum": ["files"]},
                            "description": "Of ours: `files` adds the transcript in every format that can be "
                            "written to verbose_json."},
                    },
                }
            }
        },
    }
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A transcription that is asked for; `file` is open at its beginning."""

    file: BinaryIO
    model: str
    prompt: str
    response_format: str
    words: bool
    segments: bool
    stream: bool
    files: bool

    @classmethod
    def of(cls, form: FormData) -> "Asked":
        """Return what a form asks for.

        Raises:
            Refusal: 400, with the field that is wrong.
        """
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise Refusal(400, "The form has no file.", code="missing_file", param="file")
        response_format = _text(form, "response_format", "json")
        if response_format not in {"json", "verbose_json", *PLAIN}:
            raise _wrong("response_format", f"Known: json, verbose_json, {', '.join(PLAIN)}.")
        granularities = _texts(form, "timestamp_granularities[]")
        if not set(granularities) <= set(_GRANULARITIES):
            raise _wrong("timestamp_granularities[]", "Known: word, segment.")
        if granularities and response_format != "verbose_json":
            raise _wrong("timestamp_granularities[]", "They are for response_format verbose_json.")
        include = _texts(form, "include[]")
        if not set(include) <= {"files"} or (include and response_format != "verbose_json"):
            raise _wrong("include[]", "Known: files, for response_format verbose_json.")
        language = _text(form, "language", "")
        if language and not _LANGUAGE.fullmatch(language):
            raise _wrong("language", "It must be a BCP 47 tag, such as mdw.")
        _check_temperature(_text(form, "temperature", "0"))
        stream = _text(form, "stream", "").lower()
        if stream not in _TRUTH:
            raise _wrong("stream", "It must be true or false.")
        if _TRUTH[stream] and response_format in PLAIN:
            raise _wrong("stream", "Only json and verbose_json are streamed.")
        return cls(
            file=upload.file,
            model=_text(form, "model", ""),
            prompt=_text(form, "prompt", ""),
            response_format=response_format,
            words="word" in granularities,
            segments="segment" in granularities or not granularities,
            stream=_TRUTH[stream],
            files=bool(include),
        )


def _texts(form: FormData, name: str) -> list[str]:
    """Return a field's values, under its name with and without brackets."""
    values = (
        [*form.getlist(name), *form.getlist(name.removesuffix("[]"))] if name.endswith("[]") else form.getlist(name)
    )
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values):
        raise _wrong(name, "It must be text, not a file.")
    return texts


def _text(form: FormData, name: str, default: str) -> str:
    values = _texts(form, name)
    if len(values) > 1:
        raise _wrong(name, "It is given more than once.")
    return values[0] if values else default


def _check_temperature(text: str) -> None:
    try:
        fits = 0 <= float(text) <= 1
    except ValueError:
        fits = False
    if not fits:
        raise _wrong("temperature", "It must be a number from 0 to 1.")


def _wrong(param: str, message: str) -> Refusal:
    return Refusal(400, f"{param}: {message}", code="invalid_value", param=param)
