"""What an evaluation means, in plain words: too little to measure, no use yet, a draft to correct, nearly human."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from asr_adapt.artifacts import Metrics
from asr_adapt.records import counted, describe_duration
from asr_adapt.scoring import chance
from asr_adapt.scoring.chance import Gain
from asr_adapt.scoring.error_analysis import ScoredUtterance
from asr_adapt.scoring.evaluation import Evaluation

FEWEST_UTTERANCES, LEAST_AUDIO_S = 20, 120.0
"""A test set below either is too little to measure: a bootstrap over fewer than 20 is too narrow an interval."""

# People who type English correct a draft faster than they transcribe up to a WER of .30 (Gaur et al. 2016, "The
# effects of automatic speech recognition quality on human transcription latency", W4A). People who document a
# language are still faster at .44 (Billings and McDonnell 2025, Nasal), and at phone or character error rates of .15
# to .17 (Michaud et al. 2018, Yongning Na; Taguchi et al. 2026, arXiv:2603.26248, Ikema: a fifth faster).
_SURE_WER, _USEFUL_WER, _USEFUL_CER = 0.30, 0.44, 0.17
_SOURCES = (
    "Correcting was found faster than typing up to a WER of .30 (Gaur et al. 2016), by those who document a language "
    "up to .44 (Billings and McDonnell 2025) or a CER of .17 (Michaud et al. 2018)."
)
# Professional transcribers of English telephone calls differ from the reference in .051 to .059 of the words (Saon et
# al. 2017, arXiv:1703.02136; Xiong et al. 2016, arXiv:1610.05256). Without spaces, a third of that: a wrong word has
# about one wrong letter in three or more.
_HUMAN_WER, _HUMAN_CER = 0.06, 0.02
_HUMAN_SOURCES = (
    "Professional transcribers of English telephone calls reach a WER of .05 to .06 (Xiong et al. 2016, Saon et al. "
    "2017)."
)
_WRITES_NOTHING = 0.1  # of the letters of the references

Level = Literal["too little", "writes nothing", "no relation", "not usable", "draft", "nearly human"]


@dataclass(frozen=True)
class Verdict:
    """A judgement of one evaluation."""

    level: Level
    text: str
    """in a sentence or two, with the figures"""
    reason: str = ""
    """where the boundaries come from"""


def too_little(utterances: int, audio_s: float | None) -> str | None:
    """Return that a test set is too little to measure, in words; None where it is enough.

    Args:
        utterances: With a reference.
        audio_s: Of all utterances; None where it is not known.
    """
    if utterances >= FEWEST_UTTERANCES and (audio_s is None or audio_s >= LEAST_AUDIO_S):
        return None
    amount = counted(utterances, "utterance")
    return f"too little to measure: {amount}" + (f", {describe_duration(audio_s)}" if audio_s is not None else "")


def judge(evaluation: Evaluation) -> Verdict:
    """Return what an evaluation means.

    A model that writes nothing, or whose transcripts fit other texts as well as their own, is named as such. Else the
    rates are compared with what is known of the use of drafts (see the constants); in scripts without spaces, CER
    alone.
    """
    metrics, scored = evaluation.metrics, evaluation.utterances
    written, expected = (sum(len("".join(text.split())) for text in texts) for texts in _sides(scored))
    if little := too_little(metrics.utterances, metrics.audio_s):
        text = (
            f"{little[0].upper()}{little[1:]}. An error rate means something from {FEWEST_UTTERANCES} utterances and "
            f"{describe_duration(LEAST_AUDIO_S)} of {metrics.split} on."
        )
        return Verdict("too little", text)
    if written < _WRITES_NOTHING * expected:
        return Verdict(
            "writes nothing", f"Not usable yet: it writes almost nothing, {written / expected:.0%} of the letters."
        )
    gain = _gain(scored)
    if gain is not None and not gain.is_real:
        return Verdict("no relation", no_relation(gain))
    level = _level(metrics.wer, metrics.cer, evaluation.is_unspaced)
    bounds = zip(metrics.wer_ci95, metrics.cer_ci95, strict=True)
    best, worst = (_level(wer, cer, evaluation.is_unspaced) for wer, cer in bounds)
    return Verdict(
        level, _in_words(level, best, worst, metrics), _SOURCES if level != "nearly human" else _HUMAN_SOURCES
    )


def no_relation(gain: Gain) -> str:
    """Return in a sentence that transcripts do not fit their own texts."""
    interval = f"95 % interval {gain.low:.1%} to {gain.high:.1%}"
    return (
        "It has learned no relation between sound and text: its transcripts fit the texts of other clips of like "
        f"length as well as their own ({gain.value:.1%} fewer errors, {interval})."
    )


def _gain(scored: Sequence[ScoredUtterance]) -> Gain | None:
    """Return how much better transcripts fit their own texts; None where all texts are the same."""
    durations_s = [one.utterance.duration_s or 0.0 for one in scored]
    try:
        return chance.gain([one.reference for one in scored], [one.hypothesis for one in scored], durations_s)
    except ValueError:
        return None


def _sides(scored: Sequence[ScoredUtterance]) -> tuple[list[str], list[str]]:
    return [one.hypothesis for one in scored], [one.reference for one in scored]


def _level(wer: float, cer: float, unspaced: bool) -> Level:
    if cer <= _HUMAN_CER if unspaced else wer <= _HUMAN_WER:
        return "nearly human"
    return "draft" if cer <= _USEFUL_CER or (wer <= _USEFUL_WER and not unspaced) else "not usable"


_NAMES = {
    "not usable": "not usable yet",
    "draft": "a draft to correct saves time",
    "nearly human": "nearly as good as a human transcriber",
}


def _in_words(level: Level, best: Level, worst: Level, metrics: Metrics) -> str:
    rates = f"WER {metrics.wer:.3f}, CER {metrics.cer:.3f}"
    if level == "not usable":
        text = f"Not usable yet: correcting its drafts would take longer than typing ({rates})."
    elif level == "draft":
        sure = "saves" if metrics.wer <= _SURE_WER else "probably saves"
        text = f"A draft to correct {sure} time ({rates})."
    else:
        text = f"Nearly as good as a human transcriber, on speech like that of {metrics.split} ({rates})."
    others = dict.fromkeys(_NAMES[other] for other in (worst, best) if other != level)
    return text + (f" The intervals reach into: {'; '.join(others)}." if others else "")
