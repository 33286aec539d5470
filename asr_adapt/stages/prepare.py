"""prepare: decode a corpus to 16 kHz, check every clip, and write memory-mapped Arrow and a list of exclusions."""

import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from asr_adapt import audio, corpora, remote
from asr_adapt.artifacts import PreparationSummary
from asr_adapt.console import Console
from asr_adapt.corpora import KeptSplits, checks, prepared, trained_on
from asr_adapt.corpora.elsewhere import content_digests
from asr_adapt.corpora.trained_on import Clips, TrainedOn, clip_row
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import InputError
from asr_adapt.recipe import Recipe
from asr_adapt.records import SPLITS, Exclusion, Leak, LeftOut, Split, Utterance, describe_duration
from asr_adapt.text import characters, normaliser
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.text.normaliser import Normaliser

Row = tuple[Utterance, str, np.ndarray]
"""an utterance, its normalised transcript, and its waveform: float32 (num_samples,), 16 kHz"""
_WAITING_THREADS = 16  # opening a file elsewhere takes some 50 ms
_SHOWN_CHANGES = 20
_SHOWN_LEFT_OUT = 10


def check_splits(recipe: Recipe, utterances: list[Utterance], kept: KeptSplits | None = None) -> None:
    """Fail before any decoding if there is nothing to train on or nothing to evaluate on.

    Args:
        recipe: The recipe.
        utterances: From `corpora.read`.
        kept: The splits that were made before.

    Raises:
        InputError: a split is empty, or none of its utterances has a text.
    """
    normalise = Normaliser(recipe.text, recipe.language)
    for split in SPLITS:
        members = [u for u in utterances if u.split == split]
        if not members:
            remedy = f"Give the corpus a {split} split."
            if kept and kept.file and any(row.split == split for row in kept.rows):
                remedy = (
                    f"Its recordings were removed: restore some; or delete {kept.file} to split anew, after which "
                    "scores cannot be compared with earlier ones."
                )
            raise InputError(f"the {split} split is empty", place=recipe.corpus.root, remedy=remedy)
        if not any(normalise(u.text or "") for u in members if normalise.unclear(u.text or "") is None):
            raise InputError(f"no utterance of the {split} split has a transcript", place=recipe.corpus.root)


def prepare(
    recipe: Recipe,
    utterances: list[Utterance],
    grid: FrameGrid,
    folder: Path,
    console: Console,
    left_out: Sequence[LeftOut] = (),
    known: TrainedOn | None = None,
    digests: Mapping[str, str | None] | None = None,
) -> PreparationSummary:
    """Decode, check and write every split of a corpus into `folder`.

    Train loses every clip that `checks` excludes; dev and test only lose audio that cannot be read, what
    `text.unclear` marks and, unless `corpus.allow_trained`, what is also trained on, so that scores cover all of the
    speech. The alphabet is collected from the training transcripts alone.

    Args:
        recipe: The recipe; its training section is not used.
        utterances: From `corpora.read`, after `check_splits`.
        grid: The frames of the model to be trained.
        folder: The run's `data/`.
        console: Where to report.
        left_out: What was not read of the corpus.
        known: What the base model was trained on.
        digests: Of the recordings' files, by locator; None: computed.

    Raises:
        InputError: a split has no usable utterance.
    """
    normalise = Normaliser(recipe.text, recipe.language)
    clear, excluded = checks.understood(utterances, normalise)
    by_split: dict[Split, list[Utterance]] = {s: [u for u in clear if u.split == s] for s in SPLITS}
    if recipe.corpus.max_train_hours:
        by_split["train"] = _random_subset(
            by_split["train"], recipe.corpus.max_train_hours, recipe.corpus.subset_seed
        )

    used = [u for members in by_split.values() for u in members]
    _show_left_out(left_out, console)
    changed = normaliser.changes((u.text or "" for u in used), normalise)
    _show_changes(changed, console)
    leaks = corpora.leaks(used, [normalise(u.text or "") for u in used])
    _show_leaks(leaks, console)
    alphabet = Alphabet.from_texts((normalise(u.text or "") for u in by_split["train"]), recipe.text)
    console.say(f"alphabet: {len(alphabet) - 2} letters, the word delimiter and the blank: "
                + " ".join(alphabet.units[2:]))  # fmt: skip

    folder.mkdir(parents=True, exist_ok=True)
    trainability = checks.Trainability(alphabet, grid, recipe.corpus.min_duration_s, recipe.corpus.max_duration_s)
    counts: dict[str, int] = {}
    hours: dict[str, float] = {}
    digests = content_digests({u.audio for u in used}) if digests is None else digests
    heard: dict[str, Clips] = {}
    for split, members in by_split.items():
        with (
            console.progress(f"prepare {split}", total=len(members)) as progress,
            tempfile.TemporaryDirectory(dir=folder, prefix="decoded-") as scratch,
        ):
            rows = _rows(
                members,
                normalise,
                trainability if split == "train" else None,
                Path(scratch),
                recipe.corpus.workers or _threads(members),
                heard,
                digests,
            )
            counts[split], hours[split], unusable = _write(folder, split, progress.over(rows))
        excluded += unusable
        if not counts[split]:
            reasons = Counter(exclusion.reason for exclusion in unusable)
            if reasons.keys() == {trained_on.REASON}:
                raise InputError(
                    f"the {split} split has nothing but clips that are trained on, the first is {unusable[0].id} "
                    f"({unusable[0].detail})",
                    place=recipe.corpus.root,
                    remedy=f"Give {split} other speech, or choose another base model; --corpus.allow_trained true "
                    "keeps them, and the score says so.",
                )
            raise InputError(
                f"no utterance of the {split} split can be used: "
                + ", ".join(f"{reason} × {count}" for reason, count in reasons.items()),
                place=recipe.corpus.root,
                remedy=f"The first: {unusable[0].detail}.",
            )
        if split == "train" and not recipe.corpus.allow_trained:
            heard["in train"] = TrainedOn.of([prepared.load(folder, "train")], console, digests).trained
            if known is not None:
                heard["by the base model"] = known.trained
    _show_exclusions(excluded, console)
    unknown = {s: _unknown_letters(by_split[s], normalise, alphabet) for s in ("dev", "test")}
    for name, letters in unknown.items():
        if letters:
            shown = ", ".join(f"{unit} ({characters.describe_unit(unit)}) × {n}" for unit, n in letters.items())
            console.warn(f"{name} has letters that train does not have; each counts as an error: {shown}")
    summary = PreparationSummary(
        alphabet=alphabet.units,
        utterances=counts,
        hours={split: round(value, 4) for split, value in hours.items()},
        speakers={split: len({u.speaker for u in members} - {None}) for split, members in by_split.items()},
        unknown_letters=unknown,
        character_changes=tuple(changed),
        leaks=tuple(leaks),
        excluded=tuple(excluded),
        left_out=tuple(left_out),
    )
    summary.write(folder)
    for split in SPLITS:
        amount = describe_duration(hours[split] * 3600)
        console.say(f"{split}: {counts[split]} utterances, {amount}, {summary.speakers[split]} speakers")
    return summary


def _threads(members: list[Utterance]) -> int:
    cores = os.cpu_count() or 1
    return max(cores, _WAITING_THREADS) if any(remote.is_url(u.audio) for u in members) else cores


def _rows(
    members: list[Utterance],
    normalise: Normaliser,
    trainability: checks.Trainability | None,
    scratch: Path,
    workers: int,
    heard: Mapping[str, Clips],
    digests: Mapping[str, str | None],
) -> Iterator[Row | Exclusion]:
    """Decode and check a split: yield a row for each utterance that can be used, an exclusion for each other one.

    `heard` are clips that must not be among them, by where those are trained on.
    """

    def row(checked: checks.Checked) -> Row | Exclusion:
        if checked.waveform is None or checked.problem:
            assert checked.problem is not None
            return Exclusion.of(checked.utterance, *checked.problem)
        if heard:
            hashes = clip_row(checked.utterance, checked.waveform, digests.get(checked.utterance.audio))
            for where, clips in heard.items():
                if how := clips.find(hashes):
                    return Exclusion.of(checked.utterance, trained_on.REASON, f"{where}: {how}")
        duration_s = len(checked.waveform) / audio.SAMPLE_RATE_HZ
        utterance = checked.utterance.model_copy(update={"duration_s": duration_s})
        return utterance, checked.text, checked.waveform

    texts = (normalise(u.text or "") for u in members)
    return checks.decode_and_check(members, texts, trainability, scratch, workers, row)


def _write(folder: Path, split: Split, rows: Iterable[Row | Exclusion]) -> tuple[int, float, list[Exclusion]]:
    """Write the rows of a split; return their number, their hours, and the exclusions among them."""
    samples = 0
    excluded = []

    def usable() -> Iterator[Row]:
        nonlocal samples
        for row in rows:
            if isinstance(row, Exclusion):
                excluded.append(row)
            else:
                samples += len(row[2])
                yield row

    count = prepared.write(folder, split, usable())
    return count, samples / audio.SAMPLE_RATE_HZ / 3600, excluded


def _random_subset(members: list[Utterance], hours: float, seed: int) -> list[Utterance]:
    """Return a random subset of about `hours`, in the original order; with one seed, a larger one contains it."""
    order = list(range(len(members)))
    random.Random(seed).shuffle(order)
    chosen: set[int] = set()
    seconds = 0.0
    for index in order:
        if seconds >= hours * 3600:
            break
        chosen.add(index)
        seconds += corpora.duration_s(members[index])
    return [utterance for index, utterance in enumerate(members) if index in chosen]


def _unknown_letters(members: list[Utterance], normalise: Normaliser, alphabet: Alphabet) -> dict[str, int]:
    total: Counter[str] = Counter()
    for utterance in members:
        total.update(alphabet.unknown(normalise(utterance.text or "")))
    return dict(total.most_common())


def _show_changes(changed: list[normaliser.CharacterChange], console: Console) -> None:
    if not changed:
        console.say("normalisation does not change any character of the transcripts")
        return
    rows = [(repr(c.character)[1:-1], c.name, f"{c.before:,}", f"{c.after:,}") for c in changed[:_SHOWN_CHANGES]]
    console.table("what normalisation changes", ("", "character", "before", "after"), rows)
    if len(changed) > len(rows):
        console.say(f"and {len(changed) - len(rows)} more, all in data/doctor.json")


def _show_leaks(leaks: list[Leak], console: Console) -> None:
    for kind, count in Counter(leak.kind for leak in leaks).items():
        first = next(leak for leak in leaks if leak.kind == kind)
        console.warn(
            f"{count} {kind}s occur in more than one split, which inflates scores. "
            f"The first ({', '.join(first.splits)}): {first.value}"
        )


def _show_left_out(left_out: Sequence[LeftOut], console: Console) -> None:
    for part in left_out[:_SHOWN_LEFT_OUT]:
        console.warn(part.describe())
    if len(left_out) > _SHOWN_LEFT_OUT:
        console.warn(f"and {len(left_out) - _SHOWN_LEFT_OUT} more parts are not used, all in data/doctor.json")


def _show_exclusions(excluded: list[Exclusion], console: Console) -> None:
    if not excluded:
        return
    counts = Counter((e.split, e.reason) for e in excluded)
    first = {(e.split, e.reason): f"{e.id} ({e.detail})" for e in reversed(excluded)}
    rows = [(split, reason, f"{count:,}", first[split, reason]) for (split, reason), count in counts.items()]
    console.table("excluded", ("split", "reason", "utterances", "first"), rows)
