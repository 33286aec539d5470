"""CTC prefix beam search with an n-gram or hotwords."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from asr_adapt.artifacts import NGramWeights
from asr_adapt.decoding.ctc import Run, align
from asr_adapt.errors import InputError
from asr_adapt.text.alphabet import Alphabet


class BeamSearchUnavailable(InputError):
    """ctc-beam-decoder is not installed, or does not run on this system."""


class BeamSearch:
    """CTC prefix beam search over words with an n-gram (Hannun et al. 2014, arXiv:1408.2873), or hotwords alone.

    Safe to call from several threads.

    Args:
        alphabet: What the columns of the log-probs are.
        arpa: An n-gram of normalised words; None searches without one.
        weights: The n-gram's part.
        width: Beams that are kept.

    Raises:
        BeamSearchUnavailable: ctc-beam-decoder is not installed, or not for this system (it needs glibc 2.35).
        InputError: the n-gram is damaged.
    """

    def __init__(self, alphabet: Alphabet, arpa: Path | None, weights: NGramWeights, width: int = 100) -> None:
        units = ["", " ", *alphabet.units[2:]]
        self._alphabet, self.width = alphabet, width
        try:
            from ctc_beam_decoder import BeamSearchDecoder

            with _quiet_library():
                self._search = BeamSearchDecoder(
                    units,
                    kenlm_model_path=arpa,
                    alpha=weights.alpha,
                    beta=weights.beta,
                    unk_score_offset=weights.unknown,
                )
        except (ImportError, OSError) as error:
            raise BeamSearchUnavailable(
                f"ctc-beam-decoder does not run here ({error})",
                place="beam search",
                remedy="pip install 'asr-adapt[lm]', on a system with glibc 2.35 or newer.",
            ) from error
        except ValueError as error:
            raise InputError(
                f"not an ARPA n-gram ({error})", place=arpa, remedy="Estimate it again: asr-adapt lm."
            ) from error

    def text(self, log_probs: np.ndarray, hotwords: Sequence[str] = ()) -> str:
        """Return the best text of log_probs, float32 (frames, vocab); `hotwords` are favoured."""
        if not len(log_probs):
            return ""
        return self._search.decode(log_probs, beam_width=self.width, hotwords=list(hotwords))

    def runs(self, log_probs: np.ndarray, hotwords: Sequence[str] = ()) -> list[Run]:
        """Return the labels of the best text with their frames, as `greedy` does."""
        return align(log_probs, self._alphabet.encode(self.text(log_probs, hotwords)))


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Keep KenLM's progress bar off standard error, where a C library writes past Python."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
