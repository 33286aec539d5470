"""The public functions: adapt a model, examine a corpus and score a model, from Python or a notebook.

They do what the verbs of the command line do, return the results, and raise `InputError` for a mistake in the input.
None of them ends the process.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr_adapt import languages
from asr_adapt.console import Console
from asr_adapt.recipe import Recipe, Source, recipe_from

if TYPE_CHECKING:
    from asr_adapt.artifacts import Metrics
    from asr_adapt.stages.doctor import Examined


def run(recipe: Recipe, out: str | Path, *, quiet: bool = False) -> "Metrics":
    """Prepare, train and evaluate a recipe in the run folder `out`, and return its metrics on test.

    Called again with the same folder, it resumes: finished stages are skipped, and training continues from its last
    checkpoint.

    Args:
        recipe: What to adapt, and to which corpus (`recipe.corpus.root`).
        out: The run folder; the adapted model is `out/model`.
        quiet: Print neither progress nor warnings.

    Raises:
        InputError: the recipe or its corpus cannot be used, or `out` belongs to another run.
    """
    from asr_adapt.workflows.run import run as run_stages

    return run_stages(recipe, Path(out), Console(quiet=quiet))


def doctor(
    corpus: str | Path | Source | Recipe,
    *,
    language: str = "und",
    estimate: bool = False,
    sample: int | None = None,
    quiet: bool = False,
) -> "Examined":
    """Examine a corpus and return what is wrong with it.

    Args:
        corpus: A corpus folder, archive or table, or the URL of one; a `Source` or `Corpus` where its format or
            columns must be named; a `Recipe` to examine the corpus under its text rules and for its base model.
        language: BCP-47 tag or English name; a recipe has its own.
        estimate: Time training steps on this machine, for the hours that training would take.
        sample: Decode only so many clips, for a first look; None: all.
        quiet: Print neither progress nor warnings.

    Raises:
        InputError: the corpus cannot be read.
    """
    from asr_adapt.stages import doctor as stage

    return stage.examine(_examined_recipe(corpus, language), Console(quiet=quiet), estimate=estimate, sample=sample)


def evaluate(
    model: str | Path,
    corpus: str | Path | Source,
    *,
    split: str = "test",
    out: str | Path | None = None,
    quiet: bool = False,
    allow_trained: bool = False,
) -> "Metrics":
    """Score a model folder on one split of a corpus.

    Args:
        model: The model folder, such as a run's `model/`.
        corpus: A corpus folder, archive, table or manifest, or the URL of one; a `Source` where its format or columns
            must be named.
        split: `train`, `dev` or `test`.
        out: Where metrics.json, hypotheses.jsonl and report.html go; default: `evaluation-SPLIT`.
        quiet: Print neither progress nor warnings.
        allow_trained: Score clips that the model was trained on, too, instead of leaving them out; either way they
            are counted.

    Raises:
        InputError: the model or the corpus cannot be used, or nothing is left to score.
    """
    from asr_adapt.workflows.model_folder import evaluate_folder

    source = corpus if isinstance(corpus, Source) else Source(root=corpus)
    place = Path(out or f"evaluation-{split}")
    return evaluate_folder(Path(model), source, split, place, Console(quiet=quiet), allow_trained=allow_trained)


def _examined_recipe(corpus: str | Path | Source | Recipe, language: str) -> Recipe:
    if isinstance(corpus, Recipe):
        return corpus
    fields: Mapping[str, Any] = corpus.model_dump() if isinstance(corpus, Source) else {"root": corpus}
    return recipe_from(
        {"language": languages.find(language), "corpus": dict(fields), "model": {"base": "embedded"}}, "doctor"
    )
