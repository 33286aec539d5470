"""`Evaluation`: the metrics of a model on a split, and the alignments from which they were counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_adapt.artifacts import Metrics, Reliability
from asr_adapt.errors import InputError
from asr_adapt.records import read_jsonl
from asr_adapt.scoring import error_analysis, error_rates
from asr_adapt.scoring.error_analysis import ScoredUtterance
from asr_adapt.text.normaliser import Normaliser

HYPOTHESES = "hypotheses.jsonl"


@dataclass(frozen=True)
class Evaluation:
    """`metrics.json` and the utterances of `hypotheses.jsonl`, in its order, aligned with their references."""

    metrics: Metrics
    utterances: Sequence[ScoredUtterance]
    confidence: Reliability | None = None
    """of the words that were written; None where none was, or where the evaluation was read from disk"""

    @property
    def is_unspaced(self) -> bool:
        """Whether the script has no spaces: a sentence is then one word, and CER counts rather than WER."""
        characters = sum(len(one.characters) for one in self.utterances)
        return self.metrics.words < 2 * self.metrics.utterances and characters > 8 * self.metrics.words

    @classmethod
    def read(cls, folder: Path, normalise: Normaliser) -> "Evaluation":
        """Read an evaluation from disk, and align it again.

        Args:
            folder: A run folder, or one that `asr-adapt evaluate` wrote.
            normalise: The normaliser of the model that was evaluated.

        Raises:
            InputError: there is no evaluation, or its metrics are not those of its hypotheses.
        """
        metrics = Metrics.read(folder)
        scored = error_analysis.score((utterance for _, utterance in read_jsonl(folder / HYPOTHESES)), normalise)
        pooled = error_rates.pool([one.word_errors for one in scored])
        recorded = (metrics.substitutions, metrics.deletions, metrics.insertions, metrics.words)
        if (pooled.substitutions, pooled.deletions, pooled.insertions, pooled.reference_length) != recorded:
            raise InputError(
                "metrics.json does not match hypotheses.jsonl under this model's normaliser",
                place=folder,
                remedy="Name the model that was evaluated (--model), or evaluate again.",
            )
        return cls(metrics, scored)
