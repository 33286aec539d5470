"""JSON lines: one object a line, in a `.jsonl` file or in a `.jsonl.gz`."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from asr_adapt.errors import InputError
from asr_adapt.storage import iterate_lines

SUFFIXES = (".json", ".jsonl", ".jsonl.gz")


def objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield `(place, object)` of each line that is not blank.

    Raises:
        InputError: a line is no JSON object; the error names it.
    """
    for number, line in iterate_lines(path):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            found = json.loads(line)
        except RecursionError as error:
            raise InputError("not JSON that can be read (nested too deeply)", place=place) from error
        except ValueError as error:  # also integers of more digits than Python converts
            raise InputError(f"not JSON ({error})", place=place) from error
        if not isinstance(found, dict):
            raise InputError(f"a JSON {type(found).__name__} where an object must be", place=place)
        yield place, found


def first(path: Path) -> dict[str, Any]:
    """Return the first object; an empty one where the file cannot be read, which is for its reader to say."""
    try:
        return next((found for _, found in islice(objects(path), 1)), {})
    except InputError:
        return {}


def text(found: dict[str, Any], key: str, place: object) -> str:
    """Return a text of an object.

    Raises:
        InputError: it is missing, or no text.
    """
    if isinstance(value := found.get(key), str):
        return value
    raise InputError(f"field '{key}' is {'no text' if key in found else 'missing'}", place=place)
