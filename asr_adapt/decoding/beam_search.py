"""CTC prefix beam search with an n-gram or hotwords."""

import functools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from asr_adapt.artifacts import NGramWeights
from asr_adapt.decoding import ngram
from asr_adapt.decoding.ctc import Run, align
from asr_adapt.errors import InputError
from asr_adapt.text.alphabet import Alphabet

_LETTERS, _SPELT = 6, 20_000  # order of the letter n-gram, and words that it is estimated of: half a second's work
_KEPT = 100_000  # words whose score is remembered


class BeamSearchUnavailable(InputError):
    """ctc-beam-decoder is not installed, or does not run on this system."""


class Spelling:
    """How likely a word that an n-gram does not know is, by its letters: a letter n-gram of the words that it knows.

    Where a third of the words of new text is unknown, as in languages whose words are long, what an unknown word is
    spelt like tells much; the n-gram gives all the same probability.

    Args:
        vocabulary: The words that the n-gram knows, at least one; `_SPELT` of them are counted, evenly spaced.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        step = max(1, len(vocabulary) // _SPELT)
        self._known = frozenset(vocabulary)
        self._letters = ngram.estimate((" ".join(word) for word in sorted(vocabulary)[::step]), _LETTERS)
        self.of_word = functools.lru_cache(_KEPT)(self._of_word)

    def unknown(self, text: str) -> list[str]:
        """Return the words of a text that the n-gram does not know."""
        return [word for word in text.split() if word not in self._known]

    def score(self, text: str, weights: NGramWeights) -> float:
        """Return what a hypothesis's score gains by its unknown words, in nats."""
        return weights.letters * sum(
            self.of_word(word) + weights.letter_bonus * (len(word) + 1) for word in self.unknown(text)
        )

    def _of_word(self, word: str) -> float:
        """Return the natural log probability of a word's letters, and its end."""
        return math.log(10) * self._letters.sentence_log10(" ".join(word))


class BeamSearch:
    """CTC prefix beam search over words with an n-gram (Hannun et al. 2014, arXiv:1408.2873), or hotwords alone.

    Safe to call from several threads. With `weights.letters` the hypotheses that are left at the end are scored anew,
    by the letters of the words that the n-gram does not know (`Spelling`).

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
        self._alphabet, self.width, self._weights = alphabet, width, weights
        self._spelling = Spelling(ngram.vocabulary(arpa)) if arpa and weights.letters else None
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
        spelling = self._spelling
        if spelling is None:
            return self._search.decode(log_probs, beam_width=self.width, hotwords=list(hotwords))
        found = self.hypotheses(log_probs, hotwords)
        return max(found, key=lambda one: one[1] + spelling.score(one[0], self._weights))[0]

    def hypotheses(self, log_probs: np.ndarray, hotwords: Sequence[str] = ()) -> list[tuple[str, float]]:
        """Return the texts that are left at the end, each with its score in nats, the best first."""
        if not len(log_probs):
            return [("", 0.0)]
        beams = self._search.decode_beams(log_probs, beam_width=self.width, hotwords=list(hotwords))
        return [(text, score) for text, _, _, _, score in beams]

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
