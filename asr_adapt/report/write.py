"""Writing `report.html` and the model card into the folders that they belong to."""

from collections import Counter
from pathlib import Path

from asr_adapt.artifacts import Metrics, ModelMetadata, PreparationSummary
from asr_adapt.report import assessment, run_facts, sounds
from asr_adapt.report.model_card import model_card
from asr_adapt.report.page import Excluded, Facts, page
from asr_adapt.report.train_log import read_log
from asr_adapt.scoring import error_analysis
from asr_adapt.scoring.evaluation import Evaluation
from asr_adapt.storage import unwritable_as_error, write_text
from asr_adapt.text.normaliser import Normaliser

PAGE = "report.html"
MODEL_CARD = "README.md"


def read_evaluation(folder: Path, model_folder: Path | None = None) -> Evaluation:
    """Return the evaluation in a folder; see `Evaluation.read`. `model_folder` is a run's own by default."""
    metadata = ModelMetadata.read(model_folder or folder / "model")
    return Evaluation.read(folder, Normaliser(metadata.normaliser, metadata.language))


def write_page(
    folder: Path,
    model_folder: Path | None = None,
    *,
    evaluation: Evaluation | None = None,
    sound: bool = True,
    names: bool = False,
) -> Path:
    """Write `report.html` next to `metrics.json` and `hypotheses.jsonl`; nothing is transcribed.

    Args:
        folder: A run folder, or one that `asr-adapt evaluate` wrote.
        model_folder: The model that was evaluated; a run's own by default.
        evaluation: The evaluation in the folder, if it is at hand; else it is read.
        sound: Whether the page contains the recordings of the utterances with the most errors.
        names: Whether speakers and clips are called by their names rather than numbered.

    Returns:
        The page's path.

    Raises:
        InputError: there is no evaluation or no model, or the metrics are not those of the hypotheses.
    """
    evaluation = evaluation or read_evaluation(folder, model_folder)
    facts = _facts(folder, evaluation, ModelMetadata.read(model_folder or folder / "model"))
    scored = evaluation.utterances
    speech = (
        sounds.speech_of(
            folder, evaluation.metrics.split, [one.utterance for one in scored], [one.reference for one in scored]
        )
        if sound
        else None
    )
    found = assessment.of_folder(folder, evaluation)
    text = page(evaluation, facts, found, read_log(folder / "train_log.jsonl"), speech, names)
    with unwritable_as_error(folder / PAGE, "Make room, or copy the evaluation to where you may write."):
        write_text(folder / PAGE, text)
    return folder / PAGE


def write_model_card(folder: Path, evaluation: Evaluation | None = None) -> Path:
    """Write the model card of a run's model; `evaluation` is read from the run folder by default.

    Raises:
        InputError: the folder is not a run folder with an evaluation.
    """
    evaluation = evaluation or read_evaluation(folder)
    path = folder / "model" / MODEL_CARD
    text = model_card(evaluation, ModelMetadata.read(folder / "model"), folder)
    with unwritable_as_error(path, "Make room, or copy the run to where you may write."):
        write_text(path, text)
    return path


def _facts(folder: Path, evaluation: Evaluation, metadata: ModelMetadata) -> Facts:
    metrics, letters = evaluation.metrics, metadata.alphabet[2:]
    table = {
        "Language": metadata.language,
        "Alphabet": f"{len(letters)} letters: {' '.join(letters)}",
        "Speed": f"{metrics.describe_speed()} seconds of audio per second",
        "Scored split": f"{metrics.split}; SHA-256 of ids and references "
                        f"{error_analysis.split_hash(one.utterance for one in evaluation.utterances)}",
    }  # fmt: skip
    title = f"{metadata.language}, {metrics.split}"
    if not run_facts.is_run(folder):
        excluded = [Excluded(metrics.split, reason, count) for reason, count in metrics.excluded.items()]
        return Facts(title, metadata.language, table, excluded)
    recipe, summary = run_facts.recipe_of(folder), PreparationSummary.read(folder / "data")
    training = run_facts.training_facts(recipe, summary, folder)
    return Facts(
        title=f"{run_facts.corpus_name(recipe)}: {title}",
        language=metadata.language,
        table=training | {"Corpus licence": run_facts.licence(recipe)} | table,
        excluded=_excluded(metrics, summary),
        warnings=run_facts.leak_warnings(summary, metrics.split, evaluation.utterances, folder),
    )


def _excluded(metrics: Metrics, summary: PreparationSummary) -> list[Excluded]:
    """Return what was excluded from each split, the scored split first."""
    firsts = {(e.split, e.reason): e.detail for e in reversed(summary.excluded)}
    counts = {(metrics.split, reason): count for reason, count in metrics.excluded.items()}
    counts |= Counter((e.split, e.reason) for e in summary.excluded if e.split != metrics.split)
    return [
        Excluded(split, reason, count, firsts.get((split, reason), "")) for (split, reason), count in counts.items()
    ]
