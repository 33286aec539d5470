"""Tiers of annotated recordings: which of them hold the transcript."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr_adapt.errors import InputError


@dataclass(frozen=True)
class Tier:
    """One tier of one file. Its annotations are `(name, start_s, end_s, text)`, the empty ones left out.

    An empty annotation is silence, or speech that nobody has written down yet: no utterance.
    """

    file: Path
    name: str
    kind: str
    speaker: str | None
    audio: str
    annotations: Sequence[tuple[str, float, float, str]] = field(repr=False)

    def __str__(self) -> str:
        """Return the tier in words, for a list to choose from."""
        return f"'{self.name}' ({self.kind}, {len(self.annotations)} annotations)"


def chosen(tiers: Iterable[Tier], wanted: Sequence[str]) -> list[Tier]:
    """Return the tiers that are named by `wanted`, by name, by type, or by the name's part before `@`.

    Where nothing is wanted, those of the only type that has annotations, since each speaker has one.

    Raises:
        InputError: one that is wanted is nowhere, or it would have to be guessed.
    """
    tiers = list(tiers)
    filled = [tier for tier in tiers if tier.annotations]
    first = [str(tier) for tier in filled if tier.file == filled[0].file]
    listed = f"{filled[0].file} has {', '.join(first)}" if filled else "No tier has annotations"
    if not wanted:
        if len({tier.kind for tier in filled}) > 1:
            raise InputError(
                "several tiers may hold the transcript", place="corpus.tiers", remedy=f"Name them: {listed}."
            )
        return filled
    missing = {*wanted}.difference(*(_called(tier) for tier in tiers))
    found = [tier for tier in filled if _called(tier) & {*wanted}]
    if missing or not found:
        names = " or ".join(map(repr, sorted(missing) or wanted))
        raise InputError(f"no tier is {names}", place="corpus.tiers", remedy=f"{listed}.")
    return found


def _called(tier: Tier) -> set[str]:
    return {tier.name, tier.kind, tier.name.partition("@")[0]}
