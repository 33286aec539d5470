"""Tiers of annotated recordings: which of them hold the transcript, and what a choice leaves out."""

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr_adapt.corpora.provenance import without_draft_suffix
from asr_adapt.errors import InputError
from asr_adapt.records import LeftOut, Provenance


@dataclass(frozen=True)
class Annotation:
    """A stretch of a recording with its text."""

    name: str
    start_s: float | None
    """None where the file does not say it"""
    end_s: float | None
    text: str
    problem: str | None = None
    """why it cannot be used"""
    provenance: Provenance | None = None


@dataclass(frozen=True)
class Tier:
    """One tier of one file.

    An empty annotation is silence, or speech that nobody has written down yet: no utterance.
    """

    file: Path
    name: str
    kind: str
    speaker: str | None
    audio: str
    annotations: Sequence[Annotation] = field(repr=False)
    above: str | None = None
    """the tier that it divides or describes; its text repeats that one's"""
    draft_of: str | None = None
    """the tier of a person that it is a draft of; it is chosen by that one's names, too"""

    def __str__(self) -> str:
        """Return the tier in words, for a list to choose from."""
        return f"'{self.name}' ({self.kind}, {len(self.annotations)} annotations)"

    @property
    def names(self) -> set[str]:
        """What it can be chosen by: its name, its type, and its name before `@`."""
        of = self.draft_of or self.name
        return {self.name, self.kind, self.name.partition("@")[0], of, of.partition("@")[0]}

    def duration_s(self) -> float:
        """Return the length of all its annotations, as far as their times are known."""
        return sum(
            max(0.0, a.end_s - a.start_s) for a in self.annotations if a.start_s is not None and a.end_s is not None
        )


@dataclass(frozen=True)
class TierSelection:
    """The tiers that are read, and what else has annotations."""

    taken: list[Tier]
    left_out: list[LeftOut]


def chosen(tiers: Iterable[Tier], wanted: Sequence[str]) -> TierSelection:
    """Return the tiers that are named by `wanted`, by name, by type, or by the name's part before `@`.

    Where nothing is wanted, those of the only type that has annotations, since each speaker has one; tiers below
    others are not considered then, since they repeat what is above.

    Raises:
        InputError: one that is wanted is nowhere, or it would have to be guessed.
    """
    tiers = list(tiers)
    considered = [tier for tier in tiers if wanted or tier.above is None]
    filled = [tier for tier in considered if tier.annotations]
    first = [str(tier) for tier in filled if tier.file == filled[0].file]
    listed = f"{filled[0].file} has {', '.join(first)}" if filled else "No tier has annotations"
    if not wanted:
        if len({tier.kind for tier in filled}) > 1:
            raise InputError(
                "several tiers may hold the transcript", place="corpus.tiers", remedy=f"Name them: {listed}."
            )
        return TierSelection(filled, [])
    missing = {*wanted}.difference(*(tier.names for tier in tiers))
    taken = [tier for tier in filled if tier.names & {*wanted}]
    if missing or not taken:
        absent = sorted(missing) or list(wanted)
        near = {name: near_names(name, {n for tier in filled for n in tier.names}) for name in absent}
        offered = [f"For '{name}': {', '.join(map(repr, names))}?" for name, names in near.items() if names]
        raise InputError(
            f"no tier is {' or '.join(map(repr, absent))}",
            place="corpus.tiers",
            remedy=" ".join((*offered, f"{listed}.")),
        )
    return TierSelection(taken, [*_missing(tiers, wanted), *_not_taken(tiers, taken)])


def without_copies(files: Sequence[Path], read: Callable[[Path], Iterable[Tier]]) -> tuple[list[Tier], list[LeftOut]]:
    """Return the tiers of all files with those annotations that have a text, each once.

    A draft's copy of a file that is there too (`a.draft.eaf` beside `a.eaf`) gives only what that one does not have:
    of a draft, nothing where a person has filled in the annotation that it is of.

    Args:
        files: The annotated files.
        read: Returns the tiers of one, with empty annotations too.

    Returns:
        The tiers, and where a person has written other texts in the copy than in the file itself.
    """
    known = {*files}
    found: list[Tier] = []
    differing: list[LeftOut] = []
    for path in files:
        copies = [replace(tier, annotations=[a for a in tier.annotations if a.text]) for tier in read(path)]
        if (original := without_draft_suffix(path)) == path or original not in known:
            found += copies
            continue
        originals = [*read(original)]
        for tier in copies:
            there = {
                (a.start_s, a.end_s): a.text for of in originals if of.name in (tier.name, tier.draft_of)
                for a in of.annotations if a.text
            }  # fmt: skip
            found.append(
                replace(tier, annotations=[a for a in tier.annotations if (a.start_s, a.end_s) not in there])
            )
            others = [
                a for a in tier.annotations
                if a.provenance != "machine" and there.get((a.start_s, a.end_s), a.text) != a.text
            ]  # fmt: skip
            if others:
                differing.append(
                    LeftOut.of(
                        "differing copy",
                        f"tier '{tier.name}'",
                        [path],
                        utterances=len(others),
                        duration_s=sum((a.end_s or 0.0) - (a.start_s or 0.0) for a in others),
                    )
                )
    return found, differing


def near_names(name: str, others: Iterable[str]) -> list[str]:
    """Return those of `others` that differ from `name` in case, in what follows `@`, or a little in spelling."""
    plain = _plain(name)
    close = {*difflib.get_close_matches(plain, {_plain(other) for other in others}, n=3, cutoff=0.75)}
    return sorted(other for other in {*others} if other and other != name and _plain(other) in close | {plain})


def _plain(name: str) -> str:
    return name.partition("@")[0].strip().casefold()


def _missing(tiers: Sequence[Tier], wanted: Sequence[str]) -> list[LeftOut]:
    """Return, for each name, the files that have no such tier.

    A file that has another of the wanted tiers is listed only if a tier of it has nearly that name: not every
    speaker is in every recording.
    """
    by_file: dict[Path, set[str]] = defaultdict(set)
    full_names: dict[Path, set[str]] = defaultdict(set)
    for tier in tiers:
        by_file[tier.file] |= tier.names
        full_names[tier.file] |= {tier.name, tier.kind}
    found = []
    for name in wanted:
        base, _, speaker = name.partition("@")
        files, near = [], set()
        for file, names in by_file.items():
            alike = {*near_names(name, full_names[file])} - {*wanted}
            if speaker:  # the same tier of another speaker is another tier
                alike = {other for other in alike if not other.startswith(f"{base}@")}
            if name not in names and (alike or not names & {*wanted}):
                files.append(file)
                near |= alike
        if files:
            found.append(LeftOut.of("missing tier", name, files, near=near))
    return found


def _not_taken(tiers: Sequence[Tier], taken: Sequence[Tier]) -> list[LeftOut]:
    """Return the tiers with annotations that are not read, without those that repeat what is read.

    The tiers below one tier repeat one another: each such family is either read, or the longest stands for it.
    """
    above = {(tier.file, tier.name): tier.above for tier in tiers}
    families: dict[tuple[Path, str], list[Tier]] = defaultdict(list)
    for tier in tiers:
        families[tier.file, _topmost(tier, above)].append(tier)
    read = {(tier.file, _topmost(tier, above)) for tier in taken}
    groups: dict[str, list[Tier]] = defaultdict(list)
    for key, family in families.items():
        longest = max(family, key=Tier.duration_s)
        if key not in read and longest.annotations:
            groups[longest.name].append(longest)
    return [
        LeftOut.of(
            "tier",
            name,
            [tier.file for tier in group],
            utterances=sum(len(tier.annotations) for tier in group),
            duration_s=sum(tier.duration_s() for tier in group),
        )
        for name, group in groups.items()
    ]


def _topmost(tier: Tier, above: dict[tuple[Path, str], str | None]) -> str:
    line = [tier.name]
    while (name := above.get((tier.file, line[-1]))) is not None and name not in line:
        line.append(name)
    return line[-1]
