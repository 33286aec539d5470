"""What --fix does: a manifest of the utterances that can be used, repaired, and a recipe that reads it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_adapt.audio.locators import absolute
from asr_adapt.console import Console
from asr_adapt.records import SPLITS, LeftOut, Utterance, write_jsonl
from asr_adapt.stages.doctor import transcripts
from asr_adapt.stages.doctor.finding import Finding
from asr_adapt.storage import cache_folder
from asr_adapt.text.markup import Markup
from asr_adapt.text.normaliser import Normaliser


@dataclass(frozen=True)
class Fix:
    """The manifest that --fix writes, not written yet."""

    utterances: tuple[Utterance, ...]
    """what the manifest holds"""
    left_out: tuple[tuple[Utterance, str], ...]
    """`(utterance, finding's name)`"""
    repaired: int
    """transcripts that differ from the corpus's"""
    spared: tuple[str, ...]
    """findings whose utterances stay because their split would be empty otherwise, in words"""

    @property
    def emptied(self) -> tuple[str, ...]:
        """The splits of which nothing can be used."""
        left = {u.split for u in self.utterances}
        return tuple(sorted({u.split or "none" for u, _ in self.left_out if u.split not in left}))

    @property
    def changes_anything(self) -> bool:
        """Whether the manifest differs from the corpus."""
        return bool(self.left_out or self.repaired)

    def summary(self) -> str:
        """Return what the manifest holds, on one line."""
        reasons = Counter(name for _, name in self.left_out)
        total = len(self.utterances) + len(self.left_out)
        parts = [f"{len(self.utterances):,} of {total:,} utterances"]
        if reasons:
            parts.append("left out: " + ", ".join(f"{name} {count:,}" for name, count in reasons.most_common()))
        if self.repaired:
            parts.append(f"{self.repaired:,} transcript{'s' * (self.repaired > 1)} repaired")
        return "; ".join([*parts, *self.spared])

    def show(self, console: Console, not_read: Sequence[LeftOut] = ()) -> None:
        """Print what is left out as a table on standard output.

        Args:
            console: Where to print.
            not_read: Parts of the corpus that were not read, which get a row each, too.
        """
        counts: Counter[tuple[str, str]] = Counter()
        first: dict[tuple[str, str], str] = {}
        for utterance, name in self.left_out:
            key = utterance.split or "none", name
            counts[key] += 1
            first.setdefault(key, utterance.id)
        rows = [(*key, f"{count:,}", first[key]) for key, count in sorted(counts.items())]
        rows += [("", f"{part.kind} {part.name}", f"{part.utterances:,}", part.first_files[0]) for part in not_read]
        if rows:
            console.table("left out", ("split", "why", "utterances", "first"), rows, is_result=True)

    def write(self, path: Path) -> None:
        """Write the manifest."""
        write_jsonl(path, self.utterances)

    def note_on_cache(self) -> str | None:
        """Return where unpacked audio is that the manifest needs, in words."""
        cache = cache_folder()
        if any(cache in Path(u.audio).parents for u in self.utterances):
            return f"its audio was unpacked into {cache}: keep that folder"
        return None


def plan(utterances: Sequence[Utterance], findings: Sequence[Finding], markup: Markup, normalise: Normaliser) -> Fix:
    """Return what --fix does with a corpus.

    No split is emptied: utterances that could be used, such as those of leaks, stay where all of a split's would be
    left out.

    Args:
        utterances: All of the corpus.
        findings: The worst first; an utterance that several leave out counts under the first
            that makes it unusable, else under the first.
        markup: Markup that is removed from the transcripts.
        normalise: By the recipe's text rules with the proposed ones added.
    """
    unusable_first = sorted(findings, key=lambda finding: finding.usable)
    why = {id: finding for finding in reversed(unusable_first) for id in finding.left_out}
    spared = []
    for split in (*SPLITS, None):
        members = [u.id for u in utterances if u.split == split]
        if members and all(id in why for id in members):
            usable = Counter(why[id].name for id in members if why[id].usable)
            if usable:
                names = ", ".join(usable)
                spared.append(f"{names}: kept in {split or 'the corpus'}, which would be empty otherwise")
                why = {id: finding for id, finding in why.items() if not (finding.usable and id in {*members})}
    used = [u for u in utterances if u.id not in why]
    cleaned = [markup.cleaned(u.text or "", normalise) for u in used]
    main = transcripts.main_script(cleaned)
    table = transcripts.confused(cleaned, main)
    fixed = tuple(
        u.model_copy(update={"audio": absolute(u.audio), "text": transcripts.repaired(text, main, table)})
        for u, text in zip(used, cleaned, strict=True)
    )
    return Fix(
        utterances=fixed,
        left_out=tuple((u, why[u.id].name) for u in utterances if u.id in why),
        repaired=sum(new.text != (old.text or "") for new, old in zip(fixed, used, strict=True)),
        spared=tuple(spared),
    )
