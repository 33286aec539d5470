"""prepare: decode a corpus to 16 kHz, check every clip, and write memory-mapped Arrow and a list of exclusions."""

import platform
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from asr_adapt import audio, corpora, remote
from asr_adapt import cluster as clusters
from asr_adapt.artifacts import PreparationSummary
from asr_adapt.audio.locators import absolute
from asr_adapt.cluster import Cluster, WorkerDied
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
_Outcome = np.ndarray | tuple[str, str]
"""of an utterance: its waveform; or why it cannot be used, a reason and a detail"""
_CHUNK, _CHUNK_S, _ASSUMED_S = 64, 300.0, 10.0  # a chunk is lost with its worker, and is some 20 MB of waveforms
_SHOWN_CHANGES = 20
_SHOWN_LEFT_OUT = 10


@dataclass(frozen=True)
class _Item:
    utterance: Utterance
    text: str
    """the normalised transcript"""
    digest: str | None
    """of the recording's file, where the plan was made; None: it cannot be read there"""

    def is_elsewhere_only(self) -> bool:
        """Whether the recording was there where the plan was made, and is not here."""
        place = self.utterance.audio
        if self.digest is None or remote.is_url(place):
            return False
        return not Path(place).exists() and not Path(place.rpartition("#")[0] or place).exists()


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
    copied: dict[str, int] = {}
    cluster = _cluster(recipe)
    with clusters.connected(cluster) if cluster else nullcontext():
        for split, members in by_split.items():
            with (
                console.progress(f"prepare {split}", total=len(members)) as progress,
                tempfile.TemporaryDirectory(dir=folder, prefix="decoded-") as scratch,
            ):
                preparation = _Preparation(trainability if split == "train" else None, dict(heard))
                rows = _rows(members, normalise, digests, preparation, Path(scratch), recipe, console)
                originals = None if recipe.corpus.copy_audio else digests
                written, hours[split], unusable = _write(folder, split, progress.over(rows), originals)
            counts[split], copied[split] = written.utterances, written.copied
            excluded += unusable
            if not counts[split]:
                raise _nothing_usable(split, unusable, recipe)
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
    if not recipe.corpus.copy_audio:
        _show_copied(sum(copied.values()), sum(counts.values()), console)
    return summary


def _nothing_usable(split: Split, unusable: Sequence[Exclusion], recipe: Recipe) -> InputError:
    reasons = Counter(exclusion.reason for exclusion in unusable)
    if reasons.keys() == {trained_on.REASON}:
        return InputError(
            f"the {split} split has nothing but clips that are trained on, the first is {unusable[0].id} "
            f"({unusable[0].detail})",
            place=recipe.corpus.root,
            remedy=f"Give {split} other speech, or choose another base model; --corpus.allow_trained true "
            "keeps them, and the score says so.",
        )
    return InputError(
        f"no utterance of the {split} split can be used: "
        + ", ".join(f"{reason} × {count}" for reason, count in reasons.items()),
        place=recipe.corpus.root,
        remedy=f"The first: {unusable[0].detail}.",
    )


@dataclass(frozen=True)
class _Preparation:
    """What becomes of each utterance of a split, on this machine or on a cluster's."""

    trainability: checks.Trainability | None
    """what is checked besides whether the audio can be read; None: nothing"""
    heard: Mapping[str, Clips]
    """clips that must not be among them, by where those are trained on"""

    def outcomes(self, items: Sequence[_Item], scratch: Path, threads: int) -> Iterator[_Outcome]:
        """Yield what became of each item, in order."""
        digests = {item.utterance.audio: item.digest for item in items}

        def outcome(checked: checks.Checked) -> _Outcome:
            if checked.waveform is None or checked.problem:
                assert checked.problem is not None
                return checked.problem
            if self.heard:
                hashes = clip_row(checked.utterance, checked.waveform, digests[checked.utterance.audio])
                for where, clips in self.heard.items():
                    if how := clips.find(hashes):
                        return trained_on.REASON, f"{where}: {how}"
            return checked.waveform

        utterances, texts = [item.utterance for item in items], [item.text for item in items]
        return checks.decode_and_check(utterances, texts, self.trainability, scratch, threads, outcome)

    def on_worker(self) -> Callable[[list[_Item]], list[_Outcome]]:
        """Return what a worker of a cluster does of a chunk."""

        def outcomes(items: list[_Item]) -> list[_Outcome]:
            waits = any(remote.is_url(item.utterance.audio) for item in items)
            threads = checks.WAITING_THREADS if waits else 1
            with tempfile.TemporaryDirectory(prefix="asr-adapt-") as scratch:
                found = list(self.outcomes(items, Path(scratch), threads))
            for item, outcome in zip(items, found, strict=True):
                if not isinstance(outcome, np.ndarray) and item.is_elsewhere_only():
                    raise InputError(
                        f"is not on the worker's machine {platform.node()}",
                        place=item.utterance.audio,
                        remedy="Let all machines have the recordings under one path, or give the corpus's URL.",
                    )
            return found

        return outcomes


def _rows(
    members: Sequence[Utterance],
    normalise: Normaliser,
    digests: Mapping[str, str | None],
    preparation: _Preparation,
    scratch: Path,
    recipe: Recipe,
    console: Console,
) -> Iterator[Row | Exclusion]:
    """Decode and check a split: yield a row for each utterance that can be used, an exclusion for each other one."""
    items = [_Item(u, normalise(u.text or ""), digests.get(u.audio)) for u in members]
    outcomes: Iterator[_Outcome]
    if cluster := _cluster(recipe):
        found = clusters.results(cluster, preparation.on_worker, _chunks(items), console, in_order=True)
        outcomes = (
            ("unreadable_audio", result.problem) if isinstance(result, WorkerDied) else result for _, result in found
        )
    else:
        outcomes = preparation.outcomes(items, scratch, checks.threads(members, recipe.corpus.workers))
    for item, outcome in zip(items, outcomes, strict=True):
        if isinstance(outcome, np.ndarray):
            duration_s = len(outcome) / audio.SAMPLE_RATE_HZ
            yield item.utterance.model_copy(update={"duration_s": duration_s}), item.text, outcome
        else:
            yield Exclusion.of(item.utterance, *outcome)


def _cluster(recipe: Recipe) -> Cluster | None:
    if recipe.corpus.ray is None:
        return None
    return Cluster(recipe.corpus.ray, recipe.corpus.workers, gpus=False, named_by="corpus.ray")


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """Yield the items in chunks, with the places that they have on all machines."""
    chunk: list[_Item] = []
    duration_s = 0.0
    for item in items:
        u = item.utterance
        chunk.append(replace(item, utterance=u.model_copy(update={"audio": absolute(u.audio)})))
        duration_s += _ASSUMED_S if u.end_s is None else u.end_s - (u.start_s or 0.0)
        if len(chunk) >= _CHUNK or duration_s >= _CHUNK_S:
            yield chunk
            chunk, duration_s = [], 0.0
    if chunk:
        yield chunk


def _write(
    folder: Path, split: Split, rows: Iterable[Row | Exclusion], originals: Mapping[str, str | None] | None
) -> tuple[prepared.Written, float, list[Exclusion]]:
    """Write the rows of a split; return what was written, their hours, and the exclusions among them."""
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

    written = prepared.write(folder, split, usable(), originals)
    return written, samples / audio.SAMPLE_RATE_HZ / 3600, excluded


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


def _show_copied(copied: int, total: int, console: Console) -> None:
    console.say(
        f"audio not copied: {total - copied:,} of {total:,} utterances are decoded from the corpus's own files"
    )
    if copied:
        console.warn(
            f"the audio of {copied:,} of {total:,} utterances is copied all the same: it cannot be decoded at random "
            "(members of archives, files elsewhere, segments of recordings that are neither WAV nor FLAC)"
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
