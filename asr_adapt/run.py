"""run: prepare → train → evaluate for one recipe, in one run folder that can be stopped and started again."""

import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import PartialState
from filelock import FileLock, Timeout

from asr_adapt import base, corpora, evaluate, model, prepare, prepared, train
from asr_adapt.ctc import FrameGrid
from asr_adapt.errors import InputError, RunLocked
from asr_adapt.evaluate import Metrics
from asr_adapt.files import write_whole
from asr_adapt.recipe import Recipe, Source, fingerprint, read_recipe, write_recipe
from asr_adapt.report import Console
from asr_adapt.text import Alphabet
from asr_adapt.transcriber import Transcriber
from asr_adapt.utterance import SPLITS, Utterance

Named = TypeVar("Named", bound=Source)
_OUTPUTS = {
    "prepare": ("data/doctor.json", *(f"data/{split}.arrow" for split in SPLITS)),
    "train": ("model/asr_adapt.json", "model/model.safetensors"),
    "evaluate": ("metrics.json", "hypotheses.jsonl"),
}
_LONGEST_STAGE = timedelta(days=7)  # processes wait for the one that prepares
_ORDER = tuple(_OUTPUTS)
_PACKAGES = ("torch", "torchaudio", "transformers", "datasets", "accelerate", "numpy", "soundfile", "soxr", "jiwer")


def run(recipe: Recipe, out: Path, console: Console) -> Metrics:
    """Do what is not done yet of a recipe in the run folder `out`, and return its metrics on test.

    Stages whose inputs are those of last time are skipped; from the first that differs everything is done again.

    Raises:
        InputError: the recipe or its corpus cannot be used, or `out` belongs to another run.
        RunLocked: another process is at work in `out`.
    """
    corpora.sources(recipe)
    grid = base.frame_grid(base.configuration(recipe.model))
    recipe = _settled(recipe)
    reading = corpora.read_all(corpora.sources(recipe), recipe.language)
    utterances = reading.utterances
    prepare.check_splits(recipe, utterances)
    heard = fingerprint(
        recipe.language,
        recipe.text,
        (grid.kernels, grid.strides),
        recipe.corpus.model_dump(mode="json", exclude={"root", "licence", "workers"}),
        [(u.model_dump(mode="json"), _stamp(u.audio)) for u in utterances],
    )
    how = recipe.train.model_dump(mode="json", exclude={"checkpoint_minutes", "tensorboard"})
    trained = fingerprint(heard, recipe.model, how)

    # Under torchrun or accelerate launch every process comes here. One owns the folder; the others train with it.
    team = PartialState(cpu=not torch.cuda.is_available(), timeout=_LONGEST_STAGE)
    leads = team.is_main_process
    console = console if leads else Console(quiet=True)
    with _claimed(recipe, out) if leads else nullcontext():
        console.heading("prepare")
        for note in reading.notes:
            console.say(note)
        if leads:
            _prepare(recipe, utterances, grid, heard, out, console)
        team.wait_for_everyone()

        console.heading("train")
        stages = _Stages(out)
        if stages.done("train", trained):
            console.say("is done")
        else:
            if leads and not stages.begun("train", trained):
                stages.begin("train", trained, remove=("checkpoints", "model", "train_log.jsonl", "tensorboard"))
            team.wait_for_everyone()
            _train(recipe, prepare.load_summary(out / "data"), leads, out, console)
            if leads:
                stages.finish("train")

        console.heading("evaluate")
        if leads:
            _evaluate(trained, out, console)
        team.wait_for_everyone()
        metrics = _read_metrics(out)
    console.say(f"\nmodel: {out / 'model'}    figures: {out / 'metrics.json'}    "
                f"what was read: {out / 'hypotheses.jsonl'}")  # fmt: skip
    console.say(f"next: asr-adapt transcribe FILE --model {out / 'model'}")
    return metrics


def evaluate_folder(model_folder: Path, corpus: Path, split: str, out: Path, console: Console) -> Metrics:
    """Score a model's folder on one split of a corpus on disk.

    Raises:
        InputError: the model or the corpus is not there, or the split is empty.
    """
    transcriber = Transcriber.from_folder(model_folder)
    utterances = [u for u in corpora.read(corpus, transcriber.model.language) if u.split == split]
    if not utterances:
        raise InputError(f"the {split} split is empty", place=corpus, remedy="Name another with --split.")
    return evaluate.evaluate(transcriber, utterances, utterances.__getitem__, split, out, console)


def _settled(recipe: Recipe) -> Recipe:
    """Return the recipe with every choice made and every path absolute, as the run folder keeps it."""
    recipe = recipe.resolved()
    start = Path(recipe.model.base)
    return recipe.model_copy(
        update={
            "corpus": _absolute(recipe.corpus),
            "corpora": tuple(_absolute(source) for source in recipe.corpora),
            "model": recipe.model.model_copy(update={"base": str(start.resolve())} if start.is_dir() else {}),
            "train": recipe.train.model_copy(update={"precision": train.resolve_precision(recipe.train)}),
        }
    )


def _absolute(source: Named) -> Named:
    if source.root is None or not source.root.exists():  # a name on the Hub, say
        return source
    return source.model_copy(update={"root": source.root.resolve()})


def _prepare(
    recipe: Recipe, utterances: list[Utterance], grid: FrameGrid, heard: str, out: Path, console: Console
) -> None:
    stages = _Stages(out)
    if stages.done("prepare", heard):
        console.say("is done")
        return
    stages.begin("prepare", heard, remove=("data", "checkpoints", "model", "train_log.jsonl", "tensorboard"))
    prepare.prepare(recipe, utterances, grid, out / "data", console)
    stages.finish("prepare")


def _train(recipe: Recipe, summary: prepare.Summary, leads: bool, out: Path, console: Console) -> None:
    if leads:
        _write_environment(out / "environment.json")
    alphabet = Alphabet(summary.alphabet)
    adapted = model.create(recipe.model, alphabet, recipe.language, recipe.text, recipe.train.seed)
    if kept := model.inherited(recipe.model, alphabet):
        console.say(f"head: {len(kept)} of {len(alphabet)} units start from the base model's own")
    data = prepared.load(out / "data", "train")
    outcome = train.train(recipe, adapted, data, prepared.load(out / "data", "dev"), out, console)
    if leads:
        adapted.save(out / "model")
        shutil.rmtree(out / "data" / "features", ignore_errors=True)
    console.say(f"best on dev: step {outcome.best_step:,}, WER {outcome.best_wer:.3f}, CER {outcome.best_cer:.3f}")


def _evaluate(trained: str, out: Path, console: Console) -> None:
    stages = _Stages(out)
    if stages.done("evaluate", trained):
        evaluate.show(_read_metrics(out), console)
        return
    stages.begin("evaluate", trained)
    data = prepared.load(out / "data", "test")
    transcriber = Transcriber.from_folder(out / "model")
    excluded = prepare.load_summary(out / "data").excluded_counts("test")
    evaluate.evaluate(transcriber, data.utterances, data.waveform, "test", out, console, excluded)
    stages.finish("evaluate")


def _stamp(audio: str) -> tuple[int, int] | None:
    """Return size and time of a file, so that a clip that was mended is prepared again; None where there is none."""
    for path in (audio, audio.partition("#")[0]):
        with suppress(OSError, ValueError):
            status = Path(path).stat()
            return status.st_size, status.st_mtime_ns
    return None


def _read_metrics(out: Path) -> Metrics:
    fields = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return Metrics(**fields | {name: tuple(fields[name]) for name in ("wer_ci95", "cer_ci95")})


@contextmanager
def _claimed(recipe: Recipe, out: Path) -> Iterator[None]:
    """Hold the run folder for this recipe: refuse another run's folder, and a second process."""
    kept = out / "recipe.toml"
    if out.exists() and not out.is_dir():
        raise InputError("is a file", place=out, remedy="Give a folder as --out.")
    if not kept.exists() and out.exists() and any(p.name != ".lock" for p in out.iterdir()):
        raise InputError("is not empty, and no run folder", place=out, remedy="Give another --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be made ({error.strerror})", place=out, remedy="Give another --out.") from error
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunLocked("another process is at work in this run folder", place=out,
                        remedy="Wait for it, or give another --out.") from None  # fmt: skip
    try:
        if kept.exists():
            _refuse_another(read_recipe(kept), recipe, out)
        write_recipe(recipe, kept)
        yield
    finally:
        lock.release()


def _refuse_another(kept: Recipe, wanted: Recipe, out: Path) -> None:
    same: dict[str, Callable[[Recipe], object]] = {
        "corpus.root": lambda r: r.corpus.root,
        "corpora": lambda r: [str(source.root) for source in r.corpora],
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
    fields = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "versions": {"asr-adapt": version("asr-adapt")} | {name: version(name) for name in _PACKAGES},
    }
    write_whole(path, json.dumps(fields, indent=1) + "\n")


class _Stages:
    """Which stages of a run folder are done, and with what inputs: `stages.json`."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._path = out / "stages.json"
        self._stages: dict[str, dict] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def done(self, stage: str, inputs: str) -> bool:
        """Whether the stage ended, had these inputs, and left what it makes."""
        there = all((self._out / name).exists() for name in _OUTPUTS[stage])
        return there and self.begun(stage, inputs) and self._stages[stage]["finished"]

    def begun(self, stage: str, inputs: str) -> bool:
        """Whether the stage was started with these inputs."""
        return self._stages.get(stage, {}).get("inputs") == inputs

    def begin(self, stage: str, inputs: str, remove: tuple[str, ...] = ()) -> None:
        """Note that a stage starts afresh: later ones are no longer done, and what they left behind is removed."""
        earlier = {name: self._stages[name] for name in _ORDER[: _ORDER.index(stage)] if name in self._stages}
        self._write(earlier | {stage: {"inputs": inputs, "finished": False}})
        for name in (*remove, "metrics.json", "hypotheses.jsonl"):
            path = self._out / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def finish(self, stage: str) -> None:
        """Note that a stage is done."""
        self._write(self._stages | {stage: self._stages[stage] | {"finished": True}})

    def _write(self, stages: dict[str, dict]) -> None:
        self._stages = stages
        write_whole(self._path, json.dumps(stages, indent=1))
