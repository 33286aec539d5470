"""What a run decides, worked out once: the base model, the corpus, fingerprints, precision, and batches.

A `RunPlan` is made before anything is written, so that most mistakes in a recipe are found in seconds. The rest
follows from the hours of speech, which are known when the corpus is prepared: a `TrainingPlan`.
"""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from accelerate import PartialState

from asr_adapt import audio, corpora
from asr_adapt.artifacts import DepthMeasurement, PreparationSummary
from asr_adapt.audio import augment
from asr_adapt.console import Console
from asr_adapt.corpora import prepared, trained_on
from asr_adapt.corpora.elsewhere import content_digests
from asr_adapt.corpora.trained_on import TrainedOn
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.model import base, freezing, head, mixed_precision
from asr_adapt.model.base import ResolvedBase
from asr_adapt.model.device import best_device
from asr_adapt.model.mixed_precision import Precision
from asr_adapt.recipe import (
    AUTO,
    Recipe,
    Resolved,
    Source,
    fingerprint,
    fingerprint_fields,
    read_recipe,
    training_fields,
)
from asr_adapt.stages import prepare, train, unlabelled
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.training import contrastive, depth, memory, presets, schedule
from asr_adapt.training.presets import Choice
from asr_adapt.workflows.run_state import RunState

Named = TypeVar("Named", bound=Source)
_CHECKED_S = 0.5  # of each recording of noise, to find out whether it can be decoded


@dataclass(frozen=True)
class TrainingPlan:
    """What training decides, known when the corpus is prepared."""

    recipe: Resolved
    """the recipe with every choice made"""
    inputs: str
    """fingerprint of all that decides the trained model"""
    choices: tuple[Choice, ...]
    """what the recipe left open, with reasons"""
    preset: str
    """by which hours it was chosen, in words"""


@dataclass(frozen=True)
class RunPlan:
    """What a run decides before it begins."""

    recipe: Recipe
    """with absolute paths, and a precision"""
    precision_is_open: bool
    """whether the precision was left to be measured"""
    base: ResolvedBase
    grid: FrameGrid
    known: TrainedOn
    """what the base model was trained on"""
    held_out: TrainedOn
    """what must be in neither dev nor test: the same, or more"""
    reading: corpora.Reading
    digests: dict[str, str | None]
    """of the recordings' files, by locator"""
    noise: list[dict[str, str | None]]
    """digests of the recordings of noise and of rooms"""
    prepare_inputs: str
    """fingerprint of all that decides the prepared data"""
    unlabelled: dict[str, str | None]
    """digests of the recordings without transcripts, by locator"""

    @classmethod
    def of(
        cls, recipe: Recipe, kept: corpora.KeptSplits | None = None, held_out: TrainedOn | None = None
    ) -> "RunPlan":
        """Return the plan of a recipe; nothing is written.

        Args:
            recipe: The recipe.
            kept: The splits that were made before, of the run folder.
            held_out: What must be in neither dev nor test, beside what the base model was trained on.

        Raises:
            InputError: the recipe, its base model or its corpus cannot be used.
        """
        sources = corpora.sources(recipe)
        resolved_base = base.resolve(recipe.model, recipe.language)
        grid = base.frame_grid(resolved_base.config)
        known = trained_on.of_base(base.folder(recipe.model), recipe.model.base)
        held_out = known if held_out is None else held_out + known
        open_precision = recipe.train.precision is None
        recipe = settled(recipe)
        reading = corpora.read_all(sources, recipe.language, kept=kept)
        prepare.check_splits(recipe, reading.utterances, kept)
        if recipe.train.pretrain_steps:
            contrastive.check(resolved_base.config, recipe.model.base)
        noise = _noise_digests(recipe)
        digests = content_digests({u.audio for u in reading.utterances})
        prepare_inputs = fingerprint(
            recipe.language,
            recipe.text,
            (grid.kernels, grid.strides),
            fingerprint_fields(recipe.corpus, exclude={*Source.model_fields, "workers", "ray", "copy_audio"}),
            [(fingerprint_fields(u, exclude={"audio"}), digests[u.audio]) for u in reading.utterances],
            *((held_out.digest,) if len(held_out.rows) else ()),
        )
        return cls(
            recipe,
            open_precision,
            resolved_base,
            grid,
            known,
            held_out,
            reading,
            digests,
            noise,
            prepare_inputs,
            unlabelled.digests_of(unlabelled.find(source)) if (source := recipe.train.unlabelled) else {},
        )

    def without_corpus(self) -> "RunPlan":
        """Return what processes need that do not lead: they never read the corpus, only what is prepared of it."""
        nothing = TrainedOn.nothing()
        return replace(
            self,
            reading=corpora.Reading([], ()),
            digests={},
            known=nothing,
            held_out=nothing,
            noise=[],
            unlabelled={},
        )

    def cut_unlabelled(self, out: Path, console: Console) -> None:
        """Prepare the recordings without transcripts in a run folder whose corpus is prepared, unless it is done."""
        unlabelled.cut(self.recipe, self.unlabelled, out / "data", self.digests, self.prepare_inputs, console)

    def training(self, out: Path, team: PartialState, console: Console) -> TrainingPlan:
        """Return what training decides in the run folder `out`, whose data are prepared.

        Args:
            out: The run folder. Training that was begun there keeps its precision and its batches.
            team: The processes that train, and their device.
            console: Told where even the smallest batch does not fit into memory.
        """
        summary = PreparationSummary.read(out / "data")
        hours, recipe, choices = summary.hours["train"], self.recipe, []
        dev_hours = summary.hours.get("dev", 0.0)
        if recipe.model.freeze == AUTO:
            found = self._depth(out, summary, console)
            recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"freeze": found.policy})})
            choices = [Choice("model.freeze", found.policy, found.reason)]
        resolved, chosen = presets.resolve(recipe, hours, self.base.config.hidden_size, dev_hours)
        choices += chosen
        lowest = freezing.frozen_depth(resolved.model.freeze, self.base.config)
        schedule.check_unfreezing(resolved.train, lowest, self.base.config.num_hidden_layers)
        stages = RunState(out)
        resolved, choices = self._as_begun(stages, out, resolved, choices)
        inputs, resolved = self._training_inputs(stages, resolved)
        # Not part of the fingerprint: a run that is resumed elsewhere keeps the batches that it began with.
        if self.recipe.train.batch_s is None:
            if stages.is_begun("train", inputs):
                begun = read_recipe(out / "recipe.toml").train
                resolved = _with_train(resolved, batch_s=begun.batch_s, accumulate=begun.accumulate)
            else:
                free = memory.free_bytes(team.device)
                resolved, smaller = memory.fit(resolved, self.base.config, team.num_processes, free, console.warn)
                choices += smaller
        return TrainingPlan(resolved, inputs, tuple(choices), presets.describe(self.recipe, hours))

    def _as_begun(
        self, stages: RunState, out: Path, resolved: Resolved, choices: list[Choice]
    ) -> tuple[Resolved, list[Choice]]:
        """Return recipe and choices with dev looked at as often as when training here was begun.

        Where the recipe leaves that open, version 0.1.0 chose otherwise: its training is not started over.
        """
        if self.recipe.train.eval_steps is not None or not stages.was_started("train"):
            return resolved, choices
        eval_steps = read_recipe(out / "recipe.toml").train.eval_steps
        if eval_steps == resolved.train.eval_steps:
            return resolved, choices
        as_begun = _with_train(resolved, eval_steps=eval_steps)
        inputs, _ = self._training_inputs(stages, as_begun)
        if not stages.is_begun("train", inputs):
            return resolved, choices
        kept = Choice("train.eval_steps", eval_steps, "as begun")
        return as_begun, [kept if choice.field == kept.field else choice for choice in choices]

    @property
    def _heard_without_text(self) -> list[str]:
        """The digests of the recordings without transcripts, in an order that does not depend on where they are."""
        return sorted(str(digest) for digest in self.unlabelled.values())

    def pretraining_inputs(self, recipe: Resolved) -> str:
        """Return the fingerprint of all that decides continued pre-training."""
        conf = recipe.train
        return fingerprint(
            self.prepare_inputs,
            recipe.model,
            (conf.pretrain_steps, conf.pretrain_learning_rate, conf.pretrain_anchor, conf.seed, conf.precision),
            (self.recipe.train.batch_s, conf.warmup, conf.hold, conf.max_grad_norm),
            self._heard_without_text,
        )

    def self_training_inputs(self, training: TrainingPlan) -> str:
        """Return the fingerprint of all that decides the rounds of self-training, but how many there may be."""
        steps = self.recipe.train.unlabelled_steps
        return fingerprint(training.inputs, self._heard_without_text, *([] if steps is None else [steps]))

    def _depth(self, out: Path, summary: PreparationSummary, console: Console) -> DepthMeasurement:
        """Return the depth to freeze the base model at: as it was measured in `out` before, else measured now."""
        recipe, path = self.recipe, out / "data" / "depth.json"
        inputs = fingerprint(self.prepare_inputs, recipe.model)
        if path.exists():
            kept = DepthMeasurement.read_file(path, "Delete it; the depth is measured again.")
            if kept.inputs == inputs:
                return kept
        alphabet = Alphabet(summary.alphabet)
        model = head.create(recipe.model, alphabet, recipe.language, recipe.text, recipe.train.seed, self.base)
        model.net.to(best_device())  # type: ignore[arg-type]
        data, dev = prepared.load(out / "data", "train"), prepared.load(out / "data", "dev")
        found = depth.best(model, data, dev, inputs, console)
        found.write_file(path)
        return found

    def _training_inputs(self, stages: RunState, resolved: Resolved) -> tuple[str, Resolved]:
        """Return the fingerprint of training, and the recipe in the precision of training that is begun or done.

        A precision that was left open is measured once, when training begins: a second measurement, or that of
        another machine, does not restart training. Training that is begun is resumed in its precision, or, on a
        machine that lacks the instructions for it, in that of the machine.
        """

        def inputs_of(recipe: Resolved) -> str:
            weights = [source.weight for source in (recipe.corpus, *recipe.corpora)]
            mixed = (weights,) if len(set(weights)) > 1 else ()
            heard = (self._heard_without_text,) if recipe.train.pretrain_steps else ()
            return fingerprint(self.prepare_inputs, recipe.model, training_fields(recipe), self.noise, *mixed, *heard)

        for precision in get_args(Precision) if self.precision_is_open else ():
            begun = _with_train(resolved, precision=precision)
            inputs = inputs_of(begun)
            if stages.is_done("train", inputs):
                return inputs, begun
            if stages.is_begun("train", inputs):
                possible = mixed_precision.recorded_or_fastest(precision, best_device())
                return inputs, _with_train(resolved, precision=possible)
        return inputs_of(resolved), resolved


def _with_train(recipe: Resolved, **fields: Any) -> Resolved:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=fields)})


def settled(recipe: Recipe) -> Recipe:
    """Return the recipe with a precision, and every path absolute."""
    start = Path(recipe.model.base)
    folders = {name: folder for name in ("noise", "rooms") if (folder := getattr(recipe.augment, name))}
    return recipe.model_copy(
        update={
            "corpus": _absolute(recipe.corpus),
            "corpora": tuple(_absolute(source) for source in recipe.corpora),
            "model": recipe.model.model_copy(update={"base": str(start.resolve())} if start.is_dir() else {}),
            "train": recipe.train.model_copy(
                update={"precision": train.resolve_precision(recipe.train)}
                | ({"unlabelled": source.resolve()} if (source := recipe.train.unlabelled) else {})
            ),
            "augment": recipe.augment.model_copy(update={name: path.resolve() for name, path in folders.items()}),
        }
    )


def _absolute(source: Named) -> Named:
    if not isinstance(source.root, Path) or not source.root.exists():  # a URL, or a name on the Hub, say
        return source
    return source.model_copy(update={"root": source.root.resolve()})


def _noise_digests(recipe: Recipe) -> list[dict[str, str | None]]:
    """Return digests of the folders of noise and rooms: other recordings are other training.

    Raises:
        InputError: there is none, or one cannot be decoded, which would otherwise end training hours later.
    """
    folders = {"augment.noise": recipe.augment.noise, "augment.rooms": recipe.augment.rooms}
    found = [augment.recordings(folder, place) for place, folder in folders.items() if folder]
    for path in itertools.chain(*found):
        audio.load(path, end_s=_CHECKED_S)
    return [content_digests(map(str, recordings)) for recordings in found]
