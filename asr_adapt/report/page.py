"""`report.html`: an evaluation as one self-contained page, with the recordings of the worst utterances in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from asr_adapt import __version__
from asr_adapt.artifacts import Assessment
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.report import sounds
from asr_adapt.report.curves import HEIGHT, WIDTH, Chart, Line, chart
from asr_adapt.report.render import render
from asr_adapt.scoring import error_analysis, error_rates, verdict
from asr_adapt.scoring.error_analysis import Confusion, ScoredUtterance
from asr_adapt.scoring.error_rates import Errors, Step
from asr_adapt.scoring.evaluation import Evaluation
from asr_adapt.text.characters import describe_unit

SHOWN = 2_000
"""maximum number of utterances on the page; all are in hypotheses.jsonl"""
_CONFUSIONS = 15
_SPEAKERS = 20  # rows that are shown before "more"
_DEV = ("dev_wer", "dev_cer")


@dataclass(frozen=True)
class Excluded:
    """Utterances that were excluded from a split for one reason."""

    split: str
    reason: str
    count: int
    first: str = ""
    """the problem with the first of them"""


@dataclass(frozen=True)
class Facts:
    """Contents of the page besides the error rates."""

    title: str
    language: str
    """BCP-47"""
    table: Mapping[str, str]
    """name → value"""
    excluded: Sequence[Excluded] = ()
    warnings: Sequence[str] = ()
    """why the error rates may be optimistic"""


@dataclass(frozen=True)
class _Row:
    """An utterance as the page shows it."""

    line: int
    name: str
    speaker: str
    duration_s: float
    text: str
    errors: Errors
    character_errors: Errors
    columns: Sequence["_Column"]
    sound: str | None


@dataclass(frozen=True)
class _Column:
    """A reference word above a hypothesis word, each as parts `(text, whether it differs)`."""

    kind: str
    reference: Sequence[tuple[str, bool]]
    hypothesis: Sequence[tuple[str, bool]]


def page(
    evaluation: Evaluation,
    facts: Facts,
    assessment: Assessment,
    log: Sequence[Mapping[str, float | None]],
    speech: SpeechSplit | None,
    names: bool,
) -> str:
    """Return the page of an evaluation.

    Args:
        evaluation: The metrics, and every utterance in the order of `hypotheses.jsonl`.
        facts: About the model and the excluded utterances.
        assessment: The verdict and what would help.
        log: Lines of a `train_log.jsonl`; empty if the evaluation is not a run's.
        speech: The same utterances with their audio; None leaves recordings out. One that cannot be decoded is shown
            without its recording.
        names: Whether speakers and clips are called by their names rather than numbered.
    """
    metrics, scored = evaluation.metrics, evaluation.utterances
    speakers: dict[str | None, str] = {None: "unknown"}
    for one in scored:
        speakers.setdefault(one.utterance.speaker, one.utterance.speaker if names and one.utterance.speaker
                            else f"speaker {len(speakers)}")  # fmt: skip
    ranked = sorted(enumerate(scored, start=1), key=lambda pair: _badness(pair[1]), reverse=True)
    found = sounds.sounds(speech, [line - 1 for line, _ in ranked]) if speech is not None else {}
    unspaced = evaluation.is_unspaced  # then shown aligned character by character
    return render(
        "report.html",
        "report.js",
        facts=facts,
        metrics=metrics,
        assessment=assessment,
        too_little=verdict.too_little(metrics.utterances, metrics.audio_s),
        marks=error_analysis.marks(scored),
        charts=_charts(log),
        chart_size=(WIDTH, HEIGHT),
        unspaced=unspaced,
        by_speaker=[(speakers[group.name], group) for group in error_analysis.by_speaker(scored)],  # type: ignore[index]
        by_length=[(_range(*group.name), group) for group in error_analysis.by_length(scored)],  # type: ignore[misc]
        speakers_seen=_SPEAKERS,
        characters=_confusions([one.characters for one in scored]),
        words=_confusions([one.words for one in scored]),
        names_of_marks=error_analysis.names_of_marks,
        describe=lambda unit: "" if unit == error_rates.SPACE else describe_unit(unit),
        utterances=[_row(line, one, speakers, found, unspaced, names) for line, one in ranked[:SHOWN]],
        number_of_sounds=len(found),
        with_sound=speech is not None,
        budget=(sounds.CLIPS, sounds.AUDIO_BYTES // 1_000_000),
        names=names,
        version=__version__,
    )


def _badness(one: ScoredUtterance) -> tuple[int, int]:
    return one.word_errors.total, one.character_errors.total


def _charts(log: Sequence[Mapping[str, float | None]]) -> list[Chart]:
    def line(field: str, name: str) -> Line:
        pairs = ((entry["step"], entry.get(field)) for entry in log)
        return Line(name, [(step, value) for step, value in pairs if step is not None and value is not None])

    loss = chart("Training loss", [line("loss", "loss")])
    dev = chart("Error rates on dev", [line(field, field.removeprefix("dev_").upper()) for field in _DEV])
    return [drawn for drawn in (loss, dev) if drawn]


def _range(low: float, high: float | None) -> str:
    if high is None:
        return f"{low:g} s or more"
    return f"{low:g} to {high:g} s" if low else f"under {high:g} s"


def _confusions(alignments: Sequence[Sequence[Step]]) -> dict[str, tuple[list[Confusion], int]]:
    """Return, for each kind of error, the most frequent ones and the number of others."""
    found = {kind: error_analysis.confusions(alignments, kind) for kind in ("substitute", "delete", "insert")}
    return {kind: (all_[:_CONFUSIONS], len(all_[_CONFUSIONS:])) for kind, all_ in found.items()}


def _row(
    line: int,
    one: ScoredUtterance,
    speakers: Mapping[str | None, str],
    recordings: Mapping[int, str],
    unspaced: bool,
    names: bool,
) -> _Row:
    utterance = one.utterance
    return _Row(
        line=line,
        name=utterance.id if names else "",
        speaker=speakers[utterance.speaker],
        duration_s=utterance.duration_s or 0.0,
        text=f"{one.reference}\n{one.hypothesis}",
        errors=one.word_errors,
        character_errors=one.character_errors,
        columns=[_column(step) for step in (one.characters if unspaced else one.words)],
        sound=recordings.get(line - 1),
    )


def _column(step: Step) -> _Column:
    """Return a column of the alignment, with the characters in which substituted words differ."""
    if step.kind != "substitute":
        return _Column(step.kind, [(step.reference, False)], [(step.hypothesis, False)])
    characters = error_rates.align_characters(step.reference, step.hypothesis)

    def parts(side: str) -> list[tuple[str, bool]]:
        runs = groupby(characters, lambda character: character.kind != "equal")
        texts = (("".join(getattr(character, side) for character in run), differs) for differs, run in runs)
        return [(text, differs) for text, differs in texts if text]

    return _Column(step.kind, parts("reference"), parts("hypothesis"))
