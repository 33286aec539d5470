"""Times as people write them: one rule for tables, labels, subtitles and transcripts."""

import datetime
import re

from asr_adapt.errors import InputError
from asr_adapt.records import MAX_TIME_S

_SECONDS = re.compile(r"\d+(?:[.,]\d*)?(?:[eE][+-]?\d{1,3})?|[.,]\d+")
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d*)?)")
_MAX_SHOWN = 40


def seconds(value: object, field: str, place: object) -> float:
    """Return the seconds that a value means: `62.5`, `62,5`, `1:02.5`, `00:01:02,5`, or a time of a spreadsheet.

    A comma is the decimal sign, as it is in half of the world; `1,234.5` is refused. A clock time of two parts is
    minutes and seconds.

    Raises:
        InputError: it is no time, is negative, or is more than `MAX_TIME_S`.
    """
    found = _seconds(value)
    if found is None or not 0 <= found <= MAX_TIME_S:
        shown = repr(value)
        raise InputError(
            f"field '{field}': must be a time such as 62.5, 62,5, 1:02.5 or 00:01:02,5, but is "
            + (shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + "…"),
            place=place,
        )
    return found


def _seconds(value: object) -> float | None:
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, datetime.time):
        return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) <= MAX_TIME_S else None
    text = str(value).strip()
    if len(text) <= _MAX_SHOWN and text.isascii():
        if _SECONDS.fullmatch(text):
            return float(text.replace(",", "."))
        if match := _CLOCK.fullmatch(text):
            hours, minutes, rest = match.groups()
            last = float(rest.replace(",", "."))
            if last < 60 and (hours is None or int(minutes) < 60):
                return int(hours or 0) * 3600 + int(minutes) * 60 + last
    return None
