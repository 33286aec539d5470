"""prepare: a corpus on disk becomes 16 kHz utterances in memory-mapped Arrow, with a list of what was left out."""

import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from asr_adapt import audio, corpora
from asr_adapt.artifacts import PreparationSummary
from asr_adapt.audio.decoded_cache import Pieces, in_order
from asr_adapt.console import Console
from asr_adapt.corpora import checks, prepared
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import AudioError, InputError
from asr_adapt.recipe import Recipe
from asr_adapt.records import SPLITS, Exclusion, Leak, Split, Utterance
from asr_adapt.text import characters, normaliser
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.text.normaliser import Normaliser


def check_splits(recipe: Recipe, utterances: list[Utterance]) -> None:
    """Say early that there is nothing to train on, or nothing to judge by.

    Raises:
        InputError: a split is empty, or none of its utterances has a text.
    """
    normalise = Normaliser(recipe.text, recipe.language)
    for split in SPLITS:
        members = [u for u in utterances if u.split == split]
        if not members:
            raise InputError(
                f"the {split} split is empty", place=recipe.corpus.root, remedy=f"Give the corpus a {split} split."
            )
        if not any(normalise(u.text or "") for u in members):
            raise InputError(f"no utterance of the {split} split has a transcript", place=recipe.corpus.root)


def prepare(
    recipe: Recipe, utterances: list[Utterance], grid: FrameGrid, folder: Path, console: Console
) -> PreparationSummary:
    """Decode, check and write every split of a corpus into `folder`.

    From train everything that `checks` finds is left out; from dev and test only what cannot be read, so that a
    score is about all of the speech. The alphabet is that of the training text alone.

    Args:
        recipe: The recipe; what it leaves open about training is not asked for.
        utterances: Of `corpora.read`, which `check_splits` let through.
        grid: The frames of the model to be trained.
        folder: The run's `data/`.
        console: Where to report.

    Raises:
        InputError: nothing of a split could be used.
    """
    normalise = Normaliser(recipe.text, recipe.language)
    by_split: dict[Split, list[Utterance]] = {s: [u for u in utterances if u.split == s] for s in SPLITS}
    if recipe.corpus.max_train_hours:
        by_split["train"] = _random_part(by_split["train"], recipe.corpus.max_train_hours)

    used = [u for members in by_split.values() for u in members]
    changed = normaliser.changes((u.text or "" for u in used), normalise)
    _show_changes(changed, console)
    leaks = corpora.leaks(used, [normalise(u.text or "") for u in used])
    _show_leaks(leaks, console)
    alphabet = Alphabet.from_texts((normalise(u.text or "") for u in by_split["train"]), recipe.text)
    console.say(f"alphabet: {len(alphabet) - 2} letters, the word delimiter and the blank: "
                + " ".join(alphabet.units[2:]))  # fmt: skip

    folder.mkdir(parents=True, exist_ok=True)
    excluded: list[Exclusion] = []
    counts: dict[str, int] = {}
    hours: dict[str, float] = {}
    for split, members in by_split.items():
        with (
            console.progress(f"prepare {split}", total=len(members)) as progress,
            tempfile.TemporaryDirectory(dir=folder, prefix="decoded-") as scratch,
        ):
            waveforms = _waveforms(members, recipe.corpus.workers, Path(scratch))
            rows = _checked(recipe, split, zip(members, waveforms, strict=True), normalise, alphabet, grid, excluded)
            counts[split], hours[split] = _write(folder, split, progress.over(rows))
        if not counts[split]:
            reasons = Counter(e.reason for e in excluded if e.split == split)
            raise InputError(
                f"no utterance of the {split} split can be used: "
                + ", ".join(f"{reason} × {count}" for reason, count in reasons.items()),
                place=recipe.corpus.root,
                remedy=f"The first: {next(e.detail for e in excluded if e.split == split)}.",
            )
    _show_exclusions(excluded, console)
    unknown = {s: _unknown_letters(by_split[s], normalise, alphabet) for s in ("dev", "test")}
    for name, letters in unknown.items():
        if letters:
            shown = ", ".join(f"{unit} ({characters.describe_unit(unit)}) × {n}" for unit, n in letters.items())
            console.warn(f"{name} has letters that train has not; each counts as an error: {shown}")
    summary = PreparationSummary(
        alphabet=alphabet.units,
        utterances=counts,
        hours={split: round(value, 4) for split, value in hours.items()},
        speakers={split: len({u.speaker for u in members} - {None}) for split, members in by_split.items()},
        unknown_letters=unknown,
        character_changes=tuple(changed),
        leaks=tuple(leaks),
        excluded=tuple(excluded),
    )
    summary.write(folder)
    for split in SPLITS:
        console.say(f"{split}: {counts[split]} utterances, {hours[split]:.2f} h, {summary.speakers[split]} speakers")
    return summary


def _checked(
    recipe: Recipe,
    split: Split,
    decoded: Iterable[tuple[Utterance, np.ndarray | AudioError]],
    normalise: Normaliser,
    alphabet: Alphabet,
    grid: FrameGrid,
    excluded: list[Exclusion],
) -> Iterator[tuple[Utterance, str, np.ndarray] | None]:
    """Yield a row for each utterance that can be used and None for each that cannot; fill `excluded`."""
    for utterance, waveform in decoded:
        normalised = normalise(utterance.text or "")
        if isinstance(waveform, AudioError):
            excluded.append(Exclusion.of(utterance, "unreadable_audio", waveform.problem))
            yield None
            continue
        if split == "train":
            problem = checks.untrainable(
                waveform,
                normalised,
                alphabet,
                grid,
                min_duration_s=recipe.corpus.min_duration_s,
                max_duration_s=recipe.corpus.max_duration_s,
            )
            if problem:
                excluded.append(Exclusion.of(utterance, *problem))
                yield None
                continue
        duration_s = len(waveform) / audio.SAMPLE_RATE_HZ
        yield utterance.model_copy(update={"duration_s": duration_s}), normalised, waveform


def _waveforms(members: list[Utterance], workers: int | None, scratch: Path) -> Iterator[np.ndarray | AudioError]:
    pieces = Pieces(members, scratch)

    def decode(utterance: Utterance) -> np.ndarray | AudioError:
        try:
            return pieces.load(utterance)
        except AudioError as error:
            return error

    return in_order(decode, members, workers or os.cpu_count() or 1)


def _write(folder: Path, split: Split, rows: Iterable[tuple[Utterance, str, np.ndarray] | None]) -> tuple[int, float]:
    seconds = 0.0

    def usable() -> Iterator[tuple[Utterance, str, np.ndarray]]:
        nonlocal seconds
        for row in rows:
            if row is not None:
                seconds += len(row[2]) / audio.SAMPLE_RATE_HZ
                yield row

    return prepared.write(folder, split, usable()), seconds / 3600


def _random_part(members: list[Utterance], hours: float) -> list[Utterance]:
    """Return random utterances of about `hours`, in their old order."""
    order = list(range(len(members)))
    random.Random(0).shuffle(order)  # one part whatever the training's seed: a longer one holds the shorter
    chosen: set[int] = set()
    seconds = 0.0
    for index in order:
        if seconds >= hours * 3600:
            break
        chosen.add(index)
        seconds += _length_s(members[index])
    return [utterance for index, utterance in enumerate(members) if index in chosen]


def _length_s(utterance: Utterance) -> float:
    """Return an utterance's length; 0 where it cannot be read, which is listed when it is decoded."""
    if utterance.duration_s is not None:
        return utterance.duration_s
    if utterance.end_s is not None:
        return utterance.end_s - (utterance.start_s or 0.0)
    try:
        return audio.duration_s(utterance.audio) - (utterance.start_s or 0.0)
    except AudioError:
        return 0.0


def _unknown_letters(members: list[Utterance], normalise: Normaliser, alphabet: Alphabet) -> dict[str, int]:
    total: Counter[str] = Counter()
    for utterance in members:
        total.update(alphabet.unknown(normalise(utterance.text or "")))
    return dict(total.most_common())


def _show_changes(changed: list[normaliser.CharacterChange], console: Console) -> None:
    if not changed:
        console.say("normalisation changes no character of the transcripts")
        return
    rows = [(repr(c.character)[1:-1], c.name, f"{c.before:,}", f"{c.after:,}") for c in changed[:20]]
    console.table("what normalisation changes", ("", "character", "before", "after"), rows)
    if len(changed) > len(rows):
        console.say(f"and {len(changed) - len(rows)} more, all in data/doctor.json")


def _show_leaks(leaks: list[Leak], console: Console) -> None:
    for kind, count in Counter(leak.kind for leak in leaks).items():
        first = next(leak for leak in leaks if leak.kind == kind)
        console.warn(
            f"{count} {kind}s stand in more than one split; scores on them flatter. "
            f"The first ({', '.join(first.splits)}): {first.value}"
        )


def _show_exclusions(excluded: list[Exclusion], console: Console) -> None:
    counts = Counter((e.split, e.reason) for e in excluded)
    for (split, reason), count in counts.items():
        first = next(e for e in excluded if (e.split, e.reason) == (split, reason))
        console.warn(f"left out of {split}: {count} × {reason}, the first: {first.id} ({first.detail})")
