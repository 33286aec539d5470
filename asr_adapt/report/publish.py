"""publish: what an evaluation found becomes a page, `report.html`, and a run's model gets its card."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from asr_adapt.artifacts import Environment, Metrics, ModelMetadata, PreparationSummary
from asr_adapt.corpora import prepared
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import InputError
from asr_adapt.recipe import Recipe, Resolved, Source, read_recipe
from asr_adapt.records import read_jsonl
from asr_adapt.report import page as pages
from asr_adapt.report import render
from asr_adapt.report.page import About, LeftOut
from asr_adapt.scoring import error_analysis
from asr_adapt.scoring.error_analysis import Judged
from asr_adapt.storage import write_whole
from asr_adapt.text.normaliser import Normaliser

PAGE = "report.html"
CARD = "README.md"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_TRAINED = {
    "feature_encoder": "all but the feature encoder",
    "all_but_head": "the head alone",
    "nothing": "all of it",
}


def page(folder: Path, model_folder: Path | None = None, *, sound: bool = True, names: bool = False) -> Path:
    """Write `report.html` beside the `metrics.json` and `hypotheses.jsonl` of a folder; nothing is transcribed again.

    Args:
        folder: A run's folder, or one that an evaluation wrote.
        model_folder: The model that was evaluated; a run's own by default.
        sound: Whether the worst utterances' recordings are put into the page.
        names: Whether speakers and clips are called by their names; else they are numbered.

    Returns:
        The page's path.

    Raises:
        InputError: there is no evaluation or no model, or the figures are not those of the hypotheses.
    """
    metrics, judged, metadata = _read(folder, model_folder or folder / "model")
    about = _about(folder, metrics, judged, metadata)
    speech = _speech(folder, metrics.split, judged) if sound else None
    text = pages.page(judged, metrics, about, pages.read_log(folder / "train_log.jsonl"), speech, names)
    write_whole(folder / PAGE, text)
    return folder / PAGE


def model_card(folder: Path) -> Path:
    """Write `README.md` into the model of a run's folder: a card as the Hugging Face Hub reads it.

    Raises:
        InputError: the folder is no run that was evaluated.
    """
    from huggingface_hub import EvalResult, ModelCardData

    metrics, judged, metadata = _read(folder, folder / "model")
    recipe, summary = _recipe(folder), PreparationSummary.read(folder / "data")
    corpus = _corpus_name(recipe)
    split_sha256 = error_analysis.split_hash(one.utterance for one in judged)
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
    base = _base_name(recipe)
    title = f"Speech recognition for {recipe.language}, from {corpus}"
    data = ModelCardData(
        model_name=title,
        language=recipe.language.split("-")[0],
        library_name="transformers",
        pipeline_tag="automatic-speech-recognition",
        tags=["asr_adapt", "wav2vec2", "ctc"],
        # Corpus and base model both have a say in it, and neither's licence is another's to choose by a program.
        license="other",
        license_name="of-corpus-and-base-model",
        base_model=base if _HUB_NAME.fullmatch(base) else None,
        metrics=["wer", "cer"],
        eval_results=results,
        train_hours=summary.hours["train"],
    )
    text = render.render(
        "model_card.md",
        title=title,
        language=recipe.language,
        version=metadata.asr_adapt,
        metrics=metrics,
        split_sha256=split_sha256,
        training=_training(recipe, summary, folder),
        limits=_limits(recipe, summary, metrics, judged, folder, metadata),
        licence=_licence(recipe),
        base="" if recipe.model.base == "none" else base,
    )
    write_whole(folder / "model" / CARD, f"---\n{data.to_yaml()}\n---\n\n{text}")
    return folder / "model" / CARD


def _read(folder: Path, model_folder: Path) -> tuple[Metrics, list[Judged], ModelMetadata]:
    """Return an evaluation and its model's card; the figures must be those of the hypotheses under its normaliser."""
    metrics = Metrics.read(folder)
    metadata = ModelMetadata.read(model_folder)
    normalise = Normaliser(metadata.normaliser, metadata.language)
    judged = error_analysis.judge((utterance for _, utterance in read_jsonl(folder / "hypotheses.jsonl")), normalise)
    found = [sum(getattr(one.word_errors, kind) for one in judged)
             for kind in ("substitutions", "deletions", "insertions", "reference_length")]  # fmt: skip
    if found != [metrics.substitutions, metrics.deletions, metrics.insertions, metrics.words]:
        raise InputError(
            "the figures of metrics.json are not those of hypotheses.jsonl under this model's normaliser",
            place=folder,
            remedy="Name the model that was evaluated (--model), or evaluate again.",
        )
    return metrics, judged, metadata


def _speech(folder: Path, split: str, judged: Sequence[Judged]) -> SpeechSplit:
    """Return the utterances that were scored, with the audio of a run's prepared corpus where it holds them all."""
    on_disk = SpeechSplit(split, [one.utterance for one in judged], [one.said for one in judged])
    if not (folder / "data" / f"{split}.arrow").is_file():
        return on_disk
    data = prepared.load(folder / "data", split)  # type: ignore[arg-type]
    rows = {utterance.id: row for row, utterance in enumerate(data.utterances)}
    if not all(one.utterance.id in rows for one in judged):
        return on_disk
    return data.select([rows[one.utterance.id] for one in judged])


def _about(folder: Path, metrics: Metrics, judged: list[Judged], metadata: ModelMetadata) -> About:
    letters = metadata.alphabet[2:]
    facts = {
        "Language": metadata.language,
        "Alphabet": f"{len(letters)} letters: {' '.join(letters)}",
        "Speed": f"{metrics.describe_speed()} seconds of audio in a second",
        "Split scored": f"{metrics.split}; SHA-256 of ids and references "
                        f"{error_analysis.split_hash(one.utterance for one in judged)}",
    }  # fmt: skip
    title = f"{metadata.language}, {metrics.split}"
    if not _is_run(folder):
        left_out = [LeftOut(metrics.split, reason, count) for reason, count in metrics.excluded.items()]
        return About(title, metadata.language, facts, left_out)
    recipe, summary = _recipe(folder), PreparationSummary.read(folder / "data")
    return About(
        title=f"{_corpus_name(recipe)}: {title}",
        language=metadata.language,
        facts=_training(recipe, summary, folder) | {"Corpus's licence": _licence(recipe)} | facts,
        left_out=_left_out(metrics, summary),
        cautions=_cautions(summary, metrics.split, judged, folder),
    )


def _is_run(folder: Path) -> bool:
    return (folder / "recipe.toml").is_file() and (folder / "data" / "doctor.json").is_file()


def _recipe(folder: Path) -> Resolved:
    return Resolved.model_validate(read_recipe(folder / "recipe.toml").model_dump())


def _left_out(metrics: Metrics, summary: PreparationSummary) -> list[LeftOut]:
    """Return what was left out of each split, the one that was scored first."""
    firsts = {(e.split, e.reason): e.detail for e in reversed(summary.excluded)}
    counts = {(metrics.split, reason): count for reason, count in metrics.excluded.items()}
    counts |= Counter((e.split, e.reason) for e in summary.excluded if e.split != metrics.split)
    return [
        LeftOut(split, reason, count, firsts.get((split, reason), "")) for (split, reason), count in counts.items()
    ]


def _cautions(summary: PreparationSummary, split: str, judged: list[Judged], folder: Path) -> list[str]:
    """Return why the figures may flatter: what of the split that is scored was in training too."""
    cautions = []
    leaked = {(leak.kind, leak.value) for leak in summary.leaks if {"train", split} <= set(leak.splits)}
    for kind, values in (("recording", [one.utterance.audio for one in judged]),
                         ("sentence", [one.said for one in judged])):  # fmt: skip
        if count := sum((kind, value) in leaked for value in values):
            cautions.append(
                f"For {count} of the {len(judged)} utterances of {split}, the {kind} stands in train too, so the "
                "figures flatter."
            )
    known = {u.speaker for u in prepared.load(folder / "data", "train").utterances} - {None}
    voices = {one.utterance.speaker for one in judged} - {None}
    if shared := voices & known:
        who = f"{len(shared)} of the {len(voices)} speakers" if shared < voices else "every speaker"
        stand = "stand" if 1 < len(shared) < len(voices) else "stands"
        cautions.append(f"{who} of {split} {stand} in train too: the figures say how well known voices are read.")
    return cautions


def _training(recipe: Resolved, summary: PreparationSummary, folder: Path) -> dict[str, str]:
    train, speakers = recipe.train, summary.speakers["train"]
    steps = max((int(line["step"] or 0) for line in pages.read_log(folder / "train_log.jsonl")), default=0)
    adapter = (
        "" if recipe.model.adapter == "none" else f", by {recipe.model.adapter} of size {recipe.model.adapter_size}"
    )
    facts = {
        "Base model": _base_name(recipe),
        "Trained": _TRAINED[recipe.model.freeze] + adapter,
        "Data": f"{summary.hours['train']:.2f} h, {summary.utterances['train']:,} utterances"
                + (f", {speakers:,} speakers" if speakers else ""),
        "Steps": f"{steps:,} of {train.steps:,}, of {train.batch_s:g} s of audio each; "
                 f"peak rate {train.learning_rate:g}, seed {train.seed}, {train.precision}",
    }  # fmt: skip
    if machine := _machine(folder / "environment.json"):
        facts["Machine"] = machine
    return facts


def _machine(environment: Path) -> str:
    """Return what a run's `environment.json` says, as far as it says it; another version may have written it."""
    if not environment.is_file():
        return ""
    seen = Environment.read_file(environment, "Remove it: the machine is then not named.")
    packages = [f"{name} {seen.versions[name]}" for name in ("asr-adapt", "torch", "transformers")
                if name in seen.versions]  # fmt: skip
    cores = [f"{seen.cores} cores ({seen.machine})"] if seen.cores and seen.machine else []
    return "; ".join(filter(None, map(", ".join, (seen.gpus or cores, packages))))


def _limits(
    recipe: Recipe,
    summary: PreparationSummary,
    metrics: Metrics,
    judged: list[Judged],
    folder: Path,
    metadata: ModelMetadata,
) -> list[str]:
    speakers = summary.speakers["train"]
    heard = f"{summary.hours['train']:.2f} h of speech" + (
        f" by {speakers} speaker{'' if speakers == 1 else 's'}" if speakers else ""
    )
    return [
        f"It has learned {recipe.language} from {heard}, of the corpus {_corpus_name(recipe)}. Other voices, "
        "microphones, noise, topics and ways to speak are read worse than the figures say.",
        f"It writes {len(metadata.alphabet) - 2} letters and no others: {' '.join(metadata.alphabet[2:])}.",
        f"It learned from clips of {recipe.corpus.min_duration_s:g} to {recipe.corpus.max_duration_s:g} s; longer "
        "recordings want to be cut at their pauses, which `asr-adapt transcribe` does.",
        "It writes something whatever language it hears.",
        *_cautions(summary, metrics.split, judged, folder),
    ]


def _corpus_name(recipe: Recipe) -> str:
    return " and ".join(source.root.name for source in _sources(recipe) if source.root) or recipe.language


def _licence(recipe: Recipe) -> str:
    """Return the corpus's licence on one line; where there are several corpora, that of each."""
    licences = [" ".join(source.licence.split()) for source in _sources(recipe)]
    names = [source.root.name if source.root else "" for source in _sources(recipe)]
    return licences[0] if len(licences) == 1 else "; ".join(map(": ".join, zip(names, licences, strict=True)))


def _sources(recipe: Recipe) -> list[Source]:
    return [source for source in (recipe.corpus, *recipe.corpora) if source.root] or [recipe.corpus]


def _base_name(recipe: Recipe) -> str:
    """Return the base model's name: not where a folder lies on this machine."""
    base = recipe.model.base
    named = {"none": "none: trained from nothing", "embedded": "the one embedded in asr_adapt"}
    return named.get(base) or (Path(base).name if Path(base).is_absolute() else base)
