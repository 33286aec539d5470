"""Cost of beam search with an n-gram, relative to the forward pass of a wav2vec2-base model on the same clips.

    python benchmarks/beam.py --corpus CORPUS --model runs/x/model   # a model with an n-gram (asr-adapt lm)
    python benchmarks/beam.py --corpus CORPUS --model runs/x/model --pyctcdecode

pyctcdecode 0.5 declares NumPy < 2 but works with NumPy 2: `pip install kenlm pygtrie hypothesis`, then
`pip install --no-deps pyctcdecode`. It is given the same n-gram, weights, beam width and pruning threshold.

Beam widths and the acoustic model are interleaved in one run on one thread, so the ratio holds on machines whose
speed drifts. WER and CER are measured on dev, the split on which the n-gram weights were tuned.
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

_ACOUSTIC = "wav2vec2-base forward"
Result = TypeVar("Result")


def main(
    corpus: Annotated[Path, typer.Option(help="Corpus folder or manifest; its dev split is decoded.")],
    model: Annotated[Path, typer.Option(help="Model folder with an n-gram.")],
    clips: Annotated[int, typer.Option(help="Clips to decode.")] = 200,
    forward_clips: Annotated[int, typer.Option(help="Clips for the forward pass in each round.")] = 10,
    rounds: Annotated[int, typer.Option(help="Rounds; each system runs once in a round.")] = 3,
    pyctcdecode: Annotated[bool, typer.Option(help="Also measure pyctcdecode, with 100 beams.")] = False,
) -> None:
    """Print milliseconds per second of audio, the fraction of the forward pass, WER and CER."""
    torch.set_num_threads(1)
    loaded = CTCModel.load(model)
    ngram = ngram_file.read(model)
    if ngram is None:
        raise SystemExit(f"{model} has no n-gram: asr-adapt lm --model {model}")
    utterances = [u for u in corpora.read(corpus, loaded.language) if u.split == "dev"][:clips]
    waveforms = [audio.load(u.audio) for u in utterances]
    references = [loaded.normaliser(u.text or "") for u in utterances]
    log_probs = [forward.log_probs(loaded, [waveform])[0] for waveform in waveforms]
    searches = {width: BeamSearch(loaded.alphabet, *ngram, width=width) for width in (25, 50, 100, 200)}
    runs: dict[str, Callable[[np.ndarray], list[ctc.Run]]] = {"greedy": ctc.greedy}
    runs |= {f"{width} beams": search.runs for width, search in searches.items()}

    def decoded(search: Callable[[np.ndarray], list[ctc.Run]], log_probs: np.ndarray) -> str:
        return loaded.alphabet.decode(run.label for run in search(log_probs))

    decoders: dict[str, Callable[[np.ndarray], str]] = {
        name: functools.partial(decoded, search) for name, search in runs.items()
    }
    if pyctcdecode:
        decoders |= {
            "100 beams, text only": searches[100].text,
            "pyctcdecode, 100 beams": _pyctcdecode(loaded, *ngram),
        }
    torch.manual_seed(0)
    large = CTCModel(Wav2Vec2ForCTC(Wav2Vec2Config()).eval(), loaded.alphabet, "und", Text(), normalise_waveform=True)
    forward.log_probs(large, waveforms[:1])
    ctc.align(log_probs[0], ctc.frames_needed([2]) * [2])  # imports torchaudio

    times_ms: dict[str, list[float]] = {name: [] for name in [_ACOUSTIC, *decoders]}
    texts: dict[str, list[str]] = {}
    for _ in range(rounds):
        times_ms[_ACOUSTIC].append(
            _ms(lambda w: forward.log_probs(large, [w]), waveforms[:forward_clips], waveforms[:forward_clips])[0]
        )
        for name, decoder in decoders.items():
            ms, texts[name] = _ms(decoder, log_probs, waveforms)
            times_ms[name].append(ms)
    acoustic = statistics.median(times_ms[_ACOUSTIC])
    print(f"{len(log_probs)} clips, {sum(map(len, waveforms)) / audio.SAMPLE_RATE_HZ:.0f} s; one thread")
    print(f"{'':24}{'ms per s':>11}{'share':>8}{'WER':>7}{'CER':>7}")
    for name, times in times_ms.items():
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
    """Return milliseconds per second of audio, and the result for each item."""
    began = time.perf_counter()
    results = [work(item) for item in items]
    audio_s = sum(map(len, waveforms)) / audio.SAMPLE_RATE_HZ
    return 1e3 * (time.perf_counter() - began) / audio_s, results


if __name__ == "__main__":
    typer.run(main)
