"""Corpora: every utterance of a corpus on disk, each with its split."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from asr_adapt import remote
from asr_adapt.corpora.audio_files import duration_s, missing_audio
from asr_adapt.corpora.elsewhere import Copy
from asr_adapt.corpora.kept_splits import Corpus, KeptSplits
from asr_adapt.corpora.nearest import unknown_layout
from asr_adapt.corpora.readers import READERS
from asr_adapt.corpora.splits import Leak, grouping, leaks, missing_splits, with_splits
from asr_adapt.errors import InputError, NoUtterances, describe_validation_error
from asr_adapt.recipe import Recipe, Source
from asr_adapt.records import SPLITS, LeftOut, Utterance

__all__ = [
    "KeptSplits",
    "Leak",
    "Reading",
    "corpus_numbers",
    "duration_s",
    "leaks",
    "names",
    "read",
    "read_all",
    "sources",
    "with_splits",
]

_UNPACKED = ("hugging_face", "data_collective")
"""formats whose recordings are unpacked: that would be a copy of the whole corpus"""
_DOWNLOAD = "Download it, and give the folder; of a data set on the Hub, its name as corpus.root."

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """What was found in one corpus or several."""

    utterances: list[Utterance]
    notes: tuple[str, ...]
    """a line for each corpus: its format, its utterances, and how it was split"""
    left_out: tuple[LeftOut, ...] = ()
    """what was not read: tiers that were not chosen, files without a chosen one, splits that are not used"""
    kept: KeptSplits = field(default_factory=KeptSplits)
    """all splits that were made, now and before; to be written beside what is made of the corpus"""
    unsplit: InputError | None = None
    """why there are no splits, where `read_all` was told to go on without"""


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


def names(named: Sequence[Source]) -> list[str]:
    """Return a name for each corpus, of its root; several with one name are numbered.

    Where there are several corpora, ids and speakers begin with it: `mboshi/clip_0001`.
    """
    bare = [_name(source.root) if source.root else "" for source in named]
    return [name + (f"-{number}" if bare.count(name) > 1 else "") for number, name in enumerate(bare, start=1)]


def _name(root: Path | str) -> str:
    # Resolved, since the folder that one works in is called "."; the root of all has no name.
    return (root.resolve().name if isinstance(root, Path) else remote.base_name(root)) or "corpus"


def corpus_numbers(utterances: Iterable[Utterance], named: Sequence[Source]) -> list[int]:
    """Return which of several corpora each utterance is from, by the name that its id begins with."""
    number = {name: index for index, name in enumerate(names(named))}
    return [number[utterance.id.partition("/")[0]] for utterance in utterances]


def read(root: Path | str, language: str) -> list[Utterance]:
    """Return every utterance of the corpus at `root`, each with a split; see `read_all`."""
    return read_all([Source(root=root)], language).utterances


def read_all(
    named: Sequence[Source], language: str, *, allow_unsplit: bool = False, kept: KeptSplits | None = None
) -> Reading:
    """Return every utterance of the corpora, each with a split.

    Where `Source.split` names one, all of that corpus is in it. Else splits are kept where a corpus has them, else
    made by speaker, else by recording (see `with_splits`), in each corpus on its own, and as they were made before.
    Where there are several, ids and speakers get their corpus's name before them.

    Args:
        named: Of `sources`.
        language: Of utterances that name none.
        allow_unsplit: Leave utterances without a split, instead of raising, where none can be made.
        kept: The splits that were made before, of `KeptSplits.of_run`; what was test stays test.

    Raises:
        InputError: nothing is there, no reader knows the format, or two utterances share an id.
    """
    utterances: list[Utterance] = []
    notes: list[str] = []
    left_out: list[LeftOut] = []
    unsplit: InputError | None = None
    kept = kept or KeptSplits()
    read_as = [_read_one(source, language) for source in named]
    needed = missing_splits(
        [found for source, (_, found, _) in zip(named, read_as, strict=True) if source.split is None]
    )
    for name, source, (kind, found, unread) in zip(names(named), named, read_as, strict=True):
        left_out += unread
        note = f"{source.root}: {kind}, {len(found):,} utterances"
        corpus = Corpus(name, source.root)
        try:
            split = with_splits(found, kept, corpus, source.split_seed, needed if source.split is None else ())
        except InputError as error:
            if not allow_unsplit:
                raise
            unsplit, split = error, found
        if source.split is not None:
            note += ", all for training"
        if any(u.split is None for u in found):
            note += f", split by {grouping(found)}"
        elif split != found:
            pool = [u for u in found if u.split == "train"]
            note += f", {' and '.join(needed)} made from train by {grouping(pool, len(needed) + 1)}"
        if split != found:
            if kept.rows and not kept.format_1:
                note += "; recordings that were in it before keep their split"
            made = {u.id for u in found if u.split in (None, "train")}
            kept = kept.with_made([u for u in split if u.id in made], corpus)
        counts = Counter(u.split for u in split)
        notes.append(f"{note}: " + ", ".join(f"{part} {counts[part]:,}" for part in SPLITS if counts[part]))
        utterances += [_prefixed(u, name) for u in split] if len(named) > 1 else split
    return Reading(utterances, tuple(notes), tuple(left_out), kept, unsplit)


def _read_one(source: Source, language: str) -> tuple[str, list[Utterance], Sequence[LeftOut]]:
    """Return the format's name, the utterances with the splits that the corpus brings, and what was not read."""
    if not isinstance(source.root, str):
        assert source.root is not None
        return _read_folder(source, source.root, language)
    if source.format in _UNPACKED:
        raise InputError(
            f"the format {source.format} is read on this machine only", place=source.root, remedy=_DOWNLOAD
        )
    copy = Copy.of(source.root)
    with copy.errors_by_url():
        kind, found, left_out = _read_folder(source, copy.root, language)
    url_of = {audio: copy.url_of(audio) for audio in {u.audio for u in found}}
    for audio, url in url_of.items():
        if "#" in audio and not Path(audio).is_file() and Path(audio.rpartition("#")[0]).is_file():
            raise InputError("recordings in an archive are read on this machine only", place=url, remedy=_DOWNLOAD)
    named = [u.model_copy(update={"audio": url_of[u.audio]}) for u in found]
    files = [part.model_copy(update={"first_files": tuple(map(copy.url_of, part.first_files))}) for part in left_out]
    return kind, named, files


def _read_folder(source: Source, root: Path, language: str) -> tuple[str, list[Utterance], Sequence[LeftOut]]:
    """Do what `_read_one` does, of what lies on this machine."""
    kind = source.format or _recognised(root)
    if isinstance(source.root, str) and kind in _UNPACKED:
        raise InputError(f"is read as {kind}, on this machine only", place=root, remedy=_DOWNLOAD)
    try:
        utterances, left_out = _collected(READERS[kind].read(root, language, source))
    except ValidationError as error:  # a file name that is not UTF-8
        raise InputError(
            describe_validation_error(error), place=root, remedy="Rename the file, or correct the table."
        ) from error
    utterances, drafts = _without_drafts(utterances, source, root)
    utterances, unused = _as_chosen(utterances, source)
    if source.split is not None:
        utterances = [u.model_copy(update={"split": source.split}) for u in utterances]
    if not utterances:
        raise NoUtterances("the corpus has no utterances", place=root, remedy=f"It was read as {kind}.")
    twice = [name for name, count in Counter(u.id for u in utterances).items() if count > 1]
    if twice:
        raise InputError(
            f"{len(twice)} ids occur twice, the first is '{twice[0]}'",
            place=root,
            remedy="A clip belongs to one line of one split.",
        )
    if (line := missing_audio(utterances, root)) is not None:
        _log.warning("%s: %s", root, line)
    return kind, utterances, [*left_out, *drafts, *unused]


def _without_drafts(utterances: list[Utterance], source: Source, root: Path) -> tuple[list[Utterance], list[LeftOut]]:
    """Return the utterances without what a model wrote and nobody corrected, unless `source` trusts it.

    Raises:
        InputError: nothing else is there.
    """
    machine = [u for u in utterances if u.provenance == "machine"]
    if not machine or source.trust_drafts:
        return utterances, []
    left_out = LeftOut.of(
        "machine draft",
        str(source.root),
        [_file_of(u, root) for u in machine],
        utterances=len(machine),
        duration_s=sum(u.end_s - (u.start_s or 0.0) for u in machine if u.end_s is not None),
    )
    kept = [u for u in utterances if u.provenance != "machine"]
    if not kept:
        raise InputError(
            "all of its text was written by a model and not corrected",
            place=root,
            remedy=f"{left_out.describe()}.",
        )
    return kept, [left_out]


def _file_of(utterance: Utterance, root: Path) -> Path:
    """Return the file of a draft, as far as its id says it; else the recording."""
    name, mark, _ = utterance.id.rpartition("#")
    if not mark:
        return Path(utterance.audio)
    return (root.parent if root.is_file() else root) / name


def _as_chosen(utterances: list[Utterance], source: Source) -> tuple[list[Utterance], list[LeftOut]]:
    """Return the utterances with the splits that `source.splits` asks for, each once, and the folders of the others.

    Parts may overlap, as Common Voice's `validated.tsv` and its splits do: an utterance of several is in test before
    dev, and in dev before train.

    Raises:
        InputError: a split that the recipe names has no utterances.
    """
    if source.splits == "own":
        return utterances, []
    if source.splits == "made":
        once = {u.id: u for u in utterances}
        return [u.model_copy(update={"split": None}) for u in once.values()], []
    first: dict[str, Utterance] = {}
    for utterance in sorted(utterances, key=lambda u: -SPLITS.index(u.split) if u.split else 1):
        first.setdefault(utterance.id, utterance)
    chosen = [u for u in utterances if u.split is not None and first[u.id] is u]
    for split, parts in source.splits.items():
        if parts and not any(u.split == split for u in chosen):
            raise InputError(
                f"nothing in {source.root} is called {' or '.join(map(repr, parts))}",
                place=f"corpus.splits.{split}",
                remedy="Give names of tables (without suffix), of folders, or values of the column of splits.",
            )
    unused = Counter(Path(u.audio).parent for u in utterances if first[u.id].split is None)
    return chosen, [LeftOut.of("split", path.name, [path], utterances=count) for path, count in unused.items()]


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
