"""What 0, 1, 5, 20 and 100 transcribed clips are worth, without gradient descent and with it.

    python benchmarks/few_shot.py --corpus CORPUS --language mdw --out runs/few-shot-mdw
    python benchmarks/few_shot.py --corpus CORPUS --language mdw --out runs/few-shot-mdw --train 20:1 100:5

The base model, `embedded` unless another is named, on evenly spaced clips of test. The first command scores what
takes seconds: zero-shot, the head corrected by ridge regressions, both greedily and with a 3-gram of the other train
transcripts at its default weights, and nearest neighbours among the frames of the clips mixed into the posteriors
(kNN-CTC, arXiv:2312.13560).
The second one trains on so many clips for so many minutes of one core, from the corrected head: `SHOTS:MINUTES`, with
`:head` the head alone, with `:base` from the embedded base's own head. There is no dev split: the last weights are
scored. Results are appended to results.jsonl, and a row that stands there is not measured again.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_adapt import audio, corpora
from asr_adapt.artifacts import NGramWeights
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.decoding import ctc
from asr_adapt.decoding.beam_search import BeamSearch
from asr_adapt.model import head
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Corpus, Model, Recipe, Train
from asr_adapt.records import Utterance
from asr_adapt.scoring import error_rates
from asr_adapt.stages import few_shot, lm
from asr_adapt.stages.train import train
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.training import presets

SHOTS = (0, 1, 5, 20, 100)
NEIGHBOURS = 16
BATCH_S = 20.0
CALIBRATION_STEPS = 10
CONSOLE = Console(quiet=True)


@dataclass(frozen=True)
class Bench:
    """A language: its pool of clips, its text, and the clips that are scored."""

    recipe: Recipe
    pool: list[Utterance]
    known: few_shot.Vocabulary
    clips: few_shot.Shots
    """as many as the most that is asked for"""
    test: few_shot.Shots
    start: CTCModel
    """zero-shot"""


def opened(root: Path, language: str, base: str, letters: str | None, test_clips: int, seed: int) -> Bench:
    """Return a language; its text is the train split without the clips that may be learned from."""
    recipe = Recipe(language=language, corpus=Corpus(root=root), model=Model(base=base))
    normalise = Normaliser(recipe.text, language)
    utterances = corpora.read(root, language)
    pool = few_shot.draw(utterances, seed)
    learned = {normalise(u.text or "") for u in pool[: max(SHOTS)]}
    texts = few_shot.normalised([u.text or "" for u in pool], normalise)
    sentences = [text for text in texts if text not in learned]
    words = sorted({word for text in sentences for word in text.split()})
    known = few_shot.Vocabulary(words, [*sentences, *sorted(learned)])
    table = few_shot.letter_table(recipe.model, language, known, letters, CONSOLE)
    start = few_shot.zero_shot(recipe.model, language, recipe, known, table)
    clips = few_shot.shots(pool, max(SHOTS), start, recipe, CONSOLE)
    scored = [u for u in utterances if u.split == "test"]
    chosen = [scored[i] for i in np.unique(np.linspace(0, len(scored) - 1, min(test_clips, len(scored))).astype(int))]
    waveforms = [audio.load(u.audio, start_s=u.start_s, end_s=u.end_s) for u in chosen]
    test = few_shot.Shots(chosen, waveforms, [normalise(u.text or "") for u in chosen])
    return Bench(recipe, pool, few_shot.Vocabulary(words, sentences), clips, test, start)


def first(clips: few_shot.Shots, count: int) -> few_shot.Shots:
    """Return the first clips."""
    return few_shot.Shots(clips.utterances[:count], clips.waveforms[:count], clips.texts[:count])


class Results:
    """Rows on disk, printed as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.rows = [json.loads(line) for line in lines]

    def has(self, shots: int, method: str) -> bool:
        """Whether a row stands there."""
        return any(row["shots"] == shots and row["method"] == method for row in self.rows)

    def add(self, shots: int, method: str, texts: Sequence[str], test: few_shot.Shots, cpu_s: float) -> None:
        """Score what was written, and append the row."""
        errors = [error_rates.character_errors(*pair) for pair in zip(test.texts, texts, strict=True)]
        words = [error_rates.word_errors(*pair) for pair in zip(test.texts, texts, strict=True)]
        low, high = error_rates.rate_interval(errors)
        row: dict[str, Any] = {
            "shots": shots,
            "method": method,
            "cer": round(error_rates.rate(errors), 4),
            "cer_ci95": [round(low, 4), round(high, 4)],
            "wer": round(error_rates.rate(words), 4),
            "cpu_s": round(cpu_s, 1),
        }
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(
            f"{shots:4} clips  {method:28} CER {row['cer']:.3f} ({low:.3f} to {high:.3f})  WER {row['wer']:.3f}"
            f"  {cpu_s:6.1f} s of one core",
            flush=True,
        )


def greedy(model: CTCModel, log_probs: Sequence[np.ndarray]) -> list[str]:
    """Return greedily decoded texts."""
    return [model.alphabet.decode(run.label for run in ctc.greedy(scores)) for scores in log_probs]


def scores_of(linear: torch.nn.Linear, features: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """Return log-probs of frames."""
    with torch.inference_mode():
        return [torch.log_softmax(linear(clip), dim=-1).numpy() for clip in features]


def with_neighbours(
    model: CTCModel,
    linear: torch.nn.Linear,
    known: Sequence[torch.Tensor],
    texts: Sequence[str],
    features: Sequence[torch.Tensor],
    share: float,
) -> list[np.ndarray]:
    """Return log-probs of frames, a share of which is the labels of the nearest frames of clips, by forced alignment.

    Neighbours weigh by a softmax of their negative squared distances, at a fifth of the mean of those as temperature.
    """
    labels = []
    for scores, text in zip(scores_of(linear, known), texts, strict=True):
        path = torch.zeros(len(scores), dtype=torch.long)
        for run in ctc.align(scores, model.alphabet.encode(text)):
            path[run.start : run.end] = run.label
        labels.append(path)
    store, names = torch.cat(list(known)), torch.cat(labels)
    mixed = []
    temperature = 0.0
    for clip, scores in zip(features, scores_of(linear, features), strict=True):
        near, index = torch.cdist(clip, store).square().topk(min(NEIGHBOURS, len(store)), largest=False)
        temperature = temperature or float(near.mean()) / 5
        votes = torch.zeros(scores.shape).scatter_add_(1, names[index], torch.softmax(-near / temperature, -1))
        mixed.append(torch.log((1 - share) * torch.from_numpy(scores).exp() + share * votes + 1e-8).numpy())
    return mixed


def measure_quick(bench: Bench, results: Results, out: Path) -> None:
    """Score what takes seconds."""
    model, features = bench.start, few_shot.frames(bench.start, bench.test, CONSOLE)
    clips = few_shot.frames(model, bench.clips, CONSOLE)
    texts = bench.clips.texts
    for shots in SHOTS:
        began = time.process_time()
        linear = few_shot.corrected(model, clips[:shots], texts[:shots]) if shots else model.net.lm_head
        cpu_s = time.process_time() - began
        name = "closed form" if shots else "zero-shot"
        outputs = scores_of(linear, features)
        if not results.has(shots, name):
            results.add(shots, name, greedy(model, outputs), bench.test, cpu_s)
        kinds: dict[str, Sequence[str]] = {"3-gram": bench.known.sentences} | ({} if shots else {"word list": []})
        for kind, sentences in kinds.items():
            if not results.has(shots, f"{name}, {kind}"):
                made = lm.estimated(model, sentences, bench.known.words, 3, None, CONSOLE, NGramWeights())
                if made is not None:
                    path = out / "lm.arpa"
                    path.write_text(made[0], encoding="utf-8")
                    search = BeamSearch(model.alphabet, path, made[1])
                    results.add(shots, f"{name}, {kind}", [search.text(one) for one in outputs], bench.test, cpu_s)
        for share in (0.3, 0.5) if shots else ():
            if not results.has(shots, f"kNN, {share:g} of the posterior"):
                began = time.process_time()
                mixed = with_neighbours(model, linear, clips[:shots], texts[:shots], features, share)
                results.add(
                    shots,
                    f"kNN, {share:g} of the posterior",
                    greedy(model, mixed),
                    bench.test,
                    cpu_s + time.process_time() - began,
                )


def measure_training(
    bench: Bench, shots: int, minutes: float, start: str, results: Results, out: Path, learning_rate: float | None
) -> None:
    """Train for so many minutes of one core, and score the last weights."""
    what = {"": "", "head": " of the head", "base": " from the base"}[start]
    method = f"{minutes:g} min of training{what}"
    if results.has(shots, method):
        return
    clips = first(bench.clips, shots)
    seconds = [len(clip) / audio.SAMPLE_RATE_HZ for clip in clips.waveforms]
    utterances = [u.model_copy(update={"duration_s": s}) for u, s in zip(clips.utterances, seconds, strict=True)]
    data = SpeechSplit("train", utterances, clips.texts, clips.waveforms.__getitem__)
    dev = data.select([0])  # asked for, and never chosen by: the last weights are the ones that count
    freeze = "all_but_head" if start == "head" else "feature_encoder"

    def run(steps: int) -> tuple[CTCModel, float]:
        model = _copied(bench, clips, start)
        settings = Train(
            steps=steps, batch_s=min(BATCH_S, sum(seconds)), eval_steps=steps, precision="fp32",
            head_steps=None if start == "base" else 0, learning_rate=learning_rate,
        )  # fmt: skip
        recipe = bench.recipe.model_copy(
            update={"train": settings, "model": bench.recipe.model.model_copy(update={"freeze": freeze})}
        )
        resolved, _ = presets.resolve(recipe, sum(seconds) / 3600, model.net.config.hidden_size)
        began = time.process_time()
        with tempfile.TemporaryDirectory(dir=out) as folder:
            train(resolved, model, data, dev, Path(folder), CONSOLE)
        return model, time.process_time() - began

    _, few_s = run(CALIBRATION_STEPS)
    _, more_s = run(3 * CALIBRATION_STEPS)
    step_s = max(1e-3, (more_s - few_s) / (2 * CALIBRATION_STEPS))
    steps = max(20, round(minutes * 60 / step_s))
    model, cpu_s = run(steps)
    model.net.eval()
    features = few_shot.frames(model, bench.test, CONSOLE)
    results.add(shots, method, greedy(model, scores_of(model.net.lm_head, features)), bench.test, cpu_s)
    print(f"      {steps} steps of {min(BATCH_S, sum(seconds)):.0f} s, {sum(seconds):.0f} s of speech", flush=True)


def _copied(bench: Bench, clips: few_shot.Shots, start: str) -> CTCModel:
    """Return a model to be trained: with the corrected head, or the one that a run has by default."""
    spec, alphabet = bench.recipe.model, bench.start.alphabet
    fresh = head.create(spec, alphabet, bench.recipe.language, bench.start.text, seed=1)
    if start != "base":
        features = few_shot.frames(bench.start, clips, CONSOLE)
        fresh.net.lm_head = few_shot.corrected(bench.start, features, clips.texts)
    return fresh


def main() -> None:
    """Measure, and print a row each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--language", required=True)
    parser.add_argument("--base", default="embedded", help="base model that writes phones")
    parser.add_argument("--letters", help="as for asr-adapt few-shot")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--test-clips", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, help="default: the preset's")
    parser.add_argument("--train", nargs="*", default=[], metavar="SHOTS:MINUTES[:head|:base]")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = Results(arguments.out / "results.jsonl")
    bench = opened(
        arguments.corpus, arguments.language, arguments.base, arguments.letters, arguments.test_clips, arguments.seed
    )
    if not arguments.train:
        measure_quick(bench, results, arguments.out)
    for wanted in arguments.train:
        shots, minutes, *start = wanted.split(":")
        measure_training(
            bench, int(shots), float(minutes), start[0] if start else "", results, arguments.out,
            arguments.learning_rate,
        )  # fmt: skip


if __name__ == "__main__":
    main()
