"""Does `asr-adapt rank` put base models in the order in which fine-tuning puts them?

    python benchmarks/rank.py measure --corpus MBOSHI --language mdw --base embedded --base OTHER … --out runs/rank
    python benchmarks/rank.py report runs/rank

`measure` ranks the bases, and fine-tunes each, and random weights (`none`), for a fixed number of steps on part of
the corpus; both are resumed. `report` prints Spearman's ρ of the probes' CER and of the CER after fine-tuning, random
weights among them where they share a base's architecture.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from scipy.stats import spearmanr

from asr_adapt import corpora
from asr_adapt.artifacts import PreparationSummary
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import base, head
from asr_adapt.recipe import Corpus, Model, Recipe
from asr_adapt.scoring import error_rates
from asr_adapt.stages import rank as stage
from asr_adapt.stages import train
from asr_adapt.stages.prepare import prepare
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.training import presets
from asr_adapt.workflows import plan

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.command()
def measure(
    corpus: Annotated[Path, typer.Option(help="Corpus folder.")],
    language: Annotated[str, typer.Option(help="BCP-47 tag.")],
    base: Annotated[list[str], typer.Option(help="Base model, as in model.base; repeatable.")],
    out: Annotated[Path, typer.Option(help="Output folder; what is there is not measured again.")],
    sample: Annotated[float, typer.Option(help="Minutes of speech in rank's sample.")] = 10,
    hours: Annotated[float, typer.Option(help="Hours of speech to fine-tune on.")] = 1,
    steps: Annotated[int, typer.Option(help="Steps of each fine-tuning.")] = 200,
    clips: Annotated[int, typer.Option(help="Test clips to score.")] = 200,
    minutes: Annotated[float, typer.Option(help="Begin no fine-tuning after so many minutes.")] = 60,
) -> None:
    """Rank the bases, and fine-tune each of them and random weights."""
    began = time.monotonic()
    recipe = Recipe(language=language, corpus=Corpus(root=corpus, max_train_hours=hours))
    stage.rank(recipe, base, out / language, Console(), minutes=sample)
    results = out / language / "tuned.json"
    tuned: dict[str, float] = json.loads(results.read_text()) if results.exists() else {}
    for name in [*base, "none"]:
        if name not in tuned and time.monotonic() - began < 60 * minutes:
            tuned[name] = _tuned(recipe, name, out / language / "data", steps, clips)
            results.write_text(json.dumps(tuned))
            print(f"{language}, {name}: CER {tuned[name]:.3f} after {steps} steps", flush=True)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Output folder of `measure`.")]) -> None:
    """Print both orders and their correlation."""
    for path in sorted(folder.glob("*/tuned.json")):
        tuned: dict[str, float] = json.loads(path.read_text())
        bases: list[dict[str, Any]] = json.loads((path.parent / "rank.json").read_text())["bases"]
        probes = {one["name"]: one["cer"] for one in bases}
        probes["none"] = bases[0]["cer"] - bases[0]["against_random"][0]
        evidence = {one["name"]: -one["logme"] for one in bases}
        names = sorted(tuned, key=lambda name: tuned[name])
        for name in names:
            print(f"{path.parent.name}  {name:40} fine-tuned {tuned[name]:.3f}  probe {probes[name]:.3f}")
        rho = spearmanr([probes[name] for name in names], [tuned[name] for name in names]).statistic
        known = [name for name in names if name in evidence]
        of_logme = spearmanr([evidence[name] for name in known], [tuned[name] for name in known]).statistic
        place = 1 + sorted(probes, key=lambda name: probes[name]).index(names[0])
        print(f"{path.parent.name}: Spearman's rho {rho:.2f} of {len(names)} bases (LogME {of_logme:.2f} of "
              f"{len(known)}); the best after fine-tuning is number {place} of the probes\n")  # fmt: skip


def _tuned(recipe: Recipe, name: str, data: Path, steps: int, clips: int) -> float:
    """Return the test CER of a base after fine-tuning."""
    recipe = recipe.model_copy(
        update={
            "model": Model(base=name),
            "train": recipe.train.model_copy(update={"steps": steps, "eval_steps": steps, "batch_s": 20.0}),
        }
    )
    resolved_base = base.resolve(recipe.model, recipe.language)
    if not (data / "doctor.json").exists():
        assert recipe.corpus.root is not None
        utterances = corpora.read(recipe.corpus.root, recipe.language)
        prepare(recipe, utterances, base.frame_grid(resolved_base.config), data, Console(quiet=True))
    summary = PreparationSummary.read(data)
    resolved, _ = presets.resolve(plan.settled(recipe), summary.hours["train"], resolved_base.config.hidden_size)
    alphabet = Alphabet(summary.alphabet)
    model = head.create(resolved.model, alphabet, recipe.language, recipe.text, 1, resolved_base)
    train_split, dev, test = (prepared.load(data, split) for split in ("train", "dev", "test"))
    few = dev.select(range(min(20, len(dev))))
    with tempfile.TemporaryDirectory() as scratch:
        train.train(resolved, model, train_split, few, Path(scratch), Console(quiet=True))
    model.net.eval()
    scored = test.select(range(min(clips, len(test))))
    results = Transcriber(model).transcribe_segments(scored.recordings())
    texts = [model.normaliser(getattr(result, "text", "")) for result in results]
    return error_rates.rates(list(zip(scored.references, texts, strict=True)))[1]


if __name__ == "__main__":
    app()
