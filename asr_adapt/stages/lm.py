"""lm: an n-gram of a model's words beside it, with weights that dev chose."""

import itertools
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from asr_adapt.artifacts import Calibration, NGramWeights
from asr_adapt.console import Console
from asr_adapt.decoding import ctc, ngram
from asr_adapt.decoding.beam_search import BeamSearch, Spelling
from asr_adapt.decoding.ngram import NGram
from asr_adapt.errors import InputError
from asr_adapt.inference.calibration import DevOutputs, calibrate
from asr_adapt.model import ngram_file
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.scoring import error_rates
from asr_adapt.storage import unwritable_as_error

# Searched one after the other, twice: alpha and beta as pyctcdecode's users find them, from "hardly" to "too much".
_TRIED: dict[str, tuple[float, ...]] = {
    "alpha": (0.1, 0.3, 0.5, 0.7, 0.9, 1.2, 1.6),
    "beta": (-1.0, 0.0, 1.0, 2.0, 3.0, 4.5),
    "unknown": (-10.0, -6.0, -3.0, 0.0),
}
_ROUNDS = 2
_LETTERS, _LETTER_BONUSES = (0.1, 0.25, 0.5, 0.8), (0.0, 1.0, 1.5, 2.0, 2.5, 3.0)
FEWEST_WORDS = 100
"""words of dev; on fewer, a weight is chosen by a word or two"""


def lm(
    folder: Path, texts: Sequence[str], order: int, dev: DevOutputs | None, console: Console
) -> NGramWeights | None:
    """Estimate an n-gram of `texts`, tune its weights on dev, and put it beside the model; see `estimated`."""
    made = estimated(CTCModel.load(folder), texts, (), order, dev, console)
    if made is None:
        console.warn("the n-gram does not lower the WER on dev: the model is unchanged. More text may help.")
        return None
    arpa, weights, calibration = made
    ngram_file.write(folder, arpa, weights, calibration)
    console.say(f"{folder} now decodes with {weights.describe()}")
    return weights


def estimated(
    model: CTCModel,
    texts: Sequence[str],
    words: Sequence[str],
    order: int,
    dev: DevOutputs | None,
    console: Console,
    default: NGramWeights | None = None,
    heard: Sequence[str] = (),
) -> tuple[str, NGramWeights, Calibration | None] | None:
    """Return an n-gram as ARPA, its weights, and the calibration of word confidence with it, if there is dev.

    Args:
        model: What is decoded with it.
        texts: Sentences, in any spelling that the model's normaliser knows.
        words: More words, which share the probability of unknown ones; without texts all are equally likely.
        order: Words in the longest n-gram.
        dev: Chooses the weights, from 100 words on, and whether the n-gram is used; None takes `default`.
        console: Where to report.
        default: The weights where there is no dev; None: the usual ones.
        heard: Normalised references of dev that join the n-gram once it has its weights: beside texts as sentences,
            else as words.

    Returns:
        None where dev has fewer errors without the n-gram.

    Raises:
        InputError: there is no word, or ctc-beam-decoder does not run here.
    """
    sentences = [sentence for text in texts if (sentence := model.normaliser(text))]
    listed = [word for word in words if word]
    spoken = [word for text in heard for word in text.split()]
    made = _ngram([*sentences, *heard], listed, order) if sentences else _ngram([], [*listed, *spoken], order)
    console.say(
        f"{order}-gram of {sum(len(s.split()) for s in sentences):,} words in {len(sentences):,} lines: "
        f"{len(made.vocabulary):,} different words, {len(made.probabilities):,} n-grams"
        if sentences
        else f"word list of {len(made.vocabulary):,} words"
    )
    if dev is None:
        if default is None:
            console.warn("no dev split to tune on (--tune CORPUS): default n-gram weights; word confidence is not "
                         "calibrated")  # fmt: skip
        return _arpa(made), default or NGramWeights(), None
    # What was both heard and read would make the n-gram look better than it is for anything else.
    judged = made
    if heard:
        rest = [sentence for sentence in sentences if sentence not in set(heard)]
        if not rest and not listed:
            console.warn("there is no text but the transcripts: default n-gram weights")
            return _arpa(made), default or NGramWeights(), None
        judged = _ngram(rest, listed, order)
    _say_what_dev_has(judged, dev, console)
    greedy = _rates(lambda log_probs: model.alphabet.decode(run.label for run in ctc.greedy(log_probs)), dev)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "lm.arpa"
        with unwritable_as_error(file, "Make room, or set TMPDIR."):
            file.write_text(_arpa(judged), encoding="utf-8")
        if dev.words < FEWEST_WORDS:
            weights = default or NGramWeights()
            remedy = "; --tune CORPUS names another dev split" if default is None else ""
            few = f"{dev.name} has {dev.words} words, fewer than the {FEWEST_WORDS} that choose n-gram weights"
            console.warn(f"{few}: default weights{remedy}")
            rates = _rates(BeamSearch(model.alphabet, file, weights).text, dev)
        else:
            weights, rates = tune(model, file, dev, console)
        console.say(f"{dev.name} WER {{:.3f}}, CER {{:.3f}} decoded greedily;".format(*greedy)
                    + " {:.3f}, {:.3f} with the n-gram".format(*rates))  # fmt: skip
        if rates >= greedy:
            return None
        calibration = calibrate(dev, model.alphabet, BeamSearch(model.alphabet, file, weights).runs, console)
    return _arpa(made), weights, calibration


def _ngram(sentences: Sequence[str], words: Sequence[str], order: int) -> NGram:
    try:
        return ngram.with_words(ngram.estimate(sentences, order), words) if sentences else ngram.of_words(words)
    except ValueError as error:
        raise InputError(str(error), place="TEXT", remedy="Name a text file of the language.") from error


def _arpa(made: NGram) -> str:
    return "\n".join(made.arpa()) + "\n"


def tune(model: CTCModel, arpa: Path, dev: DevOutputs, console: Console) -> tuple[NGramWeights, tuple[float, float]]:
    """Return the weights of the lowest WER on dev (of the lowest CER among equals), with both rates.

    One weight after the other is varied while the others stand, twice.

    Raises:
        InputError: ctc-beam-decoder does not run here.
    """
    found: dict[NGramWeights, tuple[float, float]] = {}

    def rates(weights: NGramWeights) -> tuple[float, float]:
        if weights not in found:
            found[weights] = _rates(BeamSearch(model.alphabet, arpa, weights).text, dev)
        return found[weights]

    best = NGramWeights()
    with console.progress(f"tune on {dev.name}", total=_ROUNDS * len(_TRIED)) as bar:
        for name, values in bar.over(list(_TRIED.items()) * _ROUNDS):
            others = [best.model_copy(update={name: value}) for value in values]
            best = min([best, *others], key=rates)
    return min((best, rates(best)), _with_letters(model, arpa, best, dev), key=lambda one: one[1])


def _with_letters(
    model: CTCModel, arpa: Path, best: NGramWeights, dev: DevOutputs
) -> tuple[NGramWeights, tuple[float, float]]:
    """Return the best weights with a letter n-gram for unknown words, with the rates that they have on dev.

    Its weights choose among the hypotheses of one search for each `unknown`, so that many can be tried.
    """
    spelling = Spelling(ngram.vocabulary(arpa))
    found: list[tuple[tuple[float, float], NGramWeights]] = []
    for unknown in _TRIED["unknown"]:
        searched = best.model_copy(update={"unknown": unknown})
        search = BeamSearch(model.alphabet, arpa, searched)
        with ThreadPoolExecutor() as pool:
            hypotheses = list(pool.map(search.hypotheses, dev.log_probs))
        for letters, bonus in itertools.product(_LETTERS, _LETTER_BONUSES):
            weights = searched.model_copy(update={"letters": letters, "letter_bonus": bonus})
            texts = [
                max(of_clip, key=lambda one: one[1] + spelling.score(one[0], weights))[0] for of_clip in hypotheses
            ]
            found.append((error_rates.rates(list(zip(dev.references, texts, strict=True))), weights))
    rates, weights = min(found, key=lambda one: one[0])
    return weights, rates


def _rates(text_of: Callable[[np.ndarray], str], dev: DevOutputs) -> tuple[float, float]:
    """Return WER and CER on dev; decoders leave Python while they work, so that threads help."""
    with ThreadPoolExecutor() as pool:
        texts = list(pool.map(text_of, dev.log_probs))
    return error_rates.rates(list(zip(dev.references, texts, strict=True)))


def _say_what_dev_has(estimated: NGram, dev: DevOutputs, console: Console) -> None:
    known = set(estimated.vocabulary)
    words = [word for text in dev.references for word in text.split()]
    unknown = sum(word not in known for word in words)
    console.say(f"{dev.name}: perplexity {estimated.perplexity(dev.references):,.0f}, "
                f"{unknown / max(1, len(words)):.1%} of its words are unknown to the n-gram")  # fmt: skip
