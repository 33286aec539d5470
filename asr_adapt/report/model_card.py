"""The model card: `README.md` of a run's model, with metadata as the Hugging Face Hub reads it."""

import re
from collections.abc import Sequence
from pathlib import Path

from asr_adapt.artifacts import Metrics, ModelMetadata, PreparationSummary
from asr_adapt.recipe import Recipe
from asr_adapt.records import counted, describe_duration
from asr_adapt.report import assessment, run_facts
from asr_adapt.report.render import render
from asr_adapt.scoring import error_analysis, verdict
from asr_adapt.scoring.error_analysis import ScoredUtterance
from asr_adapt.scoring.evaluation import Evaluation

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def model_card(evaluation: Evaluation, metadata: ModelMetadata, folder: Path) -> str:
    """Return the text of the model card.

    Args:
        evaluation: Of the run's model.
        metadata: Of the run's model.
        folder: The run folder.

    Raises:
        InputError: the run's recipe, summary or training data is missing or damaged.
    """
    from huggingface_hub import EvalResult, ModelCardData

    metrics, scored = evaluation.metrics, evaluation.utterances
    recipe, summary = run_facts.recipe_of(folder), PreparationSummary.read(folder / "data")
    corpus = run_facts.corpus_name(recipe)
    split_sha256 = error_analysis.split_hash(one.utterance for one in scored)
    results = [
        EvalResult(
            task_type="automatic-speech-recognition",
            task_name="Speech recognition",
            dataset_type=corpus,
            dataset_name=corpus,
            dataset_config=recipe.language,
            dataset_split=metrics.split,
            dataset_args={
                "utterances": metrics.utterances,
                "words": metrics.words,
                "hours": round(metrics.audio_s / 3600, 4),
                "sha256": split_sha256,
            },
            metric_type=name,
            metric_name=f"{name.upper()} (a fraction)",
            metric_value=value,
            metric_args={
                "interval_95": list(interval),
                "normaliser": metrics.normaliser,
                "decoding": metrics.decoding,
            },
        )
        for name, value, interval in (("wer", metrics.wer, metrics.wer_ci95), ("cer", metrics.cer, metrics.cer_ci95))
    ]
    base = run_facts.base_name(recipe)
    title = f"Speech recognition for {recipe.language}, trained on {corpus}"
    data = ModelCardData(
        model_name=title,
        language=recipe.language.split("-")[0],
        library_name="transformers",
        pipeline_tag="automatic-speech-recognition",
        tags=["asr_adapt", "ctc"],
        # Both the corpus's and the base model's licence apply; a program cannot derive one licence from the two.
        license="other",
        license_name="of-corpus-and-base-model",
        base_model=base if _HUB_NAME.fullmatch(base) else None,
        metrics=["wer", "cer"],
        eval_results=results,
        train_hours=summary.hours["train"],
    )
    text = render(
        "model_card.md",
        title=title,
        language=recipe.language,
        version=metadata.asr_adapt,
        metrics=metrics,
        assessment=assessment.of_folder(folder, evaluation),
        too_little=verdict.too_little(metrics.utterances, metrics.audio_s),
        split_sha256=split_sha256,
        training=run_facts.training_facts(recipe, summary, folder),
        limits=_limits(recipe, summary, metrics, scored, folder, metadata),
        licence=run_facts.licence(recipe),
        base="" if recipe.model.base == "none" else base,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{text}"


def _limits(
    recipe: Recipe,
    summary: PreparationSummary,
    metrics: Metrics,
    scored: Sequence[ScoredUtterance],
    folder: Path,
    metadata: ModelMetadata,
) -> list[str]:
    speakers = summary.speakers["train"]
    speech = f"{describe_duration(summary.hours['train'] * 3600)} of speech" + (
        f" by {counted(speakers, 'speaker')}" if speakers else ""
    )
    return [
        f"It was trained on {speech} in {recipe.language}, from the corpus {run_facts.corpus_name(recipe)}. Expect "
        "more errors than above with other speakers, microphones, noise, topics and speaking styles.",
        f"It writes {len(metadata.alphabet) - 2} letters and no others: {' '.join(metadata.alphabet[2:])}.",
        f"It was trained on clips of {recipe.corpus.min_duration_s:g} to {recipe.corpus.max_duration_s:g} s. Cut "
        "longer recordings at their pauses, as `asr-adapt transcribe` does.",
        "It does not identify languages: speech in any other language is transcribed as well.",
        *run_facts.leak_warnings(summary, metrics.split, scored, folder),
    ]
