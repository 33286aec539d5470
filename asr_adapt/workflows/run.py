"""run: prepare → train → evaluate for one recipe, in one run folder that can be stopped and started again."""

import itertools
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar, get_args

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

from asr_adapt import audio, corpora
from asr_adapt.artifacts import Environment, Metrics, PreparationSummary
from asr_adapt.audio import augment
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import InputError, RunLocked, TrainingDiverged
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import base, ctc_model, head, mixed_precision
from asr_adapt.model.mixed_precision import Precision
from asr_adapt.recipe import (
    Recipe,
    Resolved,
    Source,
    Train,
    fingerprint,
    fingerprint_fields,
    read_recipe,
    training_fields,
    write_recipe,
)
from asr_adapt.report import write
from asr_adapt.scoring.evaluation import Evaluation
from asr_adapt.stages import evaluate, prepare, train
from asr_adapt.storage import content_digests, disk_full_as_error, make_folder
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.training import memory, presets
from asr_adapt.workflows.run_state import RunState

Named = TypeVar("Named", bound=Source)
_OF_TRAINING = ("checkpoints", "model", "adapter", "train_log.jsonl", "tensorboard")
_LISTENED_S = 0.5  # of each recording of noise, to know that it is sound
_LONGEST_STAGE = timedelta(days=7)  # processes wait for the one that prepares
_PACKAGES = ("torch", "torchaudio", "transformers", "datasets", "accelerate", "numpy", "soundfile", "soxr", "jiwer")


def run(recipe: Recipe, out: Path, console: Console) -> Metrics:
    """Do what is not done yet of a recipe in the run folder `out`, and return its metrics on test.

    Stages whose inputs are those of last time are skipped; from the first that differs everything is done again.

    Raises:
        InputError: the recipe or its corpus cannot be used, or `out` belongs to another run.
        RunLocked: another process is at work in `out`.
    """
    corpora.sources(recipe)
    config = base.configuration(recipe.model)
    base.adapter(recipe.model, recipe.language)  # a language that it has not is said before hours of preparation
    grid = base.frame_grid(config)
    asked, recipe = recipe, _settled(recipe)
    reading = corpora.read_all(corpora.sources(recipe), recipe.language)
    utterances = reading.utterances
    prepare.check_splits(recipe, utterances)
    noises = _noises(recipe)
    digests = content_digests({u.audio for u in utterances})
    heard = fingerprint(
        recipe.language,
        recipe.text,
        (grid.kernels, grid.strides),
        fingerprint_fields(recipe.corpus, exclude={*Source.model_fields, "workers"}),
        [(fingerprint_fields(u, exclude={"audio"}), digests[u.audio]) for u in utterances],
    )

    # Under torchrun or accelerate launch every process comes here. One owns the folder; the others train with it.
    team = PartialState(cpu=not torch.cuda.is_available(), timeout=_LONGEST_STAGE)
    leads = team.is_main_process
    console = console if leads else Console(quiet=True)
    with (
        disk_full_as_error(out, "Make room, then start the same command."),
        _claimed(recipe, out) if leads else nullcontext(),
    ):
        console.heading("prepare")
        for note in reading.notes:
            console.say(note)
        if leads:
            _prepare(recipe, reading, grid, heard, out, console)
        team.wait_for_everyone()

        console.heading("train")
        hours = PreparationSummary.read(out / "data").hours["train"]
        resolved, choices = presets.resolve(recipe, hours, config.hidden_size)
        stages = RunState(out)
        trained, resolved = _training(stages, resolved, heard, noises, any_precision=asked.train.precision is None)
        # Not part of what is compared: a run that goes on elsewhere keeps the batches that it began with.
        if leads and recipe.train.batch_s is None:
            if stages.is_begun("train", trained):
                resolved = _batches_of(read_recipe(out / "recipe.toml").train, resolved)
            else:
                resolved, smaller = memory.fit(
                    resolved, config, team.num_processes, memory.free_bytes(team.device), console.warn
                )
                choices += smaller
        if leads:
            write_recipe(resolved, out / "recipe.toml")
        # One precision and one set of batches for all: others measure and count for themselves.
        trained, resolved = broadcast_object_list([trained, resolved])
        if stages.is_done("train", trained):
            console.say("is done")
        else:
            if leads and not stages.is_begun("train", trained):
                _say_what_goes(stages, "train", "the model's or training's settings are", console)
                stages.begin("train", trained, remove=_OF_TRAINING)
            team.wait_for_everyone()
            _show_choices(presets.describe(recipe, hours), choices, console)
            _train(resolved, PreparationSummary.read(out / "data"), leads, out, console)
            if leads:
                stages.finish("train")

        console.heading("evaluate")
        if leads:
            evaluation = _evaluate(trained, resolved.train.precision, out, console)
            _report(recipe, trained, evaluation, out)
        team.wait_for_everyone()
        metrics = Metrics.read(out)
    console.say(f"\nmodel: {out / 'model'}    figures: {out / 'metrics.json'}    "
                f"report: {out / write.PAGE}")  # fmt: skip
    console.say(f"next: asr-adapt transcribe FILE --model {out / 'model'}")
    return metrics


def _settled(recipe: Recipe) -> Recipe:
    """Return the recipe with the precision that is the faster here, and every path absolute."""
    start = Path(recipe.model.base)
    folders = {name: folder for name in ("noise", "rooms") if (folder := getattr(recipe.augment, name))}
    return recipe.model_copy(
        update={
            "corpus": _absolute(recipe.corpus),
            "corpora": tuple(_absolute(source) for source in recipe.corpora),
            "model": recipe.model.model_copy(update={"base": str(start.resolve())} if start.is_dir() else {}),
            "train": recipe.train.model_copy(update={"precision": train.resolve_precision(recipe.train)}),
            "augment": recipe.augment.model_copy(update={name: path.resolve() for name, path in folders.items()}),
        }
    )


def _absolute(source: Named) -> Named:
    if source.root is None or not source.root.exists():  # a name on the Hub, say
        return source
    return source.model_copy(update={"root": source.root.resolve()})


def _prepare(
    recipe: Recipe, reading: corpora.Reading, grid: FrameGrid, heard: str, out: Path, console: Console
) -> None:
    stages = RunState(out)
    if stages.is_done("prepare", heard):
        console.say("is done")
        return
    _say_what_goes(stages, "prepare", "the corpus, its text rules or its splits are", console)
    stages.begin("prepare", heard, remove=("data", *_OF_TRAINING))
    prepare.prepare(recipe, reading.utterances, grid, out / "data", console, reading.left_out)
    stages.finish("prepare")


def _training(
    stages: RunState, resolved: Resolved, heard: str, noises: list, *, any_precision: bool
) -> tuple[str, Resolved]:
    """Return the fingerprint of what is trained, and the recipe, in the precision of what is begun or done.

    A precision that was left open is measured once, when training begins: a second measurement, or that of another
    machine, is no other training. Done, it stays; begun, it goes on in its precision, or on a machine that lacks the
    instructions for it in that of the machine.
    """

    def of(recipe: Resolved) -> str:
        return fingerprint(heard, recipe.model, training_fields(recipe), noises)

    for precision in get_args(Precision) if any_precision else ():
        then = _multiplying_in(precision, resolved)
        if stages.is_begun("train", of(then)):
            if stages.is_done("train", of(then)):
                return of(then), then
            return of(then), _multiplying_in(mixed_precision.recorded_or_fastest(precision, train.device()), resolved)
    return of(resolved), resolved


def _multiplying_in(precision: Precision, resolved: Resolved) -> Resolved:
    return resolved.model_copy(update={"train": resolved.train.model_copy(update={"precision": precision})})


def _batches_of(kept: Train, resolved: Resolved) -> Resolved:
    batches = {"batch_s": kept.batch_s, "accumulate": kept.accumulate}
    return resolved.model_copy(update={"train": resolved.train.model_copy(update=batches)})


def _say_what_goes(stages: RunState, stage: str, what: str, console: Console) -> None:
    """Say that what was trained here before is removed, and why."""
    if stages.was_started("train"):
        console.warn(
            f"{what} not those of last time: {stage} starts afresh, and the model that was trained here goes"
        )


def _show_choices(title: str, choices: list[presets.Choice], console: Console) -> None:
    if choices:
        console.table(title, ("chosen", "", "why"), [(c.field, f"{c.value}", c.reason) for c in choices])


def _train(recipe: Resolved, summary: PreparationSummary, leads: bool, out: Path, console: Console) -> None:
    if leads:
        _write_environment(out / "environment.json")
    alphabet = Alphabet(summary.alphabet)
    adapted = head.create(recipe.model, alphabet, recipe.language, recipe.text, recipe.train.seed)
    if whose := base.adapter(recipe.model, recipe.language):
        console.say(f"adapter and head: start from those of '{whose[0]}' in {recipe.model.base}")
    if kept := head.inherited(recipe.model, alphabet, recipe.language):
        console.say(f"head: {len(kept)} of {len(alphabet)} units start from the base model's own")
    if whose and 2 * len(kept) < len(alphabet):
        console.warn(f"'{whose[0]}' writes few of these letters: its adapter may be of another script")
    data = prepared.load(out / "data", "train")
    try:
        outcome = train.train(recipe, adapted, data, prepared.load(out / "data", "dev"), out, console)
    except TrainingDiverged as error:
        if leads and error.has_model:
            _save(recipe, adapted, out)
        raise
    if leads:
        _save(recipe, adapted, out)
        shutil.rmtree(out / "data" / "features", ignore_errors=True)
    console.say(f"best on dev: step {outcome.best_step:,}, WER {outcome.best_wer:.3f}, CER {outcome.best_cer:.3f}")


def _save(recipe: Resolved, adapted: ctc_model.CTCModel, out: Path) -> None:
    if recipe.model.adapter != "none":
        adapted.save_adapter(out / "adapter")
    adapted.merged().save(out / "model")


def _evaluate(trained: str, precision: Precision | None, out: Path, console: Console) -> Evaluation | None:
    """Score test in the precision of training, so that a resumed run has the metrics of an uninterrupted one.

    Returns:
        The evaluation; None if it was finished before.
    """
    stages = RunState(out)
    if stages.is_done("evaluate", trained):
        evaluate.show(Metrics.read(out), console)
        return None
    stages.begin("evaluate", trained)
    data = prepared.load(out / "data", "test")
    transcriber = Transcriber.from_folder(
        out / "model", precision=mixed_precision.recorded_or_fastest(precision, train.device())
    )
    excluded = PreparationSummary.read(out / "data").excluded_counts("test")
    evaluation = evaluate.evaluate(transcriber, data, out, console, excluded)
    stages.finish("evaluate")
    return evaluation


def _report(recipe: Recipe, trained: str, evaluation: Evaluation | None, out: Path) -> None:
    """Write report.html and the model card, unless they are up to date."""
    licences = [source.licence for source in (recipe.corpus, *recipe.corpora)]
    stages, shown = RunState(out), fingerprint(trained, recipe.report, licences)
    if not stages.is_done("report", shown):
        stages.begin("report", shown)
        evaluation = evaluation or write.read_evaluation(out)
        write.write_page(out, evaluation=evaluation, sound=recipe.report.audio, names=recipe.report.names)
        write.write_model_card(out, evaluation)
        stages.finish("report")


def _noises(recipe: Recipe) -> list[dict[str, str | None]]:
    """Return what is in the folders of noise and rooms, so that other recordings are another training.

    Raises:
        InputError: there is none, or one cannot be read, which a step would find out hours later.
    """
    folders = {"augment.noise": recipe.augment.noise, "augment.rooms": recipe.augment.rooms}
    found = [augment.recordings(folder, place) for place, folder in folders.items() if folder]
    for path in itertools.chain(*found):
        audio.load(path, end_s=_LISTENED_S)
    return [content_digests(map(str, recordings)) for recordings in found]


@contextmanager
def _claimed(recipe: Recipe, out: Path) -> Iterator[None]:
    """Hold the run folder for this recipe: refuse another run's folder, and a second process."""
    kept = out / "recipe.toml"
    if out.exists() and not out.is_dir():
        raise InputError("is a file", place=out, remedy="Give a folder as --out.")
    if not kept.exists() and out.exists() and any(p.name != ".lock" for p in out.iterdir()):
        raise InputError("is not empty, and no run folder", place=out, remedy="Give another --out.")
    make_folder(out, "Give another --out.")
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunLocked("another process is at work in this run folder", place=out,
                        remedy="Wait for it, or give another --out.") from None  # fmt: skip
    try:
        if kept.exists():
            _refuse_another(read_recipe(kept), recipe, out)
        else:  # what is left open is filled in when the hours are known
            write_recipe(recipe, kept)
        yield
    finally:
        lock.release()


def _refuse_another(kept: Recipe, wanted: Recipe, out: Path) -> None:
    same: dict[str, Callable[[Recipe], object]] = {
        "corpus.root": lambda r: r.corpus.root,
        "corpus.subset": lambda r: r.corpus.subset,
        "corpus.revision": lambda r: r.corpus.revision,
        "corpora": lambda r: [
            ", ".join(filter(None, (str(source.root), source.subset, source.revision))) for source in r.corpora
        ],
        "model.base": lambda r: r.model.base,
        "language": lambda r: r.language,
    }
    for field, value in same.items():
        if value(kept) != value(wanted):
            raise InputError(
                f"this run folder belongs to another run: its {field} is {value(kept)}, not {value(wanted)}",
                place=out,
                remedy="Give another --out.",
            )


def _write_environment(path: Path) -> None:
    Environment(
        python=platform.python_version(),
        machine=platform.machine(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        gpus=tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())),
        versions={"asr-adapt": version("asr-adapt")} | {name: version(name) for name in _PACKAGES},
    ).write_file(path)
