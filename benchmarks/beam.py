"""What beam search with an n-gram costs, beside what a model of wav2vec2-base's shape takes to hear the same clips.

    python benchmarks/beam.py --corpus CORPUS --model runs/x/model   # a model with an n-gram (asr-adapt lm)

The beams' widths and the acoustic model take turns in one run on one thread, so that their ratio holds where the
figures drift. WER and CER are of dev, on which the n-gram's weights were tuned.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asr_adapt import audio, corpora, ctc, score
from asr_adapt import model as models
from asr_adapt.model import CTCModel
from asr_adapt.recipe import Text

_ACOUSTIC = "model of the base shape"


def main(
    corpus: Annotated[Path, typer.Option(help="Folder of a corpus, or a manifest; its dev split is read.")],
    model: Annotated[Path, typer.Option(help="A run's model/ folder, with an n-gram.")],
    clips: Annotated[int, typer.Option(help="Clips that are decoded.")] = 200,
    heard: Annotated[int, typer.Option(help="Clips that the base shape hears in a round.")] = 10,
    rounds: Annotated[int, typer.Option(help="Times that each has its turn.")] = 3,
) -> None:
    """Print milliseconds for each second of audio, the share of the acoustic time, WER and CER."""
    torch.set_num_threads(1)
    loaded = CTCModel.load(model)
    beside = models.ngram_beside(model)
    if beside is None:
        raise SystemExit(f"{model} has no n-gram: asr-adapt lm --model {model}")
    utterances = [u for u in corpora.read(corpus, loaded.language) if u.split == "dev"][:clips]
    waveforms = [audio.load(u.audio) for u in utterances]
    references = [loaded.normaliser(u.text or "") for u in utterances]
    said = [models.log_probs(loaded, [waveform])[0] for waveform in waveforms]
    searches = {width: ctc.BeamSearch(loaded.alphabet, *beside, width=width) for width in (25, 50, 100, 200)}
    ways: dict[str, Callable[[np.ndarray], list[ctc.Run]]] = {"greedy": ctc.greedy}
    ways |= {f"{width} beams": search.runs for width, search in searches.items()}
    torch.manual_seed(0)
    large = CTCModel(Wav2Vec2ForCTC(Wav2Vec2Config()).eval(), loaded.alphabet, "und", Text(), normalise_waveform=True)
    models.log_probs(large, waveforms[:1])
    ctc.align(said[0], ctc.frames_needed([2]) * [2])  # imports torchaudio

    taken: dict[str, list[float]] = {name: [] for name in [_ACOUSTIC, *ways]}
    texts: dict[str, list[str]] = {}
    for _ in range(rounds):
        taken[_ACOUSTIC].append(_ms(lambda w: models.log_probs(large, [w]), waveforms[:heard], waveforms[:heard])[0])
        for name, way in ways.items():
            ms, runs = _ms(way, said, waveforms)
            taken[name].append(ms)
            texts[name] = [loaded.alphabet.decode(run.label for run in of_clip) for of_clip in runs]
    acoustic = statistics.median(taken[_ACOUSTIC])
    print(f"{len(said)} clips, {sum(map(len, waveforms)) / audio.SAMPLE_RATE_HZ:.0f} s; one thread")
    print(f"{'':24}{'ms for 1 s':>11}{'share':>8}{'WER':>7}{'CER':>7}")
    for name, times in taken.items():
        ms = statistics.median(times)
        line = f"{name:24}{ms:11.2f}{ms / acoustic:8.1%}"
        if name in texts:
            pairs = list(zip(references, texts[name], strict=True))
            line += f"{score.rate([score.word_errors(*pair) for pair in pairs]):7.3f}"
            line += f"{score.rate([score.character_errors(*pair) for pair in pairs]):7.3f}"
        print(line)


def _ms(
    work: Callable[[np.ndarray], list], items: list[np.ndarray], waveforms: list[np.ndarray]
) -> tuple[float, list[list]]:
    """Return milliseconds for each second of audio, and what came of each item."""
    began = time.perf_counter()
    results = [work(item) for item in items]
    audio_s = sum(map(len, waveforms)) / audio.SAMPLE_RATE_HZ
    return 1e3 * (time.perf_counter() - began) / audio_s, results


if __name__ == "__main__":
    typer.run(main)
