"""The model of a run: made from its base, calibrated, and written with a record of what it has heard."""

from dataclasses import replace
from pathlib import Path

from asr_adapt.artifacts import Calibrations, PreparationSummary
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.corpora.trained_on import TrainedOn
from asr_adapt.decoding import ctc
from asr_adapt.inference import calibration
from asr_adapt.model import head, mixed_precision
from asr_adapt.model.base import ResolvedBase
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.model.device import best_device
from asr_adapt.recipe import Resolved
from asr_adapt.stages import pretrain
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.workflows.plan import RunPlan


def new(recipe: Resolved, resolved_base: ResolvedBase, out: Path, console: Console) -> CTCModel:
    """Return the base model, pre-trained where the run has done that, with a new head for the data's alphabet."""
    spec, language = recipe.model, recipe.language
    alphabet = Alphabet(PreparationSummary.read(out / "data").alphabet)
    adapted = head.create(spec, alphabet, language, recipe.text, recipe.train.seed, resolved_base)
    adapter = resolved_base.adapter
    if adapter:
        console.say(f"adapter and head: initialised from those of '{adapter[0]}' in {spec.base}")
    inherited = head.inherited(spec, alphabet, language, resolved_base)
    if inherited:
        console.say(f"head: {len(inherited)} of {len(alphabet)} units are initialised from the base model's own")
    if adapter and 2 * len(inherited) < len(alphabet):
        console.warn(f"'{adapter[0]}' writes few of these letters: its adapter may be of another script")
    if recipe.train.pretrain_steps and (weights := out / "pretrain" / pretrain.WEIGHTS).exists():
        pretrain.load(adapted, weights)
    return adapted


def calibrated(adapted: CTCModel, dev: SpeechSplit, recipe: Resolved, console: Console) -> CTCModel:
    """Return the model with the calibration of its words' confidence, in the precision of training."""
    precision = mixed_precision.recorded_or_fastest(recipe.train.precision, best_device())
    outputs = calibration.DevOutputs.of(adapted, dev, console, precision)
    greedy = calibration.calibrate(outputs, adapted.alphabet, ctc.greedy, console)
    return replace(adapted, calibrations=Calibrations(greedy=greedy))


def save(plan: RunPlan, recipe: Resolved, adapted: CTCModel, folder: Path, heard: TrainedOn) -> None:
    """Write `model/` and, where there is one, `adapter/` into a folder.

    Args:
        plan: Of the run.
        recipe: What it was trained by.
        adapted: In evaluation mode.
        folder: The run's, or that of a round.
        heard: What it was trained on, beside what its base was.
    """
    if recipe.model.adapter != "none":
        adapted.save_adapter(folder / "adapter")
    adapted.merged().save(folder / "model", heard + plan.known)


def heard(plan: RunPlan, recipe: Resolved, out: Path, console: Console, *, own_text: bool = False) -> TrainedOn:
    """Return what training hears; dev only chooses the best step.

    Args:
        plan: Of the run.
        recipe: What it was trained by.
        out: The run folder.
        console: Where to show progress.
        own_text: Whether it was trained on what a model wrote of the recordings without transcripts.
    """
    parts: list[prepared.Part] = ["train", "dev"]
    if own_text or (recipe.train.pretrain_steps and recipe.train.unlabelled):
        parts.append("unlabelled")
    digests = {**plan.digests, **plan.unlabelled}
    return TrainedOn.of([prepared.load(out / "data", part) for part in parts], console, digests)
