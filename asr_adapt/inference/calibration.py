"""Calibrating the confidence of words on dev: the model's output there, decoded, and scored word by word."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from asr_adapt.artifacts import Calibration
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.decoding import ctc
from asr_adapt.inference.transcriber import Decode, Transcriber, words_of
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.model.mixed_precision import Precision
from asr_adapt.scoring import confidence
from asr_adapt.scoring.confidence import Outcome
from asr_adapt.text.alphabet import Alphabet

_CLIPS = 300  # more do not change what is chosen by dev, and every n-gram weight decodes them all


@dataclass(frozen=True)
class DevOutputs:
    """The model's output on dev: log-probs, float32 (frames, vocab) for each clip, and the normalised references."""

    log_probs: list[np.ndarray]
    references: list[str]
    name: str = "dev"
    """what they are, in messages"""

    @classmethod
    def of(
        cls, model: CTCModel, dev: SpeechSplit, console: Console, precision: Precision | None = None
    ) -> "DevOutputs":
        """Run the model over at most 300 clips of dev, evenly spaced.

        Args:
            model: In evaluation mode.
            dev: The dev split.
            console: Where to report.
            precision: What it multiplies in; None: the fastest.

        Raises:
            AudioError: a clip cannot be decoded.
        """
        chosen = dev.evenly(_CLIPS)
        with console.progress("run dev", total=len(chosen)) as bar:
            transcriber = Transcriber(model, precision=precision)
            outputs = [transcriber.frames(recording)[1] for recording in bar.over(chosen.recordings())]
        return cls(outputs, list(chosen.references))

    @property
    def words(self) -> int:
        """Number of words in the references."""
        return sum(len(text.split()) for text in self.references)


def outcomes(
    outputs: DevOutputs, alphabet: Alphabet, decode: Decode, evidence: Literal["product", "mean"] = "product"
) -> list[Outcome]:
    """Return of each word that is decoded the probability that CTC gives it, and whether it is right.

    Args:
        outputs: On dev.
        alphabet: The model's.
        decode: As the model decodes; it may leave Python while it works, so that threads help.
        evidence: See `ctc.word_probability`.
    """

    def of_clip(log_probs: np.ndarray) -> list[tuple[str, float]]:
        return [
            (alphabet.decode(run.label for run in letters), ctc.word_probability(letters, evidence))
            for letters, _ in words_of(decode(log_probs))
        ]

    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(of_clip, outputs.log_probs))
    found: list[Outcome] = []
    for reference, words in zip(outputs.references, decoded, strict=True):
        found += confidence.outcomes(reference, words)
    return found


def calibrate(outputs: DevOutputs, alphabet: Alphabet, decode: Decode, console: Console) -> Calibration | None:
    """Fit the calibration of a way to decode, and say so, or why there is none."""
    by_product = outcomes(outputs, alphabet, decode)
    by_mean = outcomes(outputs, alphabet, decode, "mean")
    found, calibration = by_product, confidence.fit(by_product)
    other = confidence.fit(by_mean)
    if calibration and other and confidence.loss(other, by_mean) < confidence.loss(calibration, by_product):
        found, calibration = by_mean, other.model_copy(update={"evidence": "mean"})
    if calibration is None:
        console.warn(
            f"word confidence is not calibrated: {len(found)} words were written on {outputs.name}, and it takes "
            f"{confidence.FEWEST_WORDS}"
        )
        return None
    mapped = [Outcome(calibration.of(one.confidence), one.right) for one in found]
    quality = confidence.reliability(mapped, calibrated=True)
    assert quality is not None
    right = sum(one.right for one in found) / len(found)
    console.say(
        f"word confidence: calibrated on {len(found):,} words of {outputs.name}, of which {right:.0%} are right "
        f"(expected calibration error {quality.expected_calibration_error:.3f})"
    )
    return calibration
