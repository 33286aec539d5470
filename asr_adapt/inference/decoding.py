"""How a model's output becomes text: greedily, or by beam search with its n-gram or with hotwords."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asr_adapt.artifacts import NGramWeights
from asr_adapt.decoding.beam_search import BeamSearch, BeamSearchUnavailable
from asr_adapt.errors import UnknownLetter
from asr_adapt.inference.engines import TORCH
from asr_adapt.model import ngram_file
from asr_adapt.model.ctc_model import CTCModel


@dataclass(frozen=True)
class Decoding:
    """How log-probs become text. The default is greedy decoding of PyTorch's output."""

    beam_width: int | None = None
    """beams that are kept; None: greedy"""
    weights: NGramWeights | None = None
    """of the n-gram; None without one"""
    hotwords: tuple[str, ...] = ()
    """words that are favoured"""
    unwritable: tuple[str, ...] = ()
    """hotwords with a letter outside the model's alphabet, which are ignored"""
    unavailable: tuple[str, ...] = ()
    """`the n-gram`, `hotwords`: what is ignored because beam search does not run here"""
    without_ngram: bool = False
    """the model has an n-gram, which was turned off"""
    engine: str = TORCH

    def describe(self) -> str:
        """Return the decoding on one line, as in `metrics.json`."""
        if self.unavailable:
            are = "are" if "hotwords" in self.unavailable else "is"
            what = (
                f"greedy, since ctc-beam-decoder does not run here: {' and '.join(self.unavailable)} {are} not used"
            )
        elif self.beam_width is None:
            what = "greedy"
        else:
            what = self.weights.describe() if self.weights else "beam search"
        parts = [what]
        if self.without_ngram:
            parts.append("the model's n-gram is turned off")
        if self.hotwords:
            parts.append(f"hotwords {', '.join(self.hotwords)}")
        if self.unwritable:
            parts.append(f"not favoured, since the model cannot write them: {', '.join(self.unwritable)}")
        if self.engine != TORCH:
            parts.append(f"engine {self.engine}")
        return "; ".join(parts)


def choose(
    model: CTCModel, folder: Path, hotwords: Sequence[str] = (), *, use_ngram: bool = True, engine: str = TORCH
) -> tuple[BeamSearch | None, Decoding]:
    """Return how a model is decoded: by beam search where it has an n-gram or there are hotwords, else greedily.

    Where beam search does not run, decoding is greedy, and its description says so.

    Args:
        model: The folder's.
        folder: The model's.
        hotwords: In any spelling that the model's normaliser knows.
        use_ngram: Whether an n-gram beside the model is used.
        engine: What runs the model, for the description.

    Raises:
        InputError: the n-gram is missing or damaged.
    """
    favoured, unwritable = (tuple(words) for words in writable(model, " ".join(hotwords)))
    beside = ngram_file.read(folder)
    common = Decoding(unwritable=unwritable, without_ngram=beside is not None and not use_ngram, engine=engine)
    if not use_ngram:
        beside = None
    if beside is None and not favoured:
        return None, common
    arpa, weights = beside or (None, None)
    try:
        search = BeamSearch(model.alphabet, arpa, weights or NGramWeights())
    except BeamSearchUnavailable:
        ignored = (("the n-gram",) if arpa else ()) + (("hotwords",) if favoured else ())
        return None, replace(common, unavailable=ignored)
    return search, replace(common, beam_width=search.width, weights=weights, hotwords=favoured)


def writable(model: CTCModel, text: str) -> tuple[list[str], list[str]]:
    """Return the words of a text, normalised: those that a model can write, and the others."""
    words: tuple[list[str], list[str]] = [], []
    for word in model.normaliser(text).split():
        try:
            words[0 if model.alphabet.encode(word) else 1].append(word)
        except UnknownLetter:
            words[1].append(word)
    return words
