"""What beam search with an n-gram costs, beside what a model of wav2vec2-base's shape takes to hear the same clips.

    python benchmarks/beam.py --corpus CORPUS --model runs/x/model   # a model with an n-gram (asr-adapt lm)
    python benchmarks/beam.py --corpus CORPUS --model runs/x/model --pyctcdecode

pyctcdecode 0.5 asks for a NumPy before 2, and runs with ours: `pip install kenlm pygtrie hypothesis`, then
`pip install --no-deps pyctcdecode`. It gets the same n-gram, weights, beams and floor.

The beams' widths and the acoustic model take turns in one run on one thread, so that their ratio holds where the
figures drift. WER and CER are of dev, on which the n-gram's weights were tuned.
"""

import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import torch
import typer
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asr_adapt import audio, corpora
from asr_adapt.artifacts import NGramWeights
from asr_adapt.decoding import ctc
from asr_adapt.decoding.beam_search import BeamSearch
from asr_adapt.model import forward, ngram_file
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Text
from asr_adapt.scoring import error_rates

_ACOUSTIC = "model of the base shape"
Result = TypeVar("Result")


def main(
    corpus: Annotated[Path, typer.Option(help="Folder of a corpus, or a manifest; its dev split is read.")],
    model: Annotated[Path, typer.Option(help="A run's model/ folder, with an n-gram.")],
    clips: Annotated[int, typer.Option(help="Clips that are decoded.")] = 200,
    heard: Annotated[int, typer.Option(help="Clips that the base shape hears in a round.")] = 10,
    rounds: Annotated[int, typer.Option(help="Times that each has its turn.")] = 3,
    pyctcdecode: Annotated[bool, typer.Option(help="pyctcdecode too, with 100 beams.")] = False,
) -> None:
    """Print milliseconds for each second of audio, the share of the acoustic time, WER and CER."""
    torch.set_num_threads(1)
    loaded = CTCModel.load(model)
    beside = ngram_file.read(model)
    if beside is None:
        raise SystemExit(f"{model} has no n-gram: asr-adapt lm --model {model}")
    utterances = [u for u in corpora.read(corpus, loaded.language) if u.split == "dev"][:clips]
    waveforms = [audio.load(u.audio) for u in utterances]
    references = [loaded.normaliser(u.text or "") for u in utterances]
    said = [forward.log_probs(loaded, [waveform])[0] for waveform in waveforms]
    searches = {width: BeamSearch(loaded.alphabet, *beside, width=width) for width in (25, 50, 100, 200)}
    runs: dict[str, Callable[[np.ndarray], list[ctc.Run]]] = {"greedy": ctc.greedy}
    runs |= {f"{width} beams": search.runs for width, search in searches.items()}

    def spelled(way: Callable[[np.ndarray], list[ctc.Run]], log_probs: np.ndarray) -> str:
        return loaded.alphabet.decode(run.label for run in way(log_probs))

    ways: dict[str, Callable[[np.ndarray], str]] = {
        name: functools.partial(spelled, way) for name, way in runs.items()
    }
    if pyctcdecode:
        ways |= {"100 beams, text alone": searches[100].text, "pyctcdecode, 100 beams": _pyctcdecode(loaded, *beside)}
    torch.manual_seed(0)
    large = CTCModel(Wav2Vec2ForCTC(Wav2Vec2Config()).eval(), loaded.alphabet, "und", Text(), normalise_waveform=True)
    forward.log_probs(large, waveforms[:1])
    ctc.align(said[0], ctc.frames_needed([2]) * [2])  # imports torchaudio

    taken: dict[str, list[float]] = {name: [] for name in [_ACOUSTIC, *ways]}
    texts: dict[str, list[str]] = {}
    for _ in range(rounds):
        taken[_ACOUSTIC].append(_ms(lambda w: forward.log_probs(large, [w]), waveforms[:heard], waveforms[:heard])[0])
        for name, way in ways.items():
            ms, texts[name] = _ms(way, said, waveforms)
            taken[name].append(ms)
    acoustic = statistics.median(taken[_ACOUSTIC])
    print(f"{len(said)} clips, {sum(map(len, waveforms)) / audio.SAMPLE_RATE_HZ:.0f} s; one thread")
    print(f"{'':24}{'ms for 1 s':>11}{'share':>8}{'WER':>7}{'CER':>7}")
    for name, times in taken.items():
        ms = statistics.median(times)
        line = f"{name:24}{ms:11.2f}{ms / acoustic:8.1%}"
        if name in texts:
            pairs = list(zip(references, texts[name], strict=True))
            line += f"{error_rates.rate([error_rates.word_errors(*pair) for pair in pairs]):7.3f}"
            line += f"{error_rates.rate([error_rates.character_errors(*pair) for pair in pairs]):7.3f}"
        print(line)


def _pyctcdecode(loaded: CTCModel, arpa: Path, weights: NGramWeights) -> Callable[[np.ndarray], str]:
    from pyctcdecode import build_ctcdecoder

    search = build_ctcdecoder(
        ["", " ", *loaded.alphabet.units[2:]],
        str(arpa),
        alpha=weights.alpha,
        beta=weights.beta,
        unk_score_offset=weights.unknown,
    )
    return functools.partial(search.decode, beam_width=100)


def _ms(
    work: Callable[[np.ndarray], Result], items: list[np.ndarray], waveforms: list[np.ndarray]
) -> tuple[float, list[Result]]:
    """Return milliseconds for each second of audio, and what came of each item."""
    began = time.perf_counter()
    results = [work(item) for item in items]
    audio_s = sum(map(len, waveforms)) / audio.SAMPLE_RATE_HZ
    return 1e3 * (time.perf_counter() - began) / audio_s, results


if __name__ == "__main__":
    typer.run(main)
