"""Splits: those that a corpus has by name, those that are made, and what leaks from one into another."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

from asr_adapt.errors import InputError
from asr_adapt.records import SPLITS, Leak, Split, Utterance

_SHARE = 0.1  # of the utterances, for dev and for test
_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("dev", "devel", "development", "valid", "validation", "val"), "dev"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}


def split_named(name: str) -> Split | None:
    """Return the split that a folder's or a table's name means: `train-clean-100` is train, `validation` is dev."""
    return _NAMES.get(re.split(r"[-_.\d]", name.lower())[0])


def innermost_split(folders: Sequence[str]) -> Split | None:
    """Return the split that the last of the folders on a way is named as, of those that are named as one."""
    return next((split for folder in reversed(folders) if (split := split_named(folder))), None)


def with_splits(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Return the utterances with a split each; those that come with splits stay as they are.

    Where none has one: whole speakers go to dev and test until each holds a tenth, if there are at least five
    speakers and nobody speaks more than half of it all; else whole recordings (utterances of one `audio`); so that
    no voice, or at least no recording, is on two sides. One or two recordings are cut in time: the last tenth of
    the utterances is test, the tenth before it dev. The same corpus is always split the same way.

    Raises:
        InputError: some utterances have a split and some have none, or there is too little to split.
    """
    unsplit = [u for u in utterances if u.split is None]
    if not unsplit:
        return list(utterances)
    if len(unsplit) < len(utterances):
        raise InputError(
            f"{len(unsplit)} of {len(utterances)} utterances have no split, the first is '{unsplit[0].id}'",
            remedy="Give every utterance a split, or none.",
        )
    if len(utterances) < len(SPLITS):
        raise InputError(
            f"{len(utterances)} utterances are too few for train, dev and test",
            remedy="Give splits in the corpus, or more recordings.",
        )
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


def grouping(utterances: Sequence[Utterance]) -> Literal["speaker", "recording", "time"]:
    """Return what `with_splits` goes by in this corpus."""
    spoken = Counter(u.speaker for u in utterances)
    enough = None not in spoken and len(spoken) >= 5 and max(spoken.values()) * 2 <= len(utterances)
    if enough:
        return "speaker"
    return "recording" if len({u.audio for u in utterances}) >= len(SPLITS) else "time"


def _in_blocks(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Cut them in time, since sentences that follow one another are about the same things."""
    ordered = sorted(range(len(utterances)), key=lambda i: (utterances[i].audio, utterances[i].start_s or 0.0))
    size = max(1, round(_SHARE * len(utterances)))
    split_of: dict[int, Split] = dict.fromkeys(ordered, "train")
    split_of.update(dict.fromkeys(ordered[-2 * size : -size], "dev"))
    split_of.update(dict.fromkeys(ordered[-size:], "test"))
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
