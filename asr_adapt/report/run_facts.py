"""Facts about a trained model, from its run folder, for `report.html` and for the model card."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from asr_adapt import remote
from asr_adapt.artifacts import Environment, PreparationSummary, SelfTraining
from asr_adapt.corpora import prepared
from asr_adapt.errors import InputError, describe_validation_error
from asr_adapt.recipe import Recipe, Resolved, Source, read_recipe
from asr_adapt.records import counted, describe_duration
from asr_adapt.report.train_log import read_log
from asr_adapt.scoring.error_analysis import ScoredUtterance

_TRAINED = {
    "feature_encoder": "everything but the feature encoder",
    "all_but_head": "the head only",
    "nothing": "all parameters",
}


def is_run(folder: Path) -> bool:
    """Whether a folder is a run folder, rather than one that `asr-adapt evaluate` wrote."""
    return (folder / "recipe.toml").is_file() and (folder / "data" / "doctor.json").is_file()


def recipe_of(folder: Path) -> Resolved:
    """Return the recipe that a run used, with every choice made.

    Raises:
        InputError: `recipe.toml` is missing or damaged.
    """
    path = folder / "recipe.toml"
    try:
        return Resolved.model_validate(read_recipe(path).model_dump())
    except ValidationError as error:
        raise InputError(f"not the recipe of a run: {describe_validation_error(error)}", place=path) from error


def training_facts(recipe: Resolved, summary: PreparationSummary, folder: Path) -> dict[str, str]:
    """Return name → value: the base model, what was trained, on how much data, for how long and on which machine."""
    train, speakers = recipe.train, summary.speakers["train"]
    steps = max((int(line["step"] or 0) for line in read_log(folder / "train_log.jsonl")), default=0)
    model = recipe.model
    adapter = "" if model.adapter == "none" else f", through {model.adapter} of size {model.adapter_size}"
    facts = {
        "Base model": base_name(recipe),
        "Trained parameters": _trained(model.freeze) + adapter,
        "Training data": f"{describe_duration(summary.hours['train'] * 3600)}, "
                         f"{summary.utterances['train']:,} utterances"
                         + (f", {speakers:,} speakers" if speakers else ""),
        "Training steps": f"{steps:,} of {train.steps:,}, each of {train.batch_s:g} s of audio; peak learning rate "
                          f"{train.learning_rate:g}, seed {train.seed}, {train.precision}",
    }  # fmt: skip
    if train.pretrain_steps:
        facts["Continued pre-training"] = (
            f"{train.pretrain_steps:,} steps of wav2vec 2.0's own loss, on the training data"
            + (" and recordings without transcripts" if train.unlabelled else "")
        )
    if self_trained := _self_training(folder):
        facts["Self-training"] = self_trained
    if machine := _machine(folder / "environment.json"):
        facts["Machine"] = machine
    return facts


def _self_training(folder: Path) -> str:
    """Return what rounds of self-training brought; empty where there were none."""
    path = SelfTraining.path_of(folder)
    if not path.is_file():
        return ""
    found = SelfTraining.read_file(path, "Delete it and run again; self-training is repeated.")
    first, best, tried = found.rounds[0], found.rounds[found.best], len(found.rounds) - 1
    labels = best.labels
    if labels is None:
        return f"{counted(tried, 'round')} brought nothing on dev: the model is that of labels alone"
    return (
        f"round {found.best} of {tried}, on {describe_duration(labels.hours * 3600)} of recordings with the text "
        f"that the model before wrote; WER on dev {first.wer:.3f} → {best.wer:.3f}, CER {first.cer:.3f} → "
        f"{best.cer:.3f}"
    )


def _trained(policy: str) -> str:
    if policy in _TRAINED:
        return _TRAINED[policy]
    return f"the head, and the transformer layers above layer {policy.removeprefix('below:')}"


def _machine(environment: Path) -> str:
    """Return GPUs or cores, and package versions, as far as `environment.json` has them."""
    if not environment.is_file():
        return ""
    seen = Environment.read_file(environment, "Delete it; the machine is then not shown.")
    packages = [f"{name} {seen.versions[name]}" for name in ("asr-adapt", "torch", "transformers")
                if name in seen.versions]  # fmt: skip
    cores = [f"{seen.cores} cores ({seen.machine})"] if seen.cores and seen.machine else []
    return "; ".join(filter(None, map(", ".join, (seen.gpus or cores, packages))))


def leaks_in(summary: PreparationSummary, split: str, scored: Sequence[ScoredUtterance]) -> dict[str, int]:
    """Return `recording` and `sentence` → how many utterances of the split have one that also occurs in train."""
    leaked = {(leak.kind, leak.value) for leak in summary.leaks if {"train", split} <= set(leak.splits)}
    found = {
        "recording": sum(("recording", one.utterance.audio) in leaked for one in scored),
        "sentence": sum(("sentence", one.reference) in leaked for one in scored),
    }
    return {kind: count for kind, count in found.items() if count}


def leak_warnings(
    summary: PreparationSummary, split: str, scored: Sequence[ScoredUtterance], folder: Path
) -> list[str]:
    """Return why the error rates may be optimistic: what of the split also occurs in training."""
    warnings = [
        f"The {kind} of {count} of the {len(scored)} utterances of {split} also occurs in train, so these "
        "error rates are optimistic."
        for kind, count in leaks_in(summary, split, scored).items()
    ]
    in_training = {u.speaker for u in prepared.load(folder / "data", "train").utterances} - {None}
    speakers = {one.utterance.speaker for one in scored} - {None}
    if shared := speakers & in_training:
        who = f"{len(shared)} of the {len(speakers)} speakers" if shared < speakers else "Every speaker"
        occur = "occur" if 1 < len(shared) < len(speakers) else "occurs"
        warnings.append(f"{who} of {split} also {occur} in train: expect more errors with unknown speakers.")
    return warnings


def corpus_name(recipe: Recipe) -> str:
    """Return the folder names of the corpora, without their paths on this machine."""
    names = (remote.base_name(source.root) for source in _sources(recipe) if source.root)
    return " and ".join(names) or recipe.language


def licence(recipe: Recipe) -> str:
    """Return the corpus's licence on one line; of several corpora, each name with its licence."""
    licences = [" ".join(source.licence.split()) for source in _sources(recipe)]
    names = [remote.base_name(source.root) if source.root else "" for source in _sources(recipe)]
    return licences[0] if len(licences) == 1 else "; ".join(map(": ".join, zip(names, licences, strict=True)))


def _sources(recipe: Recipe) -> list[Source]:
    return [source for source in (recipe.corpus, *recipe.corpora) if source.root] or [recipe.corpus]


def base_name(recipe: Recipe) -> str:
    """Return the base model's name, without its path on this machine."""
    base = recipe.model.base
    named = {
        "none": "none (trained from scratch)",
        "embedded": "the one embedded in asr_adapt",
        "embedded-small": "the small one embedded in asr_adapt",
    }
    return named.get(base) or (Path(base).name if Path(base).is_absolute() else base)
