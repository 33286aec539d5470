"""Splits: those that a corpus has by name, those that are made, and what leaks from one into another."""

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

from asr_adapt.corpora.kept_splits import Corpus, KeptSplits
from asr_adapt.errors import InputError
from asr_adapt.recipe import Splits
from asr_adapt.records import SPLITS, Leak, Split, Utterance

_SHARE = 0.1  # of the utterances, for dev and for test
_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("dev", "devel", "development", "valid", "validation", "val"), "dev"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "heldout"), "test"),
}


_OTHER_WORDS = ("eval", "evaluation", "heldout")  # a corpus with test as well has them for something else


def split_named(name: str, choice: Splits = "own") -> Split | None:
    """Return the split that the name of a folder, a table or a column's value means, by the words in it.

    `train-clean-100` and `train_nodev` are train, `validation` and `train_dev` are dev, `eval2000` and `held-out` are
    test. Where `choice` says which names are which split, it alone decides.
    """
    if choice == "made":
        return None
    if choice != "own":
        return next((split for split in SPLITS if name in choice.get(split, ())), None)
    words = _words(name)
    if "nodev" in words:
        return "train"
    found = list(dict.fromkeys(_WORDS[word] for word in words if word in _WORDS))
    # A part that is taken from train is named after it: train_dev.
    return next((split for split in found if split != "train"), "train") if found else None


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", re.sub(r"held[-_. ]out", "heldout", name.lower()))


def innermost_split(folders: Sequence[str], choice: Splits = "own") -> Split | None:
    """Return the split that the last of the folders on a way is named as, of those that are named as one.

    A folder may be named after anything: the word must be the first or the last of its name, without spaces.
    """
    for folder in reversed(folders):
        words = _words(folder)
        named = " " not in folder and bool({*words[:1], *words[-1:]} & {*_WORDS, "nodev"})
        if (named or choice != "own") and (split := split_named(folder, choice)):
            return split
    return None


def parts_by_split(
    names: Sequence[str], choice: Splits, *, unknown_is_train: bool = False
) -> tuple[dict[str, Split | None], list[str]]:
    """Return the split of each part of a corpus (a table, a folder) that is read, and the names of the others.

    Where no name is understood, all parts are read, without a split; so they are where splits are to be made anew.
    A name that begins with its split's word goes before others: `eval2000` is not used beside `test`, nor `train`,
    which holds all, beside `train_nodev`.

    Args:
        names: Of all parts.
        choice: The recipe's `splits`.
        unknown_is_train: Read a part whose name is not understood as train, where no other part is train.
    """
    split_of = {name: split_named(name, choice) for name in names}
    if choice in ("own", "made") and not any(split_of.values()):
        return dict.fromkeys(names), []
    read: dict[str, Split | None] = {name: split for name, split in split_of.items() if split is not None}
    if choice == "own":
        if any("nodev" in _words(name) for name in read):
            read = {name: s for name, s in read.items() if s != "train" or "nodev" in _words(name)}
        for split in SPLITS:
            plain = {n for n, s in read.items() if s == split and _WORDS.get(_words(n)[0]) == split}
            plain = {name for name in plain if _words(name)[0] not in _OTHER_WORDS}
            read = {name: s for name, s in read.items() if s != split or not plain or name in plain}
        if unknown_is_train and "train" not in read.values():
            read |= {name: "train" for name, split in split_of.items() if split is None}
    return read, [name for name in names if name not in read]


def with_splits(
    utterances: Sequence[Utterance],
    kept: KeptSplits | None = None,
    corpus: Corpus | None = None,
    seed: int = 0,
    needed: Sequence[Split] | None = None,
) -> list[Utterance]:
    """Return the utterances with a split each; those that come with splits stay as they are.

    Where none has one, train, dev and test are made; where dev or test is missing beside train, it is taken from
    train. Whole speakers go to dev and test until each holds a tenth, if there are at least five speakers and nobody
    speaks more than half of it all; else whole recordings (utterances of one `audio`); so that no voice, or at least
    no recording, is on two sides. Where there are fewer recordings than splits, they are cut in time: the last tenth
    of the utterances is test, the tenth before it dev.

    A recording in `kept` keeps its split, and a speaker in it gives theirs to new recordings where whole speakers are
    divided; what is new fills the splits up to their shares, in the order of a hash of its name.

    Args:
        utterances: Of one corpus.
        kept: The splits that were made before.
        corpus: The corpus, as `kept` knows it.
        seed: Of the hash.
        needed: The splits to take from train in a corpus with splits; None: `missing_splits`.

    Raises:
        InputError: some utterances have a split and some have none, or there is too little to split.
    """
    kept, corpus = kept or KeptSplits(), corpus or Corpus()
    unsplit = [u for u in utterances if u.split is None]
    if len(unsplit) not in (0, len(utterances)):
        raise InputError(
            f"{len(unsplit)} of {len(utterances)} utterances have no split, the first is '{unsplit[0].id}'",
            remedy="Give every utterance a split, or none.",
        )
    needed = missing_splits([utterances]) if needed is None else needed
    if not unsplit:
        pool = [u for u in utterances if u.split == "train"] if needed else []
        if len(pool) <= len(needed):
            return list(utterances)
        made = iter(_divided(pool, needed, kept, corpus, seed))
        return [next(made) if u.split == "train" else u for u in utterances]
    if len(utterances) < len(SPLITS):
        raise InputError(
            f"{len(utterances)} utterances are too few for train, dev and test",
            remedy="Give splits in the corpus, or more recordings.",
        )
    if kept.format_1:  # an older run: the same corpus is split as it was then
        then = _as_in_format_1(utterances)
        if all(kept.split_of(u, corpus) in (None, u.split) for u in then):
            return then
    return _divided(utterances, SPLITS[1:], kept, corpus, seed)


def missing_splits(corpora: Sequence[Sequence[Utterance]]) -> tuple[Split, ...]:
    """Return which of dev and test have to be taken from train: no corpus has them, nor is one without splits."""
    there = {u.split for utterances in corpora for u in utterances}
    return () if None in there else tuple(split for split in SPLITS[1:] if split not in there)


def _divided(
    utterances: Sequence[Utterance], needed: Sequence[Split], kept: KeptSplits, corpus: Corpus, seed: int
) -> list[Utterance]:
    """Return the utterances, each in train or in one of the `needed` splits."""
    together = grouping(utterances, len(needed) + 1)
    split_of = [_kept_split(u, needed, kept, corpus, by_speaker=together == "speaker") for u in utterances]
    if together == "time" and not any(split_of):
        cut = _in_blocks(utterances, needed)
        # Where several begin at the same time, all of them are on the side of the first.
        by_time = KeptSplits().with_made(cut, corpus)
        again = [u.model_copy(update={"split": by_time.split_of(u, corpus)}) for u in cut]
        return again if len({u.split for u in again}) > len(needed) else cut
    groups: dict[str, list[int]] = defaultdict(list)
    order: dict[str, int] = {}
    position = []
    for index, utterance in enumerate(utterances):
        name = str(utterance.speaker) if together == "speaker" else corpus.recording(utterance.audio)
        position.append(order.setdefault(name, len(order)))
        if split_of[index] is None:
            groups[name].append(index)
    share = _SHARE * len(utterances)
    filled = Counter(split for split in split_of if split is not None)
    # Large groups last: they go to train.
    names = sorted(groups, key=lambda name: (len(groups[name]) > share, _hash(f"{seed}/{name}")))
    for number, name in enumerate(names):
        split = min(needed, key=lambda part: filled[part])
        fits = not filled[split] or filled[split] + len(groups[name]) <= share
        if not fits or (number == len(names) - 1 and not filled["train"]):
            split = "train"
        filled[split] += len(groups[name])
        for index in groups[name]:
            split_of[index] = split
    divided = [u.model_copy(update={"split": split}) for u, split in zip(utterances, split_of, strict=True)]
    if together == "time":
        return divided
    # Group by group, as always: a run's fingerprint knows the order.
    return [divided[index] for index in sorted(range(len(divided)), key=position.__getitem__)]


def _kept_split(
    utterance: Utterance, needed: Sequence[Split], kept: KeptSplits, corpus: Corpus, *, by_speaker: bool
) -> Split | None:
    split = kept.split_of(utterance, corpus)
    if split is None and by_speaker and utterance.speaker is not None:
        split = kept.split_of_speaker(utterance.speaker, corpus)
    return split if split == "train" or split in needed else None


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


def _as_in_format_1(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Return the utterances with the splits that version 0.1.0 made of them."""
    together = grouping(utterances)
    if together == "time":
        return _in_blocks(utterances)
    groups: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        groups[str(utterance.speaker) if together == "speaker" else utterance.audio].append(utterance)
    names = sorted(groups)
    random.Random(0).shuffle(names)
    names.sort(key=lambda name: len(groups[name]) > _SHARE * len(utterances))  # stable: large groups go to train
    split_of: dict[str, Split] = {}
    filled: dict[Split, int] = {"dev": 0, "test": 0}
    while len(names) > 1:
        split = min(filled, key=lambda part: filled[part])
        if filled[split] and filled[split] + len(groups[names[0]]) > _SHARE * len(utterances):
            break
        split_of[names[0]] = split
        filled[split] += len(groups[names.pop(0)])
    return [
        u.model_copy(update={"split": split_of.get(name, "train")}) for name, group in groups.items() for u in group
    ]


def grouping(utterances: Sequence[Utterance], parts: int = len(SPLITS)) -> Literal["speaker", "recording", "time"]:
    """Return what `with_splits` goes by to divide these into so many parts."""
    spoken = Counter(u.speaker for u in utterances)
    enough = None not in spoken and len(spoken) >= 5 and max(spoken.values()) * 2 <= len(utterances)
    if enough:
        return "speaker"
    return "recording" if len({u.audio for u in utterances}) >= parts else "time"


def _in_blocks(utterances: Sequence[Utterance], needed: Sequence[Split] = ("dev", "test")) -> list[Utterance]:
    """Cut them in time, since sentences that follow one another are about the same things."""
    ordered = sorted(range(len(utterances)), key=lambda i: (utterances[i].audio, utterances[i].start_s or 0.0))
    size = max(1, round(_SHARE * len(utterances)))
    split_of: dict[int, Split] = dict.fromkeys(ordered, "train")
    for number, split in enumerate(reversed(needed)):
        split_of.update(dict.fromkeys(ordered[-(number + 1) * size : -number * size or None], split))
    return [u.model_copy(update={"split": split_of[i]}) for i, u in enumerate(utterances)]


def leaks(utterances: Sequence[Utterance], normalised: Sequence[str]) -> list[Leak]:
    """Return recordings and (normalised) sentences that are in more than one split.

    Pieces of one long recording count as that recording.
    """
    found = []
    kinds: tuple[tuple[Literal["recording", "sentence"], Sequence[str]], ...] = (
        ("recording", [u.audio for u in utterances]),
        ("sentence", normalised),
    )
    for kind, keys in kinds:
        groups: dict[str, list[Utterance]] = defaultdict(list)
        for key, utterance in zip(keys, utterances, strict=True):
            if key:
                groups[key].append(utterance)
        for key, group in groups.items():
            splits = tuple(split for split in SPLITS if any(u.split == split for u in group))
            if len(splits) > 1:
                found.append(Leak(kind=kind, value=key, splits=splits, utterances=len(group)))
    return found
