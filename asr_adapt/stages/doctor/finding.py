"""What the doctor finds: a name, how bad it is, how often, an example, and what to do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from asr_adapt.errors import printable

Severity = Literal["fatal", "error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("fatal", "error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, wherever in the corpus it is.

    `fatal`: the corpus cannot be trained on. `error`: clips that training leaves out, or scores that flatter.
    `warning`: what probably hurts. `note`: what normalisation mends, or what may be as it should be.
    """

    name: str
    severity: Severity
    problem: str
    remedy: str
    ids: tuple[str, ...]
    """the utterances that have it, in the corpus's order; empty where it is about the corpus"""
    detail: str
    """about the first of them"""
    left_out: tuple[str, ...] = ()
    """those of `ids` that --fix leaves out"""
    usable: bool = False
    """whether what --fix leaves out could be trained on, such as duplicates"""

    @property
    def count(self) -> int:
        """Utterances that have it, or 1 where it is about the corpus."""
        return len(self.ids) or 1

    @property
    def example(self) -> str:
        """The first utterance, and what was seen there, on one line."""
        return printable(f"{self.ids[0]}: {self.detail}" if self.ids else self.detail)


def found(
    name: str,
    severity: Severity,
    problem: str,
    remedy: str,
    where: Sequence[tuple[str, str]],
    left_out: Callable[[str], bool] = lambda id: False,
    *,
    usable: bool = False,
) -> list[Finding]:
    """Return the finding of `(utterance's id, detail)` places, or none where there are none.

    Args:
        name: Of the finding.
        severity: See `Finding`.
        problem: What is wrong.
        remedy: What to do.
        where: Each utterance that has it.
        left_out: Whether --fix leaves an utterance out.
        usable: See `Finding`.
    """
    if not where:
        return []
    ids = tuple(id for id, _ in where)
    return [Finding(name, severity, problem, remedy, ids, where[0][1], tuple(filter(left_out, ids)), usable)]


def always(id: str) -> bool:
    """Leave every utterance out."""
    return True
