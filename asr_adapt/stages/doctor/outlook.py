"""What so much transcribed speech brings, from learning curves that were measured, and the next step."""

from dataclasses import dataclass

from asr_adapt.records import describe_duration


@dataclass(frozen=True)
class Measured:
    """A point of a learning curve: error rates on test after training on so much speech."""

    hours: float
    cer: float
    wer: float


# Mboshi, the embedded base model, greedy decoding, one core: docs/training.md ("What to expect"), docs/log.md.
CURVE = (Measured(1 / 6, 0.284, 0.82), Measured(2.67, 0.171, 0.59))
_WITH_NGRAM = Measured(2.67, 0.155, 0.43)
_SOURCE = "measured on Mboshi with the embedded base model, docs/training.md"

MIN_TRAIN_S = 30.0
"""less transcribed speech than this cannot be trained on: a handful of sentences, few letters in few contexts"""


def expectation(hours: float) -> str:
    """Return what a model trained on `hours` of transcribed speech can be expected to do, and the next step."""
    below = [point for point in CURVE if point.hours <= hours]
    above = [point for point in CURVE if point.hours > hours]
    amount = describe_duration(hours * 3600)
    if not below:
        expectation = f"less than was ever measured; expect more errors than with {_described(above[0])}"
        step = "Next: transcribe 10 min before training, and an hour for drafts that save time."
    elif above:
        expectation = (
            f"expect error rates between those with {_described(below[-1])}, and with {_described(above[0])}"
        )
        step = (
            "Next: transcribe more, up to an hour; text without recordings helps too (asr-adapt lm)."
            if hours < 1
            else "Next: train, then add text without recordings (asr-adapt lm): with 2.67 h and a 3-gram, WER was "
            f"{_rate(_WITH_NGRAM.wer)}."
        )
    else:
        expectation = f"expect error rates no higher than with {_described(below[-1])}"
        step = (
            f"Next: train, then add an n-gram (asr-adapt lm; WER {_rate(_WITH_NGRAM.wer)} there); on a GPU, a larger "
            "base model brings more."
        )
    return f"{amount} of transcribed speech in train: {expectation} ({_SOURCE}). {step}"


def _described(point: Measured) -> str:
    return f"{describe_duration(point.hours * 3600)}: CER {_rate(point.cer)}, WER {_rate(point.wer)}"


def _rate(value: float) -> str:
    return f"{value:.3g}"
