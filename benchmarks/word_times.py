"""Accuracy of word times, on words that are synthesised one by one and joined, so that their times are known.

    python benchmarks/word_times.py --model runs/demo/model --corpus data/demo --voice mi

Needs eSpeak NG (`apt-get install espeak-ng`). Each word is trimmed to the samples above 1 % of its peak, with 80 ms
between words. Times are measured both ways: of transcribed words that are correct, and of the known text (`align`).
"""

import io
import itertools
import statistics
import subprocess
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from asr_adapt import audio, corpora
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.records import Word
from asr_adapt.scoring import error_rates

GAP_S = 0.08


def main(
    model: Annotated[Path, typer.Option(help="Model folder.")],
    corpus: Annotated[Path, typer.Option(help="Corpus folder or manifest; its test sentences are synthesised.")],
    voice: Annotated[str, typer.Option(help="eSpeak NG voice, with its variant: mi, mi+f2.")],
    sentences: Annotated[int, typer.Option(help="Number of sentences.")] = 40,
) -> None:
    """Print the median and the 90th percentile of the error of starts and ends, in milliseconds."""
    transcriber = Transcriber.from_folder(model)
    normalise = transcriber.model.normaliser
    texts = [u.text or "" for u in corpora.read(corpus, transcriber.model.language) if u.split == "test"][:sentences]
    errors: dict[str, list[float]] = {
        f"{way}, {edge}": [] for way in ("transcribe", "align") for edge in ("start", "end")
    }
    for text in texts:
        words = normalise(text).split()
        waveform, truth = _spoken(words, voice)
        transcribed = list(transcriber.transcribe((waveform, audio.SAMPLE_RATE_HZ)).words)
        same = _matched(words, [word.text for word in transcribed])
        _note(errors, "transcribe", [(transcribed[j], truth[i]) for i, j in same])
        aligned = transcriber.align((waveform, audio.SAMPLE_RATE_HZ), [" ".join(words)]).words
        _note(errors, "align", list(zip(aligned, truth, strict=True)))
    for name, values in errors.items():
        ms = sorted(1000 * abs(value) for value in values)
        print(
            f"{name:17} {len(ms):4} words: median {statistics.median(ms):4.0f} ms, "
            f"90 % within {ms[int(0.9 * len(ms))]:4.0f} ms, on average {1000 * statistics.mean(values):+.0f} ms"
        )


def _note(errors: dict[str, list[float]], way: str, pairs: list[tuple[Word, tuple[float, float]]]) -> None:
    for word, (start_s, end_s) in pairs:
        errors[f"{way}, start"].append(word.start_s - start_s)
        errors[f"{way}, end"].append(word.end_s - end_s)


def _spoken(words: list[str], voice: str) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Return a sentence, float32 (num_samples,), 16 kHz, and the start and end of each word, in seconds."""
    gap = np.zeros(int(GAP_S * audio.SAMPLE_RATE_HZ), np.float32)
    parts, times = [gap, gap, gap], []
    for word in words:
        command = ["espeak-ng", "-v", voice, "--stdout", word]
        wav = subprocess.run(command, check=True, capture_output=True).stdout
        waveform = audio.load(io.BytesIO(wav))
        loud = np.flatnonzero(np.abs(waveform) > 0.01 * np.abs(waveform).max())
        begin_s = sum(map(len, parts)) / audio.SAMPLE_RATE_HZ
        parts += [waveform[loud[0] : loud[-1] + 1], gap]
        times.append((begin_s, begin_s + (loud[-1] + 1 - loud[0]) / audio.SAMPLE_RATE_HZ))
    return np.concatenate([*parts, gap, gap]), times


def _matched(reference: list[str], hypothesis: list[str]) -> list[tuple[int, int]]:
    """Return the index pairs of correct words."""
    lines = error_rates.format_alignment(error_rates.align_words(" ".join(reference), " ".join(hypothesis)))
    columns = zip(lines[0].split(), lines[1].split(), strict=True)
    i, j, pairs = itertools.count(), itertools.count(), []
    for one, other in columns:
        a = next(i) if set(one) != {"*"} else None
        b = next(j) if set(other) != {"*"} else None
        if one == other and a is not None and b is not None:
            pairs.append((a, b))
    return pairs


if __name__ == "__main__":
    typer.run(main)
