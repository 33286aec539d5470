"""The package's exceptions: each carries a place, the problem (with the offending value), and a remedy."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_SHOWN = 200  # characters of an offending value


class InputError(Exception):
    """A mistake in what the user gave. It reaches the user as one line, and ends a command with exit code 2.

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
        """Return `place: problem. Remedy.` on one line."""
        where = f"{self.place}: " if self.place else ""
        text = f"{where}{self.problem.rstrip('.')}." + (f" {self.remedy}" if self.remedy else "")
        return " ".join(text.split())

    def __reduce__(self) -> tuple:
        return _rebuild, (type(self), self.problem, self.place, self.remedy)


def _rebuild(kind: type[InputError], problem: str, place: str, remedy: str) -> InputError:
    """Unpickle an error that crossed from a worker process."""
    return kind(problem, place=place, remedy=remedy)


class AudioError(InputError):
    """An audio file that cannot be read as sound."""


class AudioTooShort(AudioError):
    """Fewer samples than the feature encoder needs for one frame."""


class TooFewFrames(InputError):
    """A recording too short for the text that is said to be in it."""


class UnknownLetter(InputError):
    """A text holds a unit that the alphabet cannot write."""


class RunLocked(InputError):
    """Another process is at work in this run folder."""


class DiskFull(InputError):
    """There is no room to write; what was whole before still is."""


class TrainingDiverged(InputError):
    """Training met NaN again and again; `has_model` says whether the best model so far was kept."""

    def __init__(self, problem: str, *, place: object = "", remedy: str = "", has_model: bool = False) -> None:
        self.has_model = has_model
        super().__init__(problem, place=place, remedy=remedy)


def describe_validation_error(error: "ValidationError") -> str:
    """Return the first complaint of pydantic on one line: the field, the rule and the value."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":  # half a surrogate pair, too, which no file could hold
        return f"not JSON ({first['ctx']['error']})"
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"field '{field}' is missing"
    value = repr(first["input"])
    shown = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
    rule = str(first["msg"]).removeprefix("Value error, ")
    return f"field '{field}': {rule}, but is {shown}" if field else f"{rule}, but is {shown}"
