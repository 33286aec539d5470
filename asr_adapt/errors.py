"""The package's exceptions: each carries a place, the problem (with the offending value), and a remedy."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_MAX_SHOWN = 200  # characters of an offending value
# What must not reach a terminal or an XML file as it is: C0 and C1 controls, and marks that reorder a line.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class InputError(Exception):
    """A mistake in the user's input. Shown as one line; ends a command with exit code 2.

    Args:
        problem: What is wrong, with the offending value in it.
        place: Where: a file, `file:line`, a recipe's field.
        remedy: What to do about it.
    """

    def __init__(self, problem: str, *, place: object = "", remedy: str = "") -> None:
        self.problem = problem
        self.place = str(place)
        self.remedy = remedy
        super().__init__(problem, self.place, remedy)

    def __str__(self) -> str:
        """Return `place: problem. Remedy.` on one line, with control characters escaped."""
        where = f"{self.place}: " if self.place else ""
        text = f"{where}{self.problem.rstrip('.')}." + (f" {self.remedy}" if self.remedy else "")
        return printable(" ".join(re.split(r"[ \t\r\n]+", text.strip())))

    def __reduce__(self) -> tuple:
        return _rebuild, (type(self), self.problem, self.place, self.remedy)


def _rebuild(kind: type[InputError], problem: str, place: str, remedy: str) -> InputError:
    """Unpickle an error that was raised in a worker process."""
    return kind(problem, place=place, remedy=remedy)


class AudioError(InputError):
    """An audio file that cannot be decoded."""


class AudioTooShort(AudioError):
    """Fewer samples than the feature encoder needs for one frame."""


class TooFewFrames(InputError):
    """A recording too short for its transcript: CTC needs a frame for each label and for each adjacent repeat."""


class UnknownLetter(InputError):
    """A text holds a unit that is not in the alphabet."""


class NoUtterances(InputError):
    """A corpus whose files hold no text, such as ELAN files with empty annotations."""


class RunLocked(InputError):
    """Another process is using this run folder."""


class ProcessLost(InputError):
    """Another process of the run has ended, so that this one cannot continue."""


class DiskFull(InputError):
    """No space left to write; files that were complete before are unchanged."""


class Interrupted(BaseException):
    """A signal ended the work at a place from which it can be resumed.

    No `Exception`, so that nothing that handles failures takes it for one; no `SystemExit`, so that a notebook
    continues.

    Args:
        signal_number: Of the signal.
        message: One line: what was saved. Empty where another process reports it.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        self.exit_code = 128 + signal_number
        super().__init__(message)


class TrainingDiverged(InputError):
    """Training met NaN again and again; `has_model` says whether the best model so far was kept."""

    def __init__(self, problem: str, *, place: object = "", remedy: str = "", has_model: bool = False) -> None:
        self.has_model = has_model
        super().__init__(problem, place=place, remedy=remedy)


def printable(text: Path | str) -> str:
    """Return a path or text that UTF-8, a terminal and XML can show: other bytes and control characters escaped.

    `\\x1b` for an escape, `\\udcff` for a byte of a file name that is not UTF-8.
    """
    encodable = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), encodable)


def describe_validation_error(error: "ValidationError") -> str:
    """Return pydantic's first error on one line: the field, the rule and the value."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":  # lone surrogates too
        return f"not JSON ({first['ctx']['error']})"
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"field '{field}' is missing"
    value = repr(first["input"])
    shown = value if len(value) <= _MAX_SHOWN else value[:_MAX_SHOWN] + "…"
    rule = str(first["msg"]).removeprefix("Value error, ")
    return f"field '{field}': {rule}, but is {shown}" if field else f"{rule}, but is {shown}"
