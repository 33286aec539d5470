"""Accuracy at equal training time: a run with its preset against transformers' Trainer, from the same weights.

    python benchmarks/quality.py run --corpus CORPUS --language mdw --minutes 10 --out runs/quality-10
    python benchmarks/quality.py plot runs/quality-10 runs/quality-20 --out docs/quality.png

The time of a step is measured on each side, and each schedule gets the number of steps that fit into the minutes, so
that both finish their learning-rate decay. Validation time is excluded on both sides; both keep the weights that were
best on dev (the posts keep the last). In the baseline's favour, its warm-up of 500 steps is cut to a tenth of the
steps, its head is initialised from the base model's head as ours is (`--new-head` gives it a random one), and it
computes our faster convolutions: with `embedded` as transformers loads it, a step takes half as long again.
"""

import itertools
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import peer
import torch
import typer

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from asr_adapt import corpora
from asr_adapt.artifacts import PreparationSummary
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import head
from asr_adapt.model.base import configuration, frame_grid
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Corpus, Model, Recipe, Resolved
from asr_adapt.stages import evaluate, train
from asr_adapt.stages.prepare import prepare
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.training import presets, state
from asr_adapt.workflows import plan, run

TIMING_STEPS = 30
VALIDATIONS = 10
app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.command("run")
def run_both(
    corpus: Annotated[Path, typer.Option(help="Corpus folder or manifest.")],
    out: Annotated[Path, typer.Option(help="Output folder of both; finished parts are not repeated.")],
    language: Annotated[str, typer.Option(help="BCP-47 tag of the language.")] = "und",
    minutes: Annotated[float, typer.Option(help="Minutes of training for each.")] = 10,
    base: Annotated[str, typer.Option(help="Base model of both.")] = "embedded",
    train_hours: Annotated[float | None, typer.Option(help="Hours of the train split to use; default: all.")] = None,
    new_head: Annotated[bool, typer.Option(help="Give the baseline a random head, as in the posts.")] = False,
    bf16: Annotated[bool, typer.Option(help="Train the baseline in bf16; the posts use fp32 on a CPU.")] = False,
) -> None:
    """Train both for the same time and score them on test."""
    recipe = Recipe(
        language=language, corpus=Corpus(root=corpus.resolve(), max_train_hours=train_hours), model=Model(base=base)
    )
    found = {
        "ours": _ours(recipe, minutes, out / "ours"),
        "peer": _peer(recipe, minutes, out / "peer", new_head, bf16),
    }
    (out / "quality.json").write_text(json.dumps({"minutes": minutes, **found}, indent=1) + "\n")
    for name, result in found.items():
        print(
            f"{name}: {result['steps']:,} steps, {result['curve'][-1][0]:.1f} min; test CER {result['cer']:.3f} "
            f"({result['cer_ci95'][0]:.3f} to {result['cer_ci95'][1]:.3f}), WER {result['wer']:.3f}"
        )
    print(f"CER, ours / peer: {found['ours']['cer'] / found['peer']['cer']:.2f}")


@app.command()
def plot(
    folders: Annotated[list[Path], typer.Argument(help="Output folders of `run`.")],
    out: Annotated[Path, typer.Option(help="Output PNG.")] = Path("quality.png"),
) -> None:
    """Plot validation CER by minutes of training."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for folder in folders:
        found = json.loads((folder / "quality.json").read_text())
        for name, style in (("ours", "-"), ("peer", "--")):
            label = f"{name}, {found['minutes']:g} min: test {found[name]['cer']:.3f}"
            colour = f"C{folders.index(folder)}"
            axes.plot(*zip(*found[name]["curve"], strict=True), style, color=colour, marker=".", label=label)
    axes.set(xlabel="minutes of training", ylabel="CER on dev", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(out, dpi=130)


def _ours(recipe: Recipe, minutes: float, out: Path) -> dict[str, Any]:
    """Run as many steps as fit into the time, and return the metrics."""
    steps_file = out.with_suffix(".steps")
    if not steps_file.exists():  # a resumed run keeps its number of steps
        out.parent.mkdir(parents=True, exist_ok=True)
        steps_file.write_text(str(_steps_that_fit(recipe, minutes)))
    steps = int(steps_file.read_text())
    conf = recipe.train.model_copy(
        update={"steps": steps, "eval_steps": math.ceil(steps / VALIDATIONS), "patience": steps}
    )
    metrics = run.run(recipe.model_copy(update={"train": conf}), out, Console())
    return {"steps": steps, "curve": list(_curve(out)), **_rates(metrics)}


def _steps_that_fit(recipe: Recipe, minutes: float) -> int:
    """Return how many steps fit, from the measured time of head-only and full steps on the run's own data."""
    with tempfile.TemporaryDirectory() as scratch:
        resolved, data, dev = prepared_corpus(recipe, Path(scratch) / "data")
        conf = resolved.train.model_copy(
            update={
                "steps": 2 * TIMING_STEPS,
                "head_steps": TIMING_STEPS,
                "warmup": 0.0,
                "eval_steps": 2 * TIMING_STEPS,
            }
        )
        few = dev.select([0, 1])
        train.train(resolved.model_copy(update={"train": conf}), _start(resolved, data), data, few, Path(scratch),
                    Console(quiet=True))  # fmt: skip
        log = [json.loads(line) for line in (Path(scratch) / "train_log.jsonl").read_text().splitlines()]
    step_times = [(line["step"], line["elapsed_s"] / train._LOG_STEPS) for line in log if "elapsed_s" in line]
    head_s = min(s for step, s in step_times if step <= TIMING_STEPS)
    step_s = min(s for step, s in step_times if step > TIMING_STEPS)
    share = resolved.train.head_steps / resolved.train.steps
    return round(minutes * 60 / (share * head_s + (1 - share) * step_s))


def _curve(folder: Path) -> Iterator[tuple[float, float]]:
    """Yield `(minutes of training, validation CER)`."""
    seconds = 0.0
    for line in (folder / "train_log.jsonl").read_text().splitlines():
        record = json.loads(line)
        seconds += record.get("elapsed_s", 0.0)
        if "dev_cer" in record:
            yield seconds / 60, record["dev_cer"]


def _peer(recipe: Recipe, minutes: float, out: Path, new_head: bool, bf16: bool) -> dict[str, Any]:
    """Train the baseline for the time, and return its metrics, scored as ours are."""
    results = out / "peer.json"
    if results.exists():
        return dict(json.loads(results.read_text()))
    resolved, data, dev = prepared_corpus(recipe, out / "data")
    times: list[float] = []
    peer.fine_tune(
        _start(resolved, data), data, TIMING_STEPS, out, lambda *_: times.append(time.perf_counter()), seed=0,
        bf16=bf16,
    )  # fmt: skip
    step_s = statistics.median(b - a for a, b in itertools.pairwise(times))
    steps = round(minutes * 60 / step_s)

    adapted = _start(resolved, data)
    if new_head:
        torch.manual_seed(resolved.train.seed)
        adapted.net._init_weights(adapted.net.lm_head)
    curve: list[tuple[float, float]] = []
    best: dict[str, Any] = {}
    clock = {"paused_s": 0.0, "began": time.perf_counter()}

    def validate(step: int, _: list[float]) -> None:
        if step % math.ceil(steps / VALIDATIONS) and step != steps:
            return
        began = time.perf_counter()
        cer = state.validation_error_rates(adapted, dev, None)[1]
        adapted.net.train()
        curve.append(((began - clock["began"] - clock["paused_s"]) / 60, cer))
        print(f"peer, step {step:,}/{steps:,}: dev CER {cer:.3f}", flush=True)
        if cer < best.get("cer", math.inf):
            best.update(cer=cer, weights={k: v.clone() for k, v in adapted.net.state_dict().items()})
        clock["paused_s"] += time.perf_counter() - began

    peer.fine_tune(adapted, data, steps, out, validate, seed=1, bf16=bf16,
                   warmup_steps=min(peer.WARMUP_STEPS, steps // 10))  # fmt: skip
    adapted.net.load_state_dict(best["weights"])
    adapted.net.eval()
    test = prepared.load(out / "data", "test")
    metrics = evaluate.evaluate(Transcriber(adapted), test, out, Console()).metrics
    result = {"steps": steps, "curve": curve, **_rates(metrics)}
    results.write_text(json.dumps(result))
    return result


def prepared_corpus(recipe: Recipe, folder: Path) -> tuple[Resolved, SpeechSplit, SpeechSplit]:
    """Prepare the recipe's corpus in `folder`, unless it is there; return the resolved recipe, train and dev."""
    assert recipe.corpus.root is not None
    config = configuration(recipe.model)
    if not (folder / "doctor.json").exists():
        utterances = corpora.read(recipe.corpus.root, recipe.language)
        prepare(recipe, utterances, frame_grid(config), folder, Console(quiet=True))
    hours = PreparationSummary.read(folder).hours["train"]
    resolved, _ = presets.resolve(plan.settled(recipe), hours, config.hidden_size)
    return resolved, prepared.load(folder, "train"), prepared.load(folder, "dev")


def _start(recipe: Resolved, data: SpeechSplit) -> CTCModel:
    alphabet = Alphabet.from_texts(data.references)
    return head.create(recipe.model, alphabet, recipe.language, recipe.text, recipe.train.seed)


def _rates(metrics: evaluate.Metrics) -> dict[str, Any]:
    return {name: getattr(metrics, name) for name in ("wer", "wer_ci95", "cer", "cer_ci95")}


if __name__ == "__main__":
    app()
