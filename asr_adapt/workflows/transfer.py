"""transfer: one recipe from nothing, and from its base model with more and more of it trained, at equal steps.

A base model that is far from the target can be worse than none (negative transfer; Wang et al. 2019,
arXiv:1811.09751). Whether it helps is measured here, and which part of it should be trained.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_adapt.artifacts import Metrics
from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.recipe import Recipe, read_recipe
from asr_adapt.records import read_jsonl
from asr_adapt.scoring import error_rates
from asr_adapt.storage import write_text
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.training.state import trained_s
from asr_adapt.workflows.run import run

_ROWS = {
    "from nothing": {"base": "none", "freeze": "nothing"},
    "head only": {"freeze": "all_but_head"},
    "feature encoder frozen": {"freeze": "feature_encoder"},
    "nothing frozen": {"freeze": "nothing"},
}

_FOR_EVER = 1_000_000  # looks at dev


@dataclass(frozen=True)
class Row:
    """One way to train, and what came of it on test. Rates are fractions, intervals 95 % bootstraps."""

    name: str
    train_s: float
    """seconds of training alone, without looks at dev"""
    wer: float
    wer_ci95: tuple[float, float]
    cer: float
    cer_ci95: tuple[float, float]
    cer_without_marks: float
    """letters compared without tone marks and other diacritics"""


def transfer(recipe: Recipe, out: Path, console: Console) -> list[Row]:
    """Train and score a recipe in each way, in a run folder each inside `out`; print and write the table.

    All rows have the recipe's steps, batches and seed, and each keeps the weights that were best on dev; none is
    ended early. Rates, masks and the first steps of the head alone, where the recipe leaves them open, are chosen for
    each as for a run of its own.
    Started again, it goes on where it was.

    Raises:
        InputError: the recipe has no base model, or cannot be run.
    """
    if recipe.model.base == "none":
        raise InputError("there is nothing to transfer from", place="model.base", remedy="Name a base model.")
    if recipe.model.adapter != "none":
        raise InputError(
            "the rows differ in what of the base model is trained; with an adapter none of it is",
            place="model.adapter",
            remedy="Leave it out, or give --model.adapter none.",
        )
    patient = recipe.train.model_copy(update={"patience": _FOR_EVER})
    rows = []
    for name, fields in _ROWS.items():
        console.heading(f"transfer: {name}")
        one = recipe.model_copy(update={"model": recipe.model.model_copy(update=fields), "train": patient})
        folder = out / name.replace(" ", "_")
        rows.append(_row(name, one, run(one, folder, console), folder))
    write_text(out / "transfer.json", json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    _show(recipe, read_recipe(folder / "recipe.toml").train.steps, rows, console)
    return rows


def _row(name: str, recipe: Recipe, metrics: Metrics, folder: Path) -> Row:
    normalise = Normaliser(recipe.text, recipe.language)
    pairs = ((normalise(u.text or ""), normalise(u.hypothesis or ""))
             for _, u in read_jsonl(folder / "hypotheses.jsonl"))  # fmt: skip
    return Row(
        name=name,
        train_s=trained_s(folder),
        wer=metrics.wer,
        wer_ci95=metrics.wer_ci95,
        cer=metrics.cer,
        cer_ci95=metrics.cer_ci95,
        cer_without_marks=error_rates.cer_without_marks(pairs),
    )


def _show(recipe: Recipe, steps: int | None, rows: list[Row], console: Console) -> None:
    console.heading(f"{recipe.language} from {recipe.model.base}: {steps:,} steps each")
    console.table(
        "on test; 95 % intervals",
        ("", "WER", "", "CER", "", "without marks", "minutes"),
        [
            (
                row.name,
                f"{row.wer:.3f}",
                "{:.3f} to {:.3f}".format(*row.wer_ci95),
                f"{row.cer:.3f}",
                "{:.3f} to {:.3f}".format(*row.cer_ci95),
                f"{row.cer_without_marks:.3f}",
                f"{row.train_s / 60:.1f}",
            )
            for row in rows
        ],
    )
    console.say(verdict(rows))


def verdict(rows: list[Row]) -> str:
    """Return whether the base model helps: by CER, and only where the intervals do not overlap."""
    nothing, *adapted = rows
    best = min(adapted, key=lambda row: row.cer)
    if best.cer_ci95[1] < nothing.cer_ci95[0]:
        return f"The base model helps: {best.name}, CER {nothing.cer / best.cer:.1f} times lower than from nothing."
    if best.cer_ci95[0] > nothing.cer_ci95[1]:
        return f"Negative transfer: even {best.name} is worse than from nothing. Choose a nearer base model."
    return "No difference that this test set can tell: look for a nearer base model, or a larger test set."
