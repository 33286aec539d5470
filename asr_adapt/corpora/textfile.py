"""Text files as people have them: with a byte order mark or without, in UTF-8 or UTF-16."""

import codecs
import logging
from pathlib import Path

from pydantic import ValidationError

from asr_adapt.errors import InputError
from asr_adapt.utterance import Utterance

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_log = logging.getLogger(__name__)


def read_text(path: Path, *, legacy: bool = False) -> str:
    """Return a text file's content, without byte order mark; line ends stay as they are.

    Args:
        path: UTF-8, or UTF-16 with a byte order mark, or UTF-16 of mostly ASCII without.
        legacy: Take what is neither for Windows-1252, with a warning, instead of raising.

    Raises:
        InputError: the file cannot be read, or is in no such encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", place=path) from error
    try:
        if data.startswith(_UTF16):
            return data.decode("utf-16")
        if 0 in data[:2]:  # half of an ASCII letter: UTF-16 of a program that writes no mark
            return data.decode("utf-16-be" if data[0] == 0 else "utf-16-le")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if legacy:
            _log.warning("%s: not UTF-8; taken for Windows-1252, look at its letters", path)
            return data.decode("cp1252", errors="replace")
        raise InputError(f"not UTF-8 ({error.reason})", place=path, remedy="Save it as UTF-8.") from error


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file; only LF and CRLF end one, since sentences hold U+2028 and its like."""
    return [line.removesuffix("\r") for line in read_text(path).split("\n")]


def utterance_at(place: object, **fields: object) -> Utterance:
    """Return the utterance that a line describes.

    Raises:
        InputError: a value is impossible; the error names the place, the field and the value.
    """
    try:
        return Utterance.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"field '{field}': {first['msg']}, but is {first['input']!r}", place=place) from error


def inside(folder: Path, path: str, place: object) -> Path:
    """Return where a line's path leads: absolute as it is, relative from `folder`.

    Raises:
        InputError: it is empty, or a relative path leads out of `folder`.
    """
    relative = Path(path.replace("\\", "/") if "/" not in path else path)
    if not path or (not relative.is_absolute() and ".." in relative.parts):
        raise InputError(
            f"path {path!r} is not a file inside {folder}",
            place=place,
            remedy="Give an absolute path, or move the audio.",
        )
    return folder / relative
