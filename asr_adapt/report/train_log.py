"""Reading `train_log.jsonl`."""

import json
import math
from pathlib import Path

from asr_adapt.errors import InputError


def read_log(path: Path) -> list[dict[str, float | None]]:
    """Return the lines of a `train_log.jsonl`, without a truncated last one; none if the file does not exist.

    Raises:
        InputError: a line is damaged.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [_entry(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.endswith(b"\n")]


def trained_s(folder: Path) -> float:
    """Return the seconds that a run folder's training took, without validation.

    Raises:
        InputError: a line of the log is damaged.
    """
    return math.fsum(line.get("elapsed_s") or 0.0 for line in read_log(folder / "train_log.jsonl"))


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
