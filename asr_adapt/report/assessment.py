"""The assessment of an evaluation: the verdict in words, and the two things that would help most.

What would help is worked out from what was measured in the run, and ordered by how much of the errors it is about.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from asr_adapt import bundled
from asr_adapt.artifacts import Assessment, PreparationSummary, SampleRates
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.recipe import Resolved
from asr_adapt.records import counted, describe_duration
from asr_adapt.report import run_facts
from asr_adapt.report.train_log import read_log
from asr_adapt.scoring import error_analysis, error_rates, verdict
from asr_adapt.scoring.error_analysis import ScoredUtterance
from asr_adapt.scoring.evaluation import Evaluation
from asr_adapt.scoring.verdict import FEWEST_UTTERANCES, LEAST_AUDIO_S

_ADVICE = 2
_MANY_SPEAKERS = 10
_FEW_HOURS = 1.0  # until there, each doubling brings most (docs/training.md, "What to expect")
_GROUP = 10  # utterances of a speaker, below which the error rate says little
_NO_SPEECH = {"writes nothing", "no relation"}  # their errors say nothing of words and letters
_BLANKS = (
    "Train longer (--train.steps), start from a base model, or lower --train.learning_rate: CTC first learns to "
    "write nothing, which usually passes."
)


class Advice(NamedTuple):
    """What would help; `weight` is roughly the share of the errors that it is about."""

    weight: float
    text: str


def assess(folder: Path, evaluation: Evaluation, training: SampleRates | None = None) -> Assessment:
    """Return what an evaluation means and what would help.

    Args:
        folder: The run folder, whose recipe, data and log are taken into account; or one that `asr-adapt evaluate`
            wrote, of which only the evaluation is.
        evaluation: Of the folder.
        training: Error rates on a sample of train, where they were measured.

    Raises:
        InputError: a file of the run folder is damaged.
    """
    judged = verdict.judge(evaluation)
    found = [] if judged.level in _NO_SPEECH else list(_of_errors(evaluation))
    if run_facts.is_run(folder):
        recipe, summary = run_facts.recipe_of(folder), PreparationSummary.read(folder / "data")
        found += _of_run(folder, evaluation, recipe, summary, training)
        if judged.level == "no relation":
            found.append(Advice(3, _texts_belong_elsewhere(evaluation, training)))
        if judged.level == "writes nothing" and recipe.model.base != "none":
            found.append(Advice(2, _texts_may_belong_elsewhere(summary)))
    if judged.level == "writes nothing":
        found.append(Advice(3, _BLANKS))
    if judged.level == "too little":
        found.append(Advice(2, _more_test(evaluation)))
    ranked = sorted(found, key=lambda advice: -advice.weight)
    return Assessment(
        level=judged.level,
        verdict=judged.text,
        reason=judged.reason,
        advice=tuple(advice.text for advice in ranked[:_ADVICE]),
        training=training,
        confidence=evaluation.confidence,
    )


def show(assessment: Assessment, console: Console) -> None:
    """Print the verdict and the advice."""
    console.say(assessment.verdict)
    if assessment.reason:
        console.say(assessment.reason)
    if assessment.advice:
        console.say("What would help most:")
    for number, advice in enumerate(assessment.advice, start=1):
        console.say(f"  {number}. {advice}")


def of_folder(folder: Path, evaluation: Evaluation) -> Assessment:
    """Return the assessment that is kept in a folder; where there is none, it is worked out.

    Raises:
        InputError: a file is damaged.
    """
    return Assessment.read(folder) or assess(folder, evaluation)


def _more_test(evaluation: Evaluation) -> str:
    metrics = evaluation.metrics
    return (
        f"More speech in {metrics.split}: at least {FEWEST_UTTERANCES} utterances and "
        f"{describe_duration(LEAST_AUDIO_S)}; it has {metrics.utterances} and {describe_duration(metrics.audio_s)}."
    )


def _texts_belong_elsewhere(evaluation: Evaluation, training: SampleRates | None) -> str:
    seen = f" CER on training clips is {training.cer:.3f}." if training else ""
    if training and training.cer < evaluation.metrics.cer / 2:
        seen = f" Training clips were learned by heart (CER {training.cer:.3f})."
    return (
        "Play five training clips and read their texts: where texts belong to other clips (a list shifted by a line, "
        f"or sorted in another order), this is what a model learns.{seen}"
    )


def _texts_may_belong_elsewhere(summary: PreparationSummary) -> str:
    too_long = summary.excluded_counts("train").get("text_too_long", 0)
    total = summary.utterances["train"] + sum(summary.excluded_counts("train").values())
    seen = f" {too_long} of {counted(total, 'training clip')} are too short for their text." if too_long else ""
    return (
        "If longer training does not help, play five training clips and read their texts: where texts belong to "
        f"other clips, a base model that knows speech also ends up writing nothing.{seen}"
    )


def _of_errors(evaluation: Evaluation) -> Iterator[Advice]:
    """Yield what the errors themselves say."""
    metrics, scored = evaluation.metrics, evaluation.utterances
    errors = metrics.substitutions + metrics.deletions + metrics.insertions
    if not errors:
        return
    inserted, deleted = metrics.insertions / errors, metrics.deletions / errors
    if inserted > 0.35 and metrics.insertions > metrics.words / 20:
        text = (
            f"Listen to the clips with inserted words: {metrics.insertions:,} of {errors:,} errors are words that "
            "the transcripts lack, as where speech was not written down, or where there is noise."
        )
        yield Advice(inserted / 2, text)
    if deleted > 0.5:
        text = (
            f"Listen to the clips with deleted words: {metrics.deletions:,} of {errors:,} errors are words that the "
            "model left out, as where clips are cut too early, or speech is faint or fast."
        )
        yield Advice(deleted / 2, text)
    marks = error_analysis.marks(scored)
    if marks.errors and (share := marks.wrong / marks.errors) > 0.2:
        text = (
            f"Write tone marks and other diacritics in one consistent way: {share:.0%} of the wrong letters are "
            "right but for their marks."
        )
        yield Advice(share * 0.8, text)
    yield from _hard_speaker(scored, errors)


def _hard_speaker(scored: Sequence[ScoredUtterance], errors: int) -> Iterator[Advice]:
    groups = [(g.wer, g) for g in error_analysis.by_speaker(scored) if g.wer and g.utterances >= _GROUP]
    if len(groups) < 2:
        return
    wer, worst = max(groups, key=lambda pair: pair[0].value)
    typical = error_rates.rate([one.word_errors for one in scored if one.utterance.speaker != worst.name])
    if wer.low > 1.3 * typical:
        text = (
            f"More speech like that of the hardest speaker, whose WER is {wer.value:.3f}; that of the others is "
            f"{typical:.3f}."
        )
        yield Advice((wer.value - typical) * worst.words / errors, text)


def _of_run(
    folder: Path,
    evaluation: Evaluation,
    recipe: Resolved,
    summary: PreparationSummary,
    training: SampleRates | None,
) -> Iterator[Advice]:
    """Yield what the run's data, log and training error say."""
    metrics = evaluation.metrics
    hours, speakers = summary.hours["train"], summary.speakers["train"]
    amount = describe_duration(hours * 3600)
    amount += f" of {counted(speakers, 'speaker')}" if speakers else ""
    more = "More transcribed speech" + (", of more speakers" if 0 < speakers < _MANY_SPEAKERS else "")
    learned = min(1.0, training.cer / metrics.cer) if training and metrics.cer else None
    if training and learned is not None and learned < 0.5:
        text = (
            f"{more}: CER is {training.cer:.3f} on training clips and {metrics.cer:.3f} on {metrics.split} "
            f"(overfitting to {amount})."
        )
        yield Advice(1 - learned, text)
    elif hours < _FEW_HOURS:
        yield Advice(0.4, f"{more}: train has {amount}, and the first hour brings most.")
    if training and learned is not None and learned >= 0.5 and training.cer > 0.05:
        also = f"CER is {training.cer:.3f} on training clips too"
        if _still_improves(folder):
            yield Advice(
                learned, f"Longer training (--train.steps): {also}, and dev was best at the last validation."
            )
        elif recipe.model.base in {"none", *bundled.BASES}:
            yield Advice(learned * 0.6, f"A larger base model (--model.base), on a GPU: {also}.")
    if recipe.model.base == "none":
        yield Advice(0.5, "A base model (--model.base embedded, or a larger one): this model began from nothing.")
    yield from _of_words(folder, evaluation)
    letters = summary.unknown_letters.get(metrics.split, {})
    wrong = sum(one.character_errors.total for one in evaluation.utterances)
    if letters and (share := sum(letters.values()) / max(1, wrong)) > 0.02:
        text = (
            f"Letters that train does not have ({', '.join(list(letters)[:5])}) are {share:.0%} of the wrong "
            "letters: map them (text.replace), or transcribe speech that has them."
        )
        yield Advice(share, text)
    if leaked := max(run_facts.leaks_in(summary, metrics.split, evaluation.utterances).values(), default=0):
        text = (
            f"A test set of its own (asr-adapt doctor shows what is shared, --fix mends it): {leaked} of the "
            f"{metrics.utterances} utterances of {metrics.split} also occur in train, so the score is optimistic."
        )
        yield Advice(0.2 + leaked / metrics.utterances, text)


def _still_improves(folder: Path) -> bool:
    """Whether the last validation was the best by WER and CER together, as training chooses."""
    pairs = ((line.get("dev_wer"), line.get("dev_cer")) for line in read_log(folder / "train_log.jsonl"))
    looks = [min(1.0, wer) + cer for wer, cer in pairs if wer is not None and cer is not None]
    return len(looks) > 1 and looks[-1] <= min(looks)


def _of_words(folder: Path, evaluation: Evaluation) -> Iterator[Advice]:
    """Yield whether an n-gram or more text would help: by wrong words of few wrong letters, and by unknown words."""
    metrics = evaluation.metrics
    if evaluation.is_unspaced or metrics.wer < 0.05:
        return
    seen = {word for text in prepared.load(folder / "data", "train").references for word in text.split()}
    words = [word for one in evaluation.utterances for word in one.reference.split()]
    unknown = sum(word not in seen for word in words) / len(words)
    if "with an n-gram" not in metrics.decoding and metrics.wer > 1.5 * metrics.cer and metrics.cer < 0.5:
        text = (
            f"An n-gram of the training text and any other text (asr-adapt lm): WER is {metrics.wer:.3f} at a CER "
            f"of {metrics.cer:.3f}, and {1 - unknown:.0%} of the words of {metrics.split} occur in train."
        )
        yield Advice((1 - unknown) * 0.6, text)
    elif unknown > 0.1:
        text = (
            f"Text without recordings for the n-gram (asr-adapt lm): {unknown:.0%} of the words of {metrics.split} "
            "never occur in train."
        )
        yield Advice(unknown, text)
