"""Choosing among base models by measurement: `new` and `doctor` with several `--base`, which `rank` compares."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from asr_adapt.artifacts import Ranking
from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.recipe import Recipe
from asr_adapt.stages import doctor, new, rank
from asr_adapt.stages.doctor import Examined, base_models


def ranking_folder(name: str) -> Path:
    """Return where the command `rank` keeps a ranking by default, so that nothing is measured twice."""
    return Path("runs") / f"{name}-rank"


def new_recipe(recipe: Recipe, bases: Sequence[str], out: Path, folder: Path, console: Console) -> None:
    """Write a recipe script whose base model is the nearest of several.

    Where none is better than random weights, it trains from scratch.

    Args:
        recipe: Language, corpus, and whatever else is set already.
        bases: Base models, at least two.
        out: Where the script goes.
        folder: Of the ranking.
        console: Where to report.

    Raises:
        InputError: `out` exists; the corpus or a base model cannot be used; or probes learn nothing, so that nothing
            can be said of any base model.
    """
    rank.checked(recipe, bases)
    proposal = new.propose(recipe, out, console)
    ranking = rank.rank(proposal.recipe, bases, folder, console)
    if not ranking.has_learned:
        raise InputError("no base model can be chosen", place=recipe.corpus.root, remedy=ranking.recommendation)
    best = ranking.bases[0]
    new.write(proposal, "none" if best.is_far else best.name, _why(ranking), out, console)


def _why(ranking: Ranking) -> str:
    scores = ", ".join(f"{one.name} {one.cer:.3f}" for one in ranking.bases)
    return f"{ranking.recommendation} CER of probes on {ranking.train_minutes:.0f} min: {scores} (asr-adapt rank)"


def with_ranking(
    examined: Examined, recipe: Recipe, bases: Sequence[str], folder: Path, console: Console
) -> Examined:
    """Return what the doctor found, with what a ranking of base models says of the recipe's.

    Args:
        examined: Of the recipe's corpus.
        recipe: The recipe.
        bases: Base models that can be used (`rank.checked`), at least two; findings are of the recipe's where it is
            among them.
        folder: Of the ranking.
        console: Where to report.
    """
    if examined.fatal:
        found = [base_models.not_ranked("the corpus cannot be trained on")]
    else:
        try:
            ranking = rank.rank(recipe.model_copy(update={"text": examined.rules}), bases, folder, console)
        except InputError as error:  # too few clips, say: the doctor's other findings stand
            found = [base_models.not_ranked(str(error))]
        else:
            found = base_models.check(ranking, recipe.model.base)
    return replace(examined, findings=doctor.in_order((*examined.findings, *found)))
