"""Reading `train_log.jsonl`."""

import json
from pathlib import Path

from asr_adapt.errors import InputError


def read_log(path: Path) -> list[dict[str, float | None]]:
    """Return the lines of a `train_log.jsonl`, without a last one that was cut short; none if it does not exist.

    Raises:
        InputError: a line is damaged.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [_entry(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.endswith(b"\n")]


def _entry(line: bytes, place: str) -> dict[str, float | None]:
    remedy = "Delete the line; only that point of the training curves is lost."
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})", place=place, remedy=remedy) from error
    fields = entry if isinstance(entry, dict) else {}
    if "step" not in fields or not all(isinstance(value, int | float | None) for value in fields.values()):
        raise InputError("not a line of a training log", place=place, remedy=remedy)
    return fields
