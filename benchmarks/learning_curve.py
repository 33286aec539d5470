"""Do the bands of `asr-adapt curve` hold what larger amounts of speech bring?

    python benchmarks/learning_curve.py measure --corpus MBOSHI --language mdw --out runs/learning-curve
    python benchmarks/learning_curve.py check runs/learning-curve

`measure` trains the probe of `asr_adapt.training.probe` on the frozen `embedded-small`, on nested subsets of each
corpus: it learns like a run, in seconds. `check` fits each curve without its two largest sizes and predicts them; a
fit counts as right if the mean of the runs of each of both sizes is in the band for single runs.
"""

import itertools
import json
import pickle
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from asr_adapt import corpora
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.model import base, forward, head
from asr_adapt.recipe import Corpus, Model, Recipe
from asr_adapt.scoring import chance, error_rates, learning_curve
from asr_adapt.stages.prepare import prepare
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.training import probe
from asr_adapt.workflows.curve import sizes_of

app = typer.Typer(help=__doc__, no_args_is_help=True)
_BATCH = 8  # clips of like length
_BATCH_S, _WIDTH = 15.0, 96  # of the probes, small ones


@app.command()
def measure(
    corpus: Annotated[Path, typer.Option(help="Corpus folder.")],
    language: Annotated[str, typer.Option(help="BCP-47 tag.")],
    out: Annotated[Path, typer.Option(help="Output folder; what is there is not measured again.")],
    seeds: Annotated[int, typer.Option(help="Nested sequences of subsets.")] = 8,
    steps: Annotated[int, typer.Option(help="Steps of each probe.")] = 150,
    clips: Annotated[int, typer.Option(help="Test clips to score.")] = 150,
    minutes: Annotated[float, typer.Option(help="Stop after so many minutes.")] = 6,
    shuffled: Annotated[bool, typer.Option(help="Shuffle the training transcripts between clips.")] = False,
) -> None:
    """Train and score a probe for each size and seed."""
    torch.set_num_threads(1)
    began = time.monotonic()
    speech = _speech(corpus, language, out)
    train, alphabet = speech["train"], Alphabet(speech["units"])
    test = {name: values[:clips] for name, values in speech["test"].items()}
    texts = train["texts"]
    if shuffled:
        texts = [texts[i] for i in np.random.default_rng(0).permutation(len(texts))]
    labels = [alphabet.encode(text) for text in texts]
    results = out / f"{language}{'-shuffled' if shuffled else ''}.jsonl"
    done = {(line["minutes"], line["seed"]) for line in _lines(results)}
    sizes = sizes_of(sum(train["durations_s"]) / 60)
    for seed, size in itertools.product(range(seeds), sizes):
        if (size, seed) in done or time.monotonic() - began > minutes * 60:
            continue
        chosen = _subset(train["durations_s"], size, seed)
        trained = probe.train(
            [train["features"][i] for i in chosen],
            [labels[i] for i in chosen],
            len(alphabet),
            speech["frame_s"],
            steps=steps,
            batch_s=_BATCH_S,
            width=_WIDTH,
            seed=seed,
        )
        written = [alphabet.decode(ids) for ids in trained.labels(test["features"])]
        pairs = list(zip(test["texts"], written, strict=True))
        rates = error_rates.rates(pairs)
        gain = chance.gain(test["texts"], written, test["durations_s"])
        line = {
            "minutes": size,
            "seed": seed,
            "wer": rates[0],
            "cer": rates[1],
            "gain": [gain.value, gain.low],
            "words": [_counts(error_rates.word_errors(*pair)) for pair in pairs],
            "characters": [_counts(error_rates.character_errors(*pair)) for pair in pairs],
        }
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{results.stem} {size:.0f} min, seed {seed}: CER {rates[1]:.3f}, WER {rates[0]:.3f}, "
              f"gain {gain.value:.3f} ({gain.low:.3f})", flush=True)  # fmt: skip


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Output folder of `measure`.")],
    held_out: Annotated[int, typer.Option(help="Largest sizes that are predicted.")] = 2,
    seeds: Annotated[int, typer.Option(help="Seeds in a fit; no seed is in two.")] = 2,
) -> None:
    """Fit without the largest sizes, and count the fits whose band holds them."""
    for metric in ("characters", "words"):
        fits = hits = points = inside = 0
        for path in sorted(folder.glob("*.jsonl")):
            lines = _lines(path)
            sizes = sorted({line["minutes"] for line in lines})
            whole = [s for s in sorted({line["seed"] for line in lines})
                     if sum(line["seed"] == s for line in lines) == len(sizes)]  # fmt: skip
            for pair in itertools.zip_longest(*[iter(whole)] * seeds):
                members = [line for line in lines if line["seed"] in pair]
                usable = [s for s in sizes if _learned(members, s, metric)]
                known, unknown = usable[:-held_out], usable[-held_out:]
                if None in pair or len(known) < learning_curve.MIN_SIZES:
                    print(f"{path.stem} {metric}, seeds {pair}: no fit, {len(known)} sizes have learned enough")
                    continue
                fitted = learning_curve.fit([_run(line, metric) for line in members if line["minutes"] in known])
                shown, right = [], 0
                for size in unknown:
                    if size > learning_curve.FURTHEST * known[-1]:
                        continue
                    expected = fitted.at(size / 60)
                    found = float(np.mean([_rate(line, metric) for line in members if line["minutes"] == size]))
                    is_in = expected.low <= found <= expected.high
                    points, inside, right = points + 1, inside + is_in, right + is_in
                    shown.append(f"{size:.0f} min {found:.3f} in {expected.low:.3f} to {expected.high:.3f} "
                                 f"({expected.value:.3f}): {'yes' if is_in else 'NO'}")  # fmt: skip
                fits, hits = fits + 1, hits + (right == len(shown))
                law = f"exponent {fitted.exponent:.2f}, floor {fitted.floor:.3f}"
                print(f"{path.stem} {metric}, seeds {pair}, {law}: {'; '.join(shown)}")
        print(f"{metric}: {hits} of {fits} fits have both in their band; {inside} of {points} points\n")


def _learned(members: list[dict[str, Any]], size: float, metric: str) -> bool:
    runs = [line for line in members if line["minutes"] == size]
    gains = all(line["gain"][1] > 0 and line["gain"][0] >= chance.LEAST_GAIN for line in runs)
    return gains and (metric == "characters" or float(np.mean([_rate(line, metric) for line in runs])) < 0.95)


def _run(line: dict[str, Any], metric: str) -> learning_curve.Run:
    errors, lengths = zip(*line[metric], strict=True)
    return learning_curve.Run(line["minutes"] / 60, errors, lengths)


def _rate(line: dict[str, Any], metric: str) -> float:
    errors, lengths = zip(*line[metric], strict=True)
    return sum(errors) / sum(lengths)


def _counts(errors: error_rates.Errors) -> tuple[int, int]:
    return errors.total, errors.reference_length


def _subset(durations_s: list[float], minutes: float, seed: int) -> list[int]:
    """Return clips of so many minutes, nested as those of `corpus.max_train_hours`."""
    order = np.random.default_rng(seed).permutation(len(durations_s))
    before = np.cumsum(np.array(durations_s)[order]) - np.array(durations_s)[order]
    return [int(i) for i, seconds in zip(order, before, strict=True) if seconds < minutes * 60]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _speech(corpus: Path, language: str, out: Path) -> dict[str, Any]:
    """Return texts, durations and features (the last layer of `embedded-small`) of train and test."""
    cache = out / f"{language}.pkl"
    if cache.exists():
        return dict(pickle.loads(cache.read_bytes()))
    recipe = Recipe(language=language, corpus=Corpus(root=corpus), model=Model(base="embedded-small"))
    resolved = base.resolve(recipe.model, language)
    data = out / f"data-{language}"
    prepare(recipe, corpora.read(corpus, language), base.frame_grid(resolved.config), data, Console())
    alphabet = Alphabet.from_texts(prepared.load(data, "train").references)
    model = head.create(recipe.model, alphabet, language, recipe.text, 1, resolved)
    model.net.eval()
    found: dict[str, Any] = {"units": alphabet.units, "frame_s": model.frame_s}
    for split in ("train", "test"):
        speech = prepared.load(data, split)
        lengths = speech.lengths
        features: list[np.ndarray] = [np.empty(0)] * len(speech)
        order = sorted(range(len(speech)), key=lambda i: lengths[i])
        with torch.inference_mode():
            for batch in (order[i : i + _BATCH] for i in range(0, len(order), _BATCH)):
                encoded = forward.encode(model, [torch.from_numpy(np.array(speech.waveform(i))) for i in batch])
                for i, row, clip in zip(batch, forward.contextualise(model.net, encoded), encoded, strict=True):
                    features[i] = row[: len(clip)].half().numpy()
        found[split] = {
            "texts": list(speech.references),
            "durations_s": [length / 16_000 for length in lengths],
            "features": features,
        }
    cache.write_bytes(pickle.dumps(found))
    return found


if __name__ == "__main__":
    app()
