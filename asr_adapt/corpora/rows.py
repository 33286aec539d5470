"""Text files as people have them: with a byte order mark or without, in UTF-8 or UTF-16."""

from pathlib import Path

from pydantic import ValidationError

from asr_adapt.errors import InputError, describe_validation_error
from asr_adapt.records import Utterance


def utterance_at(place: object, **fields: object) -> Utterance:
    """Return the utterance that a line describes.

    Raises:
        InputError: a value is impossible; the error names the place, the field and the value.
    """
    try:
        return Utterance.model_validate(fields)
    except ValidationError as error:
        raise InputError(describe_validation_error(error), place=place) from error


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
