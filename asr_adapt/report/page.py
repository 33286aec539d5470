"""`report.html`: an evaluation as a page, which is one file, works offline, and holds its worst clips as sound."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from asr_adapt import __version__, audio
from asr_adapt.artifacts import Metrics
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import AudioError, InputError
from asr_adapt.report.curves import HEIGHT, WIDTH, Chart, Line, chart
from asr_adapt.report.render import render
from asr_adapt.scoring import error_analysis, error_rates
from asr_adapt.scoring.error_analysis import Confusion, Judged
from asr_adapt.scoring.error_rates import Errors, Step
from asr_adapt.text.characters import describe_unit

CLIPS = 200
"""utterances with sound, those with the most errors"""
AUDIO_BYTES = 15_000_000
"""of sound in a page, as base64: some 60 minutes"""
SHOWN = 2_000
"""utterances on the page; the others are in hypotheses.jsonl"""
_CONFUSIONS = 15
_SPEAKERS = 20  # rows that are seen at once
_DEV = ("dev_wer", "dev_cer")


@dataclass(frozen=True)
class LeftOut:
    """Utterances that are not in the figures, or not in training, for one reason."""

    split: str
    reason: str
    count: int
    first: str = ""
    """what is wrong with the first of them"""


@dataclass(frozen=True)
class About:
    """What is told beside the figures."""

    title: str
    language: str
    """BCP-47"""
    facts: Mapping[str, str]
    left_out: Sequence[LeftOut] = ()
    cautions: Sequence[str] = ()
    """why the figures may flatter"""


@dataclass(frozen=True)
class _Shown:
    """An utterance as the page has it."""

    line: int
    name: str
    speaker: str
    duration_s: float
    text: str
    errors: Errors
    letter_errors: Errors
    columns: Sequence["_Column"]
    sound: str | None


@dataclass(frozen=True)
class _Column:
    """A word said above the word read: pieces of text, and whether they differ."""

    kind: str
    said: Sequence[tuple[str, bool]]
    read: Sequence[tuple[str, bool]]


def page(
    judged: Sequence[Judged],
    metrics: Metrics,
    about: About,
    log: Sequence[Mapping[str, float | None]],
    speech: SpeechSplit | None,
    names: bool,
) -> str:
    """Return the page of an evaluation.

    Args:
        judged: Every utterance that was scored, in the order of `hypotheses.jsonl`.
        metrics: What `metrics.json` holds.
        about: Facts of the model and of what was left out.
        log: Lines of a `train_log.jsonl`; none where the evaluation is not of a run.
        speech: The same utterances with their audio; None leaves recordings out. One that cannot be decoded is shown
            without its recording.
        names: Whether speakers and clips are called by their names; else they are numbered.
    """
    speakers: dict[str | None, str] = {None: "not known"}
    for one in judged:
        speakers.setdefault(one.utterance.speaker, one.utterance.speaker if names and one.utterance.speaker
                            else f"speaker {len(speakers)}")  # fmt: skip
    ranked = sorted(enumerate(judged, start=1), key=lambda pair: _badness(pair[1]), reverse=True)
    sounds = _sounds(speech, [line - 1 for line, _ in ranked]) if speech is not None else {}
    # In scripts without spaces a sentence is one word, and is aligned letter by letter.
    unspaced = metrics.words < 2 * metrics.utterances and sum(len(one.letters) for one in judged) > 8 * metrics.words
    return render(
        "report.html",
        "report.js",
        about=about,
        metrics=metrics,
        marks=error_analysis.marks(judged),
        charts=_charts(log),
        chart_size=(WIDTH, HEIGHT),
        unspaced=unspaced,
        by_speaker=[(speakers[group.name], group) for group in error_analysis.by_speaker(judged)],  # type: ignore[index]
        by_length=[(_range(*group.name), group) for group in error_analysis.by_length(judged)],  # type: ignore[misc]
        speakers_seen=_SPEAKERS,
        letters=_confusions([one.letters for one in judged]),
        words=_confusions([one.words for one in judged]),
        name_of=error_analysis.name_of,
        describe=lambda letter: "" if letter == error_rates.SPACE else describe_unit(letter),
        utterances=[_shown(line, one, speakers, sounds, unspaced, names) for line, one in ranked[:SHOWN]],
        number_of_sounds=len(sounds),
        with_sound=speech is not None,
        budget=(CLIPS, AUDIO_BYTES // 1_000_000),
        names=names,
        version=__version__,
    )


def read_log(path: Path) -> list[dict[str, float | None]]:
    """Return the lines of a `train_log.jsonl`, none where there is none; a last one cut short is left out.

    Raises:
        InputError: a line is damaged.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [_entry(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.endswith(b"\n")]


def _entry(line: bytes, place: str) -> dict[str, float | None]:
    remedy = "Remove the line: a point of the curves is lost, and nothing else."
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise InputError(f"not JSON ({error})", place=place, remedy=remedy) from error
    fields = entry if isinstance(entry, dict) else {}
    if "step" not in fields or not all(isinstance(value, int | float | None) for value in fields.values()):
        raise InputError("is no line of a training's log", place=place, remedy=remedy)
    return fields


def _badness(one: Judged) -> tuple[int, int]:
    return one.word_errors.total, one.letter_errors.total


def _charts(log: Sequence[Mapping[str, float | None]]) -> list[Chart]:
    def line(field: str, name: str) -> Line:
        pairs = ((entry["step"], entry.get(field)) for entry in log)
        return Line(name, [(step, value) for step, value in pairs if step is not None and value is not None])

    loss = chart("Loss on train", [line("loss", "loss")])
    dev = chart("Error rates on dev", [line(field, field.removeprefix("dev_").upper()) for field in _DEV])
    return [drawn for drawn in (loss, dev) if drawn]


def _range(low: float, high: float | None) -> str:
    if high is None:
        return f"{low:g} s and more"
    return f"{low:g} to {high:g} s" if low else f"under {high:g} s"


def _confusions(alignments: Sequence[Sequence[Step]]) -> dict[str, tuple[list[Confusion], int]]:
    """Return, for each kind of error, the most frequent ones, and how many others there are."""
    found = {kind: error_analysis.confusions(alignments, kind) for kind in ("substitute", "delete", "insert")}
    return {kind: (all_[:_CONFUSIONS], len(all_[_CONFUSIONS:])) for kind, all_ in found.items()}


def _shown(
    line: int, one: Judged, speakers: Mapping[str | None, str], sounds: Mapping[int, str], unspaced: bool, names: bool
) -> _Shown:
    utterance = one.utterance
    return _Shown(
        line=line,
        name=utterance.id if names else "",
        speaker=speakers[utterance.speaker],
        duration_s=utterance.duration_s or 0.0,
        text=f"{one.said}\n{one.read}",
        errors=one.word_errors,
        letter_errors=one.letter_errors,
        columns=[_column(step) for step in (one.letters if unspaced else one.words)],
        sound=sounds.get(line - 1),
    )


def _column(step: Step) -> _Column:
    """Return a step with the letters in which two words differ."""
    if step.kind != "substitute":
        return _Column(step.kind, [(step.said, False)], [(step.read, False)])
    letters = error_rates.align_characters(step.said, step.read)

    def pieces(side: str) -> list[tuple[str, bool]]:
        runs = groupby(letters, lambda letter: letter.kind != "equal")
        texts = (("".join(getattr(letter, side) for letter in run), differs) for differs, run in runs)
        return [(text, differs) for text, differs in texts if text]

    return _Column(step.kind, pieces("said"), pieces("read"))


def _sounds(speech: SpeechSplit, worst_first: Sequence[int]) -> dict[int, str]:
    """Return `{index: data URI}` of the first utterances, of those that fit and can be decoded."""
    sounds: dict[int, str] = {}
    left = AUDIO_BYTES
    for index in worst_first[:CLIPS]:
        try:
            data = audio.encode_opus(speech.waveform(index))
        except AudioError:  # it is shown without sound, and the page says how many have it
            continue
        uri = "data:audio/ogg;base64," + base64.b64encode(data).decode()
        if len(uri) <= left:
            sounds[index] = uri
            left -= len(uri)
    return sounds
