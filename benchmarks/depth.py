"""Partial fine-tuning by depth at equal time: test error rates with more and more of the base model frozen.

    python benchmarks/depth.py speed --corpus CORPUS --language mdw --out runs/depth
    python benchmarks/depth.py train --corpus CORPUS --language mdw --out runs/depth --freeze below:4 --copies 8
    python benchmarks/depth.py table runs/depth

A policy is one of `model.freeze`, or `gradual:SHARE`: gradual unfreezing, of the lowest layer after that share of the
steps. `train --freeze auto` measures the depth first, in the same minutes, and needs the `speed` of what it chooses.

`speed` times steps under each policy in turn, several rounds, and the filling of the cache, and keeps both in
`--out`. `train` then runs as many steps as fit into the minutes, the filling of the cache included and validation
not, and scores the weights that were best on dev on test. Everything else is the preset's. `table` prints what is
there. Seconds and minutes are the processor's, for one thread (OMP_NUM_THREADS=1), since other work may share it.
"""

import json
import math
import shutil
import statistics
from pathlib import Path
from time import monotonic, process_time
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from asr_adapt import corpora
from asr_adapt.artifacts import PreparationSummary
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import head
from asr_adapt.model.base import configuration, frame_grid
from asr_adapt.recipe import AUTO, Corpus, Model, Recipe, Resolved, Train
from asr_adapt.stages import evaluate, train
from asr_adapt.stages.prepare import prepare
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.training import depth as depths
from asr_adapt.training import presets, state
from asr_adapt.training.data import Inputs
from asr_adapt.workflows import plan

VALIDATIONS = 3
GRADUAL = "gradual:"
CACHED = 1  # copies while steps are timed: their number changes nothing about a step
state.time = SimpleNamespace(perf_counter=process_time, monotonic=monotonic)  # type: ignore[assignment]
app = typer.Typer(help=__doc__, no_args_is_help=True)
CorpusOption = Annotated[Path, typer.Option(help="Corpus folder or manifest.")]
Language = Annotated[str, typer.Option(help="BCP-47 tag of the language.")]
Out = Annotated[Path, typer.Option(help="Output folder of all policies.")]
Base = Annotated[str, typer.Option(help="Base model.")]
Precision = Annotated[str, typer.Option(help="fp32 or bf16; default: what a run would choose.")]
TrainHours = Annotated[float, typer.Option(help="Hours of the train split to use.")]


@app.command()
def speed(
    corpus: CorpusOption,
    out: Out,
    freeze: Annotated[list[str], typer.Option(help="Policies, each also as POLICY+cache.")],
    language: Language = "und",
    base: Base = "embedded-small",
    train_hours: TrainHours = 1 / 6,
    precision: Precision = "",
    rounds: Annotated[int, typer.Option(help="Rounds; each policy runs once in a round.")] = 3,
) -> None:
    """Time the steps under each policy, interleaved."""
    recipe = _recipe(corpus, language, base, train_hours, precision)
    _prepare(recipe, out)
    found: dict[str, dict[str, list[float]]] = {name: {"step_s": [], "fill_s": []} for name in freeze}
    for _ in range(rounds):
        for name in freeze:
            policy, _, cache = name.partition("+")
            cached = CACHED if cache or policy.startswith("below:") else 0
            step_s, fill_s = _timed(_resolved(recipe, out, policy, cached), out)
            found[name]["step_s"].append(step_s)
            found[name]["fill_s"].append(fill_s)
            print(f"{name}: {step_s:.4f} s a step, {fill_s:.1f} s to cache a copy", flush=True)
    (out / "speed.json").write_text(json.dumps(found, indent=1) + "\n")
    first = found[freeze[0]]["step_s"]
    for name, times in found.items():
        ratios = [a / b for a, b in zip(first, times["step_s"], strict=True)]
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{name}: {statistics.median(ratios):.2f} times the steps per second ({span})")


@app.command("train")
def train_one(
    corpus: CorpusOption,
    out: Out,
    freeze: Annotated[str, typer.Option(help="Policy.")],
    language: Language = "und",
    base: Base = "embedded-small",
    train_hours: TrainHours = 1 / 6,
    precision: Precision = "",
    minutes: Annotated[float, typer.Option(help="Minutes of training, the filling of the cache included.")] = 4,
    copies: Annotated[int, typer.Option(help="Cached copies.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed.")] = 1,
) -> None:
    """Train for the minutes and score test; what was stopped is resumed."""
    recipe = _recipe(corpus, language, base, train_hours, precision)
    _prepare(recipe, out)
    asked, measured_s = freeze, 0.0
    if asked == AUTO:
        freeze, measured_s = _measured(recipe, out)
    name = f"{freeze}+cache" if copies and not freeze.startswith("below:") else freeze
    times = json.loads((out / "speed.json").read_text())[name]
    step_s, fill_s = (statistics.median(times[what]) for what in ("step_s", "fill_s"))
    steps = round((minutes * 60 - measured_s - copies * fill_s) / step_s)
    name = f"{AUTO}={name}" if asked == AUTO else name
    folder = out / f"{name.replace(':', '')}-{copies}-{seed}"
    made = _resolved(recipe, out, freeze, copies, steps=steps, seed=seed)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    adapted, data = _start(made, out)
    filled = folder / "data" / "filled_s"
    if not filled.exists():  # else training is resumed
        started = process_time()
        adapted.net.eval()
        Inputs(made, adapted, data, folder / "data" / "features").fill_cache(Console())
        filled.write_text(str(process_time() - started))
    filled_s = float(filled.read_text())
    train.train(made, adapted, data, prepared.load(out / "data", "dev"), folder, Console())
    shutil.rmtree(folder / "data")
    log = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    metrics = evaluate.evaluate(Transcriber(adapted), prepared.load(out / "data", "test"), folder, Console()).metrics
    shutil.rmtree(folder / "checkpoints")
    result = {
        "name": name,
        "copies": copies,
        "seed": seed,
        "steps": steps,
        "minutes": (measured_s + filled_s + sum(line.get("elapsed_s", 0.0) for line in log)) / 60,
        "filled_s": filled_s,
        "dev_cer": [line["dev_cer"] for line in log if "dev_cer" in line],
        **{field: getattr(metrics, field) for field in ("wer", "wer_ci95", "cer", "cer_ci95")},
    }
    (folder / "result.json").write_text(json.dumps(result) + "\n")
    print(_line(result))


@app.command()
def table(out: Annotated[Path, typer.Argument(help="Output folder.")]) -> None:
    """Print the results."""
    for path in sorted(out.glob("*/result.json")):
        print(_line(json.loads(path.read_text())))


def _line(result: dict[str, Any]) -> str:
    low, high = result["cer_ci95"]
    cells = (
        *(result[field] for field in ("name", "copies", "seed", "steps")),
        f"{result['minutes']:.1f}",
        f"{result['cer']:.3f}",
        f"{low:.3f} to {high:.3f}",
        f"{result['wer']:.3f}",
        f"{min(result['dev_cer']):.3f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _recipe(corpus: Path, language: str, base: str, train_hours: float, precision: str) -> Recipe:
    fields: dict[str, Any] = {"precision": precision or None}
    source = Corpus(root=corpus.resolve(), max_train_hours=train_hours)
    return plan.settled(Recipe(language=language, corpus=source, model=Model(base=base), train=Train(**fields)))


def _prepare(recipe: Recipe, out: Path) -> None:
    assert recipe.corpus.root is not None
    if not (out / "data" / "doctor.json").exists():
        utterances = corpora.read(recipe.corpus.root, recipe.language)
        prepare(recipe, utterances, frame_grid(configuration(recipe.model)), out / "data", Console(quiet=True))


def _resolved(recipe: Recipe, out: Path, policy: str, copies: int, **fields: Any) -> Resolved:
    """Return the recipe with its preset under a policy, never stopped early."""
    if steps := fields.get("steps"):
        fields |= {"eval_steps": math.ceil(steps / VALIDATIONS), "patience": steps}
    share = float(policy.removeprefix(GRADUAL)) if policy.startswith(GRADUAL) else 0.0
    policy = "feature_encoder" if share else policy
    changed = recipe.model_copy(
        update={
            "model": recipe.model.model_copy(update={"freeze": policy}),
            "train": recipe.train.model_copy(update={"cached_copies": copies, **fields}),
        }
    )
    hours, config = PreparationSummary.read(out / "data").hours["train"], configuration(recipe.model)
    resolved = presets.resolve(changed, hours, config.hidden_size)[0]
    if not share:
        return resolved
    after_head = resolved.train.steps - resolved.train.head_steps
    every = max(1, round(share * after_head / max(1, config.num_hidden_layers - 1)))
    return resolved.model_copy(update={"train": resolved.train.model_copy(update={"unfreeze_steps": every})})


def _measured(recipe: Recipe, out: Path) -> tuple[str, float]:
    """Return the policy that `model.freeze` auto chooses, and the seconds that it took; measured once."""
    kept = out / "auto.json"
    if not kept.exists():
        started = process_time()
        adapted, data = _start(_resolved(recipe, out, "feature_encoder", 0), out)
        found = depths.best(adapted, data, prepared.load(out / "data", "dev"), "", Console())
        print(found.reason, flush=True)
        kept.write_text(json.dumps({"policy": found.policy, "s": process_time() - started, "cers": found.cers}))
    fields = json.loads(kept.read_text())
    return fields["policy"], fields["s"]


def _start(recipe: Resolved, out: Path) -> tuple[Any, Any]:
    data = prepared.load(out / "data", "train")
    alphabet = Alphabet(PreparationSummary.read(out / "data").alphabet)
    return head.create(recipe.model, alphabet, recipe.language, recipe.text, recipe.train.seed), data


def _timed(recipe: Resolved, out: Path) -> tuple[float, float]:
    """Return the seconds of a step after the head-only stage, with masks, and those to fill the cache once.

    The mean where layers are unfrozen one by one, else the median.
    """
    adapted, data = _start(recipe, out)
    hours = PreparationSummary.read(out / "data").hours["train"]
    # A cache is filled where each clip is used more than once.
    steps = math.ceil(1.3 * hours * 3600 / recipe.train.batch_s)
    timed = {"steps": steps, "head_steps": 0, "warmup": 0.0, "eval_steps": steps}
    if every := recipe.train.unfreeze_steps:
        timed["unfreeze_steps"] = max(1, int(every * steps / (recipe.train.steps - recipe.train.head_steps)))
    conf = recipe.train.model_copy(update=timed)
    recipe, scratch = recipe.model_copy(update={"train": conf}), out / "timing"
    shutil.rmtree(scratch, ignore_errors=True)
    started = process_time()
    inputs = Inputs(recipe, adapted, data, scratch / "data" / "features")
    adapted.net.eval()
    inputs.fill_cache(Console(quiet=True))
    fill_s = process_time() - started
    scratch.mkdir(exist_ok=True)
    train.train(
        recipe, adapted, data, prepared.load(out / "data", "dev").select([0, 1]), scratch, Console(quiet=True)
    )
    log = [json.loads(line) for line in (scratch / "train_log.jsonl").read_text().splitlines()]
    ends = [(line["step"], line["elapsed_s"]) for line in log if "elapsed_s" in line]
    starts = [0, *(step for step, _ in ends)]
    steps_s = [elapsed_s / (step - start) for start, (step, elapsed_s) in zip(starts, ends, strict=False)]
    shutil.rmtree(scratch)
    return statistics.mean(steps_s) if conf.unfreeze_steps else statistics.median(steps_s), fill_s


if __name__ == "__main__":
    app()
