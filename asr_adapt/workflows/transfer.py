"""transfer: one recipe from nothing, and from its base model with more and more of it trained, at equal steps.

A base model that is far from the target can be worse than none (negative transfer; Wang et al. 2019,
arXiv:1811.09751). Whether it helps is measured here, and which part of it should be trained.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_adapt.artifacts import Metrics
from asr_adapt.console import Console
from asr_adapt.corpora import trained_on
from asr_adapt.errors import InputError
from asr_adapt.model import base
from asr_adapt.recipe import Recipe, read_recipe
from asr_adapt.records import Utterance, describe_duration, read_jsonl
from asr_adapt.report.train_log import trained_s
from asr_adapt.scoring import comparison, error_rates
from asr_adapt.scoring.comparison import Difference
from asr_adapt.scoring.verdict import too_little
from asr_adapt.storage import write_text
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.workflows.run import run

_ROWS = {
    "from nothing": {"base": "none", "freeze": "nothing"},
    "head only": {"freeze": "all_but_head"},
    "feature encoder frozen": {"freeze": "feature_encoder"},
    "nothing frozen": {"freeze": "nothing"},
}

_NEVER_EARLY = 1_000_000  # validations


@dataclass(frozen=True)
class Row:
    """One way to train, and what came of it on test. Rates are fractions, intervals 95 % bootstraps."""

    name: str
    train_s: float
    """seconds of training, without validation"""
    wer: float
    wer_ci95: tuple[float, float]
    cer: float
    cer_ci95: tuple[float, float]
    cer_without_marks: float
    """letters compared without tone marks and other diacritics"""
    cer_against_nothing: tuple[float, float, float] | None
    """CER minus that of the model from nothing, with the paired interval; None for that model itself"""


@dataclass(frozen=True)
class Scored:
    """A test utterance with its normalised texts."""

    utterance: Utterance
    reference: str
    hypothesis: str


def transfer(recipe: Recipe, out: Path, console: Console) -> list[Row]:
    """Train and score a recipe in each way, in a run folder each inside `out`; print and write the table.

    All rows have the recipe's steps, batches and seed, and each keeps the weights that were best on dev; none is
    stopped early. Learning rates, masks and head-only steps, where the recipe leaves them open, are chosen for each
    as for a run of its own. Run again, it resumes.

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
    patient = recipe.train.model_copy(update={"patience": _NEVER_EARLY})
    # All rows are scored on the same clips: none that the base model was trained on, in the row without it either.
    held_out = trained_on.of_base(base.folder(recipe.model), recipe.model.base)
    rows: list[Row] = []
    scored: dict[str, list[Scored]] = {}
    for name, fields in _ROWS.items():
        console.heading(f"transfer: {name}")
        one = recipe.model_copy(update={"model": recipe.model.model_copy(update=fields), "train": patient})
        folder = out / name.replace(" ", "_")
        metrics = run(one, folder, console, held_out=held_out)
        scored[name] = _scored(one, folder)
        rows.append(_row(name, metrics, folder, scored[name], next(iter(scored.values()))))
    write_text(out / "transfer.json", json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    little = too_little(metrics.utterances, metrics.audio_s)
    said = f"{little[0].upper()}{little[1:]}." if little else verdict(scored)
    _show(
        recipe, read_recipe(folder / "recipe.toml").train.steps, rows, metrics.headline, console, said, little is None
    )
    return rows


def _row(name: str, metrics: Metrics, folder: Path, scored: Sequence[Scored], nothing: Sequence[Scored]) -> Row:
    pairs = ((one.reference, one.hypothesis) for one in scored)
    against = None if name == next(iter(_ROWS)) else difference(scored, nothing)
    return Row(
        name=name,
        train_s=trained_s(folder),
        wer=metrics.wer,
        wer_ci95=metrics.wer_ci95,
        cer=metrics.cer,
        cer_ci95=metrics.cer_ci95,
        cer_without_marks=error_rates.cer_without_marks(pairs),
        cer_against_nothing=(against.value, against.low, against.high) if against else None,
    )


def _scored(recipe: Recipe, folder: Path) -> list[Scored]:
    normalise = Normaliser(recipe.text, recipe.language)
    return [
        Scored(u, normalise(u.text or ""), normalise(u.hypothesis or ""))
        for _, u in read_jsonl(folder / "hypotheses.jsonl")
    ]


def difference(scored: Sequence[Scored], baseline: Sequence[Scored]) -> Difference:
    """Return the difference of two rows' CER, paired: on the utterances that both have, drawn together."""
    theirs = {one.utterance.id: one for one in baseline}
    pairs = [(one, theirs[one.utterance.id]) for one in scored if one.utterance.id in theirs]
    _, blocks = comparison.block_labels(
        [one.utterance.speaker for one, _ in pairs], [one.utterance.audio for one, _ in pairs]
    )
    counts = [[error_rates.character_errors(one.reference, one.hypothesis) for one in pair] for pair in pairs]
    return comparison.paired_difference(
        [ours.total for ours, _ in counts],
        [other.total for _, other in counts],
        [other.reference_length for _, other in counts],
        blocks,
    )


def _show(
    recipe: Recipe,
    steps: int | None,
    rows: list[Row],
    headline: str,
    console: Console,
    conclusion: str,
    with_intervals: bool,
) -> None:
    def interval(found: tuple[float, float]) -> str:
        return "{:.3f} to {:.3f}".format(*found) if with_intervals else ""

    def against(found: tuple[float, float, float] | None) -> str:
        form = "{:+.3f} ({:+.3f} to {:+.3f})" if with_intervals else "{:+.3f}"
        return form.format(*found) if found else ""

    console.heading(f"{recipe.language} from {recipe.model.base}: {steps:,} steps each")
    console.table(
        f"on {headline}" + "; 95 % intervals, that of the difference paired" * with_intervals,
        ("", "WER", "", "CER", "", "CER against nothing", "without marks", "training"),
        [
            (
                row.name,
                f"{row.wer:.3f}",
                interval(row.wer_ci95),
                f"{row.cer:.3f}",
                interval(row.cer_ci95),
                against(row.cer_against_nothing),
                f"{row.cer_without_marks:.3f}",
                describe_duration(row.train_s),
            )
            for row in rows
        ],
    )
    console.say(conclusion)


def verdict(scored: Mapping[str, Sequence[Scored]]) -> str:
    """Return whether the base model helps: by CER, and only where the interval of the paired difference leaves out 0.

    Args:
        scored: The test set of each row, that of the model from nothing first.
    """
    rates = {
        name: error_rates.rate([error_rates.character_errors(one.reference, one.hypothesis) for one in members])
        for name, members in scored.items()
    }
    nothing, *adapted = scored
    best = min(adapted, key=lambda name: rates[name])
    against = difference(scored[best], scored[nothing])
    cers = f"CER {rates[best]:.3f} against {rates[nothing]:.3f} from nothing"
    if against.high < 0:
        equals = [
            name for name in adapted if name != best and not difference(scored[name], scored[best]).is_significant
        ]
        also = f" This test set cannot tell it from {' and '.join(equals)}." if equals else ""
        return f"The base model helps: {best}, {cers}.{also}"
    if against.low > 0:
        return f"Negative transfer: even {best} is worse, {cers}. Choose a nearer base model."
    return "No difference that this test set can tell: look for a nearer base model, or a larger test set."
