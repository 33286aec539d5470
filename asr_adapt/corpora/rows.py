"""Utterances from rows of tables, with errors that name the row."""

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
