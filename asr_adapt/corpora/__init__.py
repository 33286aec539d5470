"""Corpora: every utterance of a corpus on disk, each with its split."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_adapt.corpora.audio_files import missing_audio
from asr_adapt.corpora.nearest import unknown_layout
from asr_adapt.corpora.readers import READERS
from asr_adapt.corpora.splits import Leak, grouping, leaks, with_splits
from asr_adapt.errors import InputError
from asr_adapt.recipe import Recipe, Source
from asr_adapt.records import SPLITS, LeftOut, Utterance

__all__ = ["Leak", "Reading", "leaks", "read", "read_all", "sources", "with_splits"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """What was found in one corpus or several."""

    utterances: list[Utterance]
    notes: tuple[str, ...]
    """a line for each corpus: its format, its utterances, and how it was split"""
    left_out: tuple[LeftOut, ...] = ()
    """what was not read: tiers that were not chosen, files without a chosen one, splits that are not used"""
    unsplit: InputError | None = None
    """why there are no splits, where that was to be borne"""


def sources(recipe: Recipe) -> list[Source]:
    """Return the corpora of a recipe, each with its root.

    Raises:
        InputError: the recipe names none.
    """
    named = [source for source in (recipe.corpus, *recipe.corpora) if source.root is not None]
    if not named:
        raise InputError("no corpus was named", place="corpus.root", remedy="Give it as --corpus.root FOLDER.")
    if any(source.root is None for source in recipe.corpora):
        raise InputError("a corpus has no root", place="corpora", remedy="Give each its folder.")
    return named


def read(root: Path, language: str) -> list[Utterance]:
    """Return every utterance of the corpus at `root`, each with a split; see `read_all`."""
    return read_all([Source(root=root)], language).utterances


def read_all(named: Sequence[Source], language: str, *, bear_unsplit: bool = False) -> Reading:
    """Return every utterance of the corpora, each with a split.

    Splits are kept where a corpus has them, else made by speaker, else by recording (see `with_splits`), in each
    corpus on its own. Where there are several, ids and speakers get their corpus's name before them.

    Args:
        named: Of `sources`.
        language: Of utterances that name none.
        bear_unsplit: Leave utterances without a split, instead of raising, where none can be made.

    Raises:
        InputError: nothing is there, no reader knows the format, or two utterances share an id.
    """
    utterances: list[Utterance] = []
    notes: list[str] = []
    left_out: list[LeftOut] = []
    unsplit: InputError | None = None
    # Resolved, since the folder that one works in is called "."; the root of all has no name.
    names = [source.root.resolve().name or "corpus" if source.root else "" for source in named]
    for number, source in enumerate(named):
        prefix = (
            "" if len(named) == 1 else names[number] + (f"-{number + 1}" if names.count(names[number]) > 1 else "")
        )
        kind, found, unread = _read_one(source, language)
        left_out += unread
        note = f"{source.root}: {kind}, {len(found):,} utterances"
        if any(u.split is None for u in found):
            note += f", split by {grouping(found)}"
        try:
            found = with_splits(found)
        except InputError as error:
            if not bear_unsplit:
                raise
            unsplit = error
        counts = Counter(u.split for u in found)
        notes.append(f"{note}: " + ", ".join(f"{split} {counts[split]:,}" for split in SPLITS if counts[split]))
        utterances += [_prefixed(u, prefix) for u in found] if prefix else found
    return Reading(utterances, tuple(notes), tuple(left_out), unsplit)


def _read_one(source: Source, language: str) -> tuple[str, list[Utterance], Sequence[LeftOut]]:
    """Return the format's name, the utterances with the splits that the corpus brings, and what was not read."""
    root = source.root
    assert root is not None
    kind = source.format or _recognised(root)
    utterances, left_out = _collected(READERS[kind].read(root, language, source))
    if not utterances:
        raise InputError("the corpus has no utterances", place=root, remedy=f"It was read as {kind}.")
    twice = [name for name, count in Counter(u.id for u in utterances).items() if count > 1]
    if twice:
        raise InputError(
            f"{len(twice)} ids stand twice, the first is '{twice[0]}'",
            place=root,
            remedy="A clip belongs to one line of one split.",
        )
    if (line := missing_audio(utterances, root)) is not None:
        _log.warning("%s: %s", root, line)
    return kind, utterances, left_out


def _collected(rows: Iterator[Utterance]) -> tuple[list[Utterance], Sequence[LeftOut]]:
    """Return what a reader yields, and what it returns: a reader that chooses returns what it left out."""
    found = []
    while True:
        try:
            found.append(next(rows))
        except StopIteration as end:
            return found, end.value or ()


def _recognised(root: Path) -> str:
    if not root.exists():
        raise InputError(
            "no such corpus",
            place=root,
            remedy="Give the corpus's folder as --corpus.root; for a name on the Hub, --corpus.format hugging_face.",
        )
    known = [kind for kind, reader in READERS.items() if reader.recognises(root)]
    if not known:
        raise unknown_layout(root)
    if len(known) > 1:
        raise InputError(
            f"may be read as {' or '.join(known)}", place=root, remedy="Say which: --corpus.format FORMAT."
        )
    return known[0]


def _prefixed(utterance: Utterance, prefix: str) -> Utterance:
    speaker = utterance.speaker and f"{prefix}/{utterance.speaker}"
    return utterance.model_copy(update={"id": f"{prefix}/{utterance.id}", "speaker": speaker})
