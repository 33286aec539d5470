"""run: plan → lock → prepare → train → evaluate → report, in one run folder that can be stopped and resumed.

With recordings without transcripts (`train.unlabelled`), rounds of self-training follow upon training.
"""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import PartialState
from filelock import FileLock, Timeout

from asr_adapt import corpora, processes
from asr_adapt.artifacts import (
    VERDICT,
    Assessment,
    Contamination,
    Environment,
    Metrics,
    PreparationSummary,
)
from asr_adapt.console import Console
from asr_adapt.corpora import prepared, trained_on
from asr_adapt.corpora.trained_on import TrainedOn
from asr_adapt.errors import InputError, RunLocked, TrainingDiverged
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import mixed_precision
from asr_adapt.model.device import best_device
from asr_adapt.recipe import Recipe, fingerprint, read_recipe, write_recipe
from asr_adapt.report import assessment, write
from asr_adapt.scoring.evaluation import Evaluation
from asr_adapt.stages import evaluate, prepare, pretrain, train
from asr_adapt.storage import disk_full_as_error, make_folder, refuse_url
from asr_adapt.workflows import adapted, self_training
from asr_adapt.workflows.plan import RunPlan, TrainingPlan
from asr_adapt.workflows.run_state import RunState

_OF_TRAINING = ("checkpoints", "model", "adapter", "rounds", "train_log.jsonl", "tensorboard", VERDICT)
_LONGEST_STAGE = timedelta(days=7)  # processes wait for the one that prepares
_LAST_PROCESSES_END_S = 60.0  # torchrun starts a group anew while processes of the last one may still end
_PACKAGES = ("torch", "torchaudio", "transformers", "datasets", "accelerate", "numpy", "soundfile", "soxr", "jiwer")


def run(
    recipe: Recipe,
    out: Path,
    console: Console,
    kept: corpora.KeptSplits | None = None,
    held_out: TrainedOn | None = None,
) -> Metrics:
    """Run a recipe in the run folder `out`, and return its metrics on test.

    Stages that are done with the same inputs are skipped; from the first that differs on, all are done again.

    Args:
        recipe: The recipe.
        out: The run folder.
        console: Where to report.
        kept: Splits that were made before in another run folder; those of `out` itself go before them.
        held_out: What must be in neither dev nor test, beside what the base model was trained on.

    Raises:
        InputError: the recipe or its corpus cannot be used, or `out` belongs to another run.
        RunLocked: another process is at work in `out`.
        ProcessLost: of several processes, another one has ended.
    """
    refuse_url(out)
    # Under torchrun or accelerate launch every process comes here. One leads: it reads the corpus, and writes the
    # folder, which the others read. What it decides, and its mistakes in the input, are those of all.
    team = PartialState(cpu=best_device().type == "cpu", timeout=_LONGEST_STAGE)
    processes.leave_at_exit()
    console = console if processes.leads() else Console(quiet=True)
    with (
        processes.lost_as_error(out),
        disk_full_as_error(out, "Make room, then start the same command."),
        ExitStack() as held,
    ):
        plan = _plan(recipe, out, kept, held_out)
        processes.from_leader(lambda: held.enter_context(_locked(plan.recipe, out)))
        processes.refuse_separate_folders(out)
        if problem := processes.restart_problem():
            console.warn(problem)
        console.heading("prepare")
        processes.from_leader(lambda: _prepare(plan, out, console))
        # A million utterances take 740 MB, and are in the prepared data now.
        plan = replace(plan, reading=corpora.Reading([], ()))

        console.heading("train")
        # One precision and one set of batches for all processes: each would measure and count for itself.
        training = processes.from_leader(lambda: plan.training(out, team, console))
        _pretrain(plan, training, out, console)
        _train(plan, training, out, console)
        training = self_training.self_train(plan, training, out, console)

        console.heading("evaluate")
        evaluation = _evaluate(plan, training, out, console)
        metrics = processes.from_leader(lambda: _reported(training, evaluation, out, console))
    console.say(f"\nmodel: {out / 'model'}    metrics: {out / 'metrics.json'}    "
                f"report: {out / write.PAGE}")  # fmt: skip
    console.say(f"next: asr-adapt transcribe FILE --model {out / 'model'}")
    return metrics


def _plan(recipe: Recipe, out: Path, kept: corpora.KeptSplits | None, held_out: TrainedOn | None) -> RunPlan:
    """Return the plan, which the first process makes; that of the others lacks the corpus."""
    made: list[RunPlan] = []

    def plan() -> RunPlan:
        own = corpora.KeptSplits.of_run(out)
        made.append(RunPlan.of(recipe, own if kept is None or own.rows or own.format_1 else kept, held_out))
        return made[0].without_corpus()

    for_all = processes.from_leader(plan)
    return made[0] if made else for_all


@contextmanager
def _locked(recipe: Recipe, out: Path) -> Iterator[None]:
    """Hold the run folder for this recipe: refuse another run's folder, and a second process."""
    kept = out / "recipe.toml"
    if out.exists() and not out.is_dir():
        raise InputError("is a file", place=out, remedy="Give a folder as --out.")
    if not kept.exists() and out.exists() and any(p.name != ".lock" for p in out.iterdir()):
        raise InputError("is not empty, and no run folder", place=out, remedy="Give another --out.")
    make_folder(out, "Give another --out.")
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=_LAST_PROCESSES_END_S if processes.count() > 1 else 0)
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


def _prepare(plan: RunPlan, out: Path, console: Console) -> None:
    for note in plan.reading.notes:
        console.say(note)
    if plan.reading.kept.rows:
        plan.reading.kept.write(out)
    stages = RunState(out)
    if stages.is_done("prepare", plan.prepare_inputs):
        console.say("already done")
        return
    if stages.was_started("train"):
        console.warn("corpus, text rules or splits changed: restarting preparation and training; "
                     "the existing model will be deleted")  # fmt: skip
    stages.begin("prepare", plan.prepare_inputs, remove=("data", *_OF_TRAINING))
    prepare.prepare(
        plan.recipe,
        plan.reading.utterances,
        plan.grid,
        out / "data",
        console,
        plan.reading.left_out,
        plan.held_out,
        plan.digests,
    )
    stages.finish("prepare")


def _pretrain(plan: RunPlan, training: TrainingPlan, out: Path, console: Console) -> None:
    """Continue the base model's pre-training, if that is asked for and not done."""
    recipe = training.recipe
    if not recipe.train.pretrain_steps:
        return

    def begin() -> bool:
        stages, inputs = RunState(out), plan.pretraining_inputs(recipe)
        if stages.is_done("pretrain", inputs):
            return False
        if not stages.is_begun("pretrain", inputs):
            stages.begin("pretrain", inputs, remove=("pretrain", *_OF_TRAINING))
        if recipe.train.unlabelled is not None:
            plan.cut_unlabelled(out, console)
        return True

    if not processes.from_leader(begin):
        console.say("pre-training is already done")
        return
    model = adapted.new(recipe, plan.base, out, console)
    speech = prepared.load(out / "data", "train")
    if recipe.train.unlabelled is not None:
        speech += prepared.load(out / "data", "unlabelled")
    pretrain.pretrain(recipe, model, speech, out / "pretrain", console)
    if processes.leads():
        RunState(out).finish("pretrain")
    processes.from_leader(lambda: None)  # the weights are there before another process reads them


def _train(plan: RunPlan, training: TrainingPlan, out: Path, console: Console) -> None:
    recipe, leads = training.recipe, processes.leads()
    if not processes.from_leader(lambda: _begin_training(training, out, console)):
        console.say("already done")
        return
    model = adapted.new(recipe, plan.base, out, console)
    data, dev = prepared.load(out / "data", "train"), prepared.load(out / "data", "dev")
    try:
        outcome = train.train(recipe, model, data, dev, out, console)
    except TrainingDiverged as error:
        if leads and error.has_model:
            adapted.save(plan, recipe, model, out, adapted.heard(plan, recipe, out, console))
        raise
    if leads:
        model = adapted.calibrated(model, dev, recipe, console)
        adapted.save(plan, recipe, model, out, adapted.heard(plan, recipe, out, console))
        shutil.rmtree(out / "data" / "features", ignore_errors=True)
        RunState(out).finish("train")
    console.say(f"best on dev: step {outcome.best_step:,}, WER {outcome.best_wer:.3f}, CER {outcome.best_cer:.3f}")


def _begin_training(training: TrainingPlan, out: Path, console: Console) -> bool:
    """Make the run folder ready for training; return False if that is done already."""
    stages = RunState(out)
    write_recipe(training.recipe, out / "recipe.toml")
    if stages.is_done("train", training.inputs):
        return False
    if not stages.is_begun("train", training.inputs):
        if stages.was_started("train"):
            console.warn("training settings changed: restarting training; the existing model will be deleted")
        stages.begin("train", training.inputs, remove=_OF_TRAINING)
    if training.choices:
        rows = [(choice.field, f"{choice.value}", choice.reason) for choice in training.choices]
        console.table(training.preset, ("chosen", "", "why"), rows)
    write_environment(out / "environment.json")
    return True


def _evaluate(plan: RunPlan, training: TrainingPlan, out: Path, console: Console) -> Evaluation | None:
    """Score test in the precision of training, so that a resumed run has the metrics of an uninterrupted one.

    Returns:
        The evaluation; None if it was finished before.
    """
    if not processes.from_leader(lambda: _begin_evaluation(training, out, console)):
        return None
    data = prepared.load(out / "data", "test")
    precision = mixed_precision.recorded_or_fastest(training.recipe.train.precision, best_device())
    transcriber = Transcriber.from_folder(out / "model", precision=precision)
    summary = PreparationSummary.read(out / "data")

    def check() -> tuple[list[str], Contamination]:
        unheard, found = trained_on.check(data, TrainedOn.read(out / "model"), out / "model", console,
                                          allow=plan.recipe.corpus.allow_trained)  # fmt: skip
        before = {e.id: e.detail for e in summary.excluded if (e.split, e.reason) == ("test", trained_on.REASON)}
        found = found.model_copy(update={"left_out": before | found.left_out})
        return [u.id for u in unheard.utterances], found

    ids, found = processes.from_leader(check)
    wanted = {*ids}
    data = data.select([index for index, u in enumerate(data.utterances) if u.id in wanted])
    evaluation = evaluate.evaluate(transcriber, data, out, console, summary.excluded_counts("test"), found)
    on_train = evaluate.rates_on_sample(transcriber, prepared.load(out / "data", "train"), console)
    if processes.leads():
        assessment.assess(out, evaluation, on_train).write(out)
        RunState(out).finish("evaluate")
    return evaluation


def _begin_evaluation(training: TrainingPlan, out: Path, console: Console) -> bool:
    """Make the run folder ready for the evaluation; return False, and print the error rates, if that is done."""
    stages = RunState(out)
    if stages.is_done("evaluate", training.inputs):
        evaluate.show(Metrics.read(out), console)
        return False
    stages.begin("evaluate", training.inputs, remove=(VERDICT,))
    return True


def _reported(training: TrainingPlan, evaluation: Evaluation | None, out: Path, console: Console) -> Metrics:
    """Write report and model card, print the verdict, and return the metrics."""
    _report(training, evaluation, out)
    console.heading("verdict")
    found = assessment.of_folder(out, evaluation) if evaluation else Assessment.read(out)
    assessment.show(found or assessment.of_folder(out, write.read_evaluation(out)), console)
    return Metrics.read(out)


def _report(training: TrainingPlan, evaluation: Evaluation | None, out: Path) -> None:
    """Write report.html and the model card, unless they are up to date."""
    recipe = training.recipe
    licences = [source.licence for source in (recipe.corpus, *recipe.corpora)]
    stages, shown = RunState(out), fingerprint(training.inputs, recipe.report, licences)
    if not stages.is_done("report", shown):
        stages.begin("report", shown)
        evaluation = evaluation or write.read_evaluation(out)
        write.write_page(out, evaluation=evaluation, sound=recipe.report.audio, names=recipe.report.names)
        write.write_model_card(out, evaluation)
        stages.finish("report")


def write_environment(path: Path) -> None:
    """Write `environment.json`: machine, threads and versions."""
    Environment(
        python=platform.python_version(),
        machine=platform.machine(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        gpus=tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())),
        versions={"asr-adapt": version("asr-adapt")} | {name: version(name) for name in _PACKAGES},
    ).write_file(path)
