"""The fieldwork loop on a transcribed corpus: ten minutes, then rounds of ten, chosen by a criterion or at random.

    python benchmarks/fieldwork.py run --corpus CORPUS --language qu --out runs/fieldwork-qu
    python benchmarks/fieldwork.py table runs/fieldwork-qu runs/fieldwork-mdw

A simulated transcriber corrects: the corpus's text replaces the draft. A round says what it costs to correct the
last model's drafts of the minutes that were chosen (edits of characters) and what to type them (characters), then
trains on all minutes so far and scores the same test set. Conditions share the first ten minutes, the alphabet, and
the number of steps in a round. So that five rounds fit into minutes on one core, `embedded-small`'s layers
below `DEPTH` are frozen, and their output is computed once for the whole corpus; training is the loop of
`stages.train` without validation and checkpoints. A line of `rounds.jsonl` is a finished round; run again, it goes
on after the last.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from asr_adapt import corpora
from asr_adapt.artifacts import PreparationSummary
from asr_adapt.audio import augment
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.decoding import ctc
from asr_adapt.model import forward, freezing, head
from asr_adapt.model.base import configuration, frame_grid
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Augment, Corpus, Model, Recipe, Train
from asr_adapt.scoring import error_rates, selection
from asr_adapt.scoring.selection import Candidate
from asr_adapt.stages.prepare import prepare
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.training import feature_cache, presets, schedule
from asr_adapt.training.ctc_loss import ctc_loss
from asr_adapt.training.feature_cache import Features
from asr_adapt.workflows import plan

ROUND_S = 600.0
ROUNDS = 5
DEPTH = 4  # of 8 transformer layers
TEST_CLIPS = 220
BATCH = 8
app = typer.Typer(help=__doc__, no_args_is_help=True)


@dataclass(frozen=True)
class Drafts:
    """What a model writes for some clips, normalised, and how unsure it is: mean entropy of its frames, in nats."""

    texts: list[str]
    entropies: list[float]


@app.command()
def run(
    corpus: Annotated[Path, typer.Option(help="Corpus folder; all of its train split is transcribed.")],
    out: Annotated[Path, typer.Option(help="Output folder; finished rounds are not repeated.")],
    language: Annotated[str, typer.Option(help="BCP-47 tag of the language.")] = "und",
    condition: Annotated[
        list[str] | None, typer.Option(help="HOW-START: random, coverage or uncertainty; last or base. Repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the first minutes, of random choices, and of training.")] = 1,
    steps: Annotated[int, typer.Option(help="Optimiser steps of each round.")] = 200,
) -> None:
    """Simulate the rounds of each condition: how minutes are chosen, and the model that a round starts from."""
    simulation = _Simulation(corpus, language, out, seed, steps)
    for name in condition or ["random-last", "uncertainty-last", "coverage-last"]:
        chooses, starts_from = name.split("-")
        simulation.run(chooses, starts_from)


@app.command()
def table(folders: Annotated[list[Path], typer.Argument(help="Output folders of `run`.")]) -> None:
    """Print the rounds of each condition, and the minutes that each needs for the CER that random ends with."""
    for folder in folders:
        lines = {path.parent.name: _rounds(path) for path in sorted(folder.glob("*/rounds.jsonl"))}
        print(
            f"\n{folder.name}\n\n| condition | minutes | CER | WER | edits | typed | edits / typed |\n|"
            + " --- |" * 7
        )
        for name, rounds in lines.items():
            for r in rounds:
                effort = (r["edits"], r["typed"], round(r["edits"] / r["typed"], 3)) if "edits" in r else ("", "", "")
                print("|", " | ".join(map(str, (name, r["minutes"], r["cer"], r["wer"], *effort))), "|")
        print(
            "\n| condition | minutes that it needs, of random's, for random's CER after each round | mean |\n|"
            + " --- |" * 3
        )
        for name, rounds in lines.items():
            how, start, seed = name.split("-")
            random = lines.get(f"random-{start}-{seed}", [])
            if how != "random" and len(random) == len(rounds):
                needed = [(_minutes_for(r["cer"], rounds), r["minutes"]) for r in random[1:]]
                shares = [minutes / of if minutes is not None else None for minutes, of in needed]
                reached = [share for share in shares if share is not None]
                shown = ", ".join("not reached" if share is None else f"{share:.2f}" for share in shares)
                print(f"| {name} | {shown} | {np.mean(reached) if reached else float('nan'):.2f} |")


def _rounds(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _minutes_for(cer: float, rounds: Sequence[dict[str, Any]]) -> float | None:
    """Return the minutes at which a line first reaches a CER, interpolated between rounds; None where it does not."""
    for before, after in pairwise(rounds):
        if after["cer"] <= cer <= before["cer"]:
            share = (before["cer"] - cer) / (before["cer"] - after["cer"]) if before["cer"] > after["cer"] else 1.0
            return float(before["minutes"] + share * (after["minutes"] - before["minutes"]))
    return None


class _Simulation:
    """A corpus whose transcripts are uncovered round by round."""

    def __init__(self, corpus: Path, language: str, out: Path, seed: int, steps: int) -> None:
        self.out, self.seed = out, seed
        recipe = Recipe(
            language=language,
            corpus=Corpus(root=corpus.resolve()),
            model=Model(base="embedded-small", freeze=f"below:{DEPTH}"),
            train=Train(steps=steps, batch_s=20, seed=seed, head_steps=0),
            augment=Augment(speed=0),
        )
        config = configuration(recipe.model)
        data = out / "data"
        if not (data / "doctor.json").exists():
            prepare(recipe, corpora.read(corpus, language), frame_grid(config), data, Console())
        pool, test = prepared.load(data, "train"), prepared.load(data, "test")
        self.alphabet = Alphabet(PreparationSummary.read(data).alphabet)
        self.recipe, _ = presets.resolve(plan.settled(recipe), 0.5, config.hidden_size)
        self.pool, self.texts = self._hidden(pool, "pool"), pool.references
        self.test, self.references = self._hidden(test, "test"), test.references[:TEST_CLIPS]
        self.durations_s = np.array([u.duration_s or 0.0 for u in pool.utterances])
        self.labels = [self.alphabet.encode(text) for text in pool.references]

    def _hidden(self, speech: SpeechSplit, name: str) -> Features:
        base = self._new()
        base.net.eval()
        found = feature_cache.cached(
            base, DEPTH, speech.waveform, speech.lengths, "plain", self.out / "data" / name, Console()
        )
        assert found is not None, "the disk is full"
        return found

    def _new(self) -> CTCModel:
        recipe = self.recipe
        return head.create(recipe.model, self.alphabet, recipe.language, recipe.text, self.seed)

    def run(self, chooses: str, starts_from: str) -> None:
        """Do the rounds of a condition that are not done."""
        name = f"{chooses}-{starts_from}-{self.seed}"
        folder = self.out / name
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "rounds.jsonl"
        done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        for number in range(len(done), ROUNDS + 1):
            began = time.process_time()
            known = [i for record in done for i in record["chosen"]]
            record = self._first() if number == 0 else self._round(chooses, starts_from, number, known, folder)
            record |= {"round": number, "cpu_s": round(time.process_time() - began, 1)}
            with log.open("a") as file:
                file.write(json.dumps(record) + "\n")
            done.append(record)
            print(name, {key: value for key, value in record.items() if key != "chosen"}, flush=True)

    def _first(self) -> dict[str, Any]:
        """Return the round of the first minutes, which all conditions of a seed share."""
        path = self.out / f"first-{self.seed}.json"
        if not path.exists():
            chosen = self._random(range(len(self.pool)), np.random.default_rng(self.seed))
            model = self._trained(self._new(), chosen, self.out / f"first-{self.seed}.pt")
            path.write_text(json.dumps({"chosen": chosen, **self._score(model, chosen)}))
        return dict(json.loads(path.read_text()))

    def _round(self, chooses: str, starts_from: str, number: int, known: list[int], folder: Path) -> dict[str, Any]:
        last = self._new()
        weights = folder / "last.pt"
        last.net.load_state_dict(torch.load(weights if number > 1 else self.out / f"first-{self.seed}.pt"))
        there = {*known}
        rest = [i for i in range(len(self.pool)) if i not in there]
        if chooses == "random":
            chosen = self._random(rest, np.random.default_rng([self.seed, number]))
            drafts = self._drafts(last, [self.pool[i] for i in chosen])
            texts = dict(zip(chosen, drafts.texts, strict=True))
        else:
            drafts = self._drafts(last, [self.pool[i] for i in rest])
            texts = dict(zip(rest, drafts.texts, strict=True))
            chosen = [rest[i] for i in self._chosen(chooses, rest, drafts, known)]
        effort = error_rates.pool([error_rates.character_errors(self.texts[i], texts[i]) for i in chosen])
        model = self._trained(last if starts_from == "last" else self._new(), [*known, *chosen], weights)
        return {
            "chosen": chosen,
            "clips": len(chosen),
            "edits": effort.total,
            "typed": effort.reference_length,
            **self._score(model, [*known, *chosen]),
        }

    def _chosen(self, chooses: str, rest: list[int], drafts: Drafts, known: list[int]) -> list[int]:
        durations_s = [float(self.durations_s[i]) for i in rest]
        if chooses == "coverage":
            candidates = [Candidate(d, text, 0.0) for d, text in zip(durations_s, drafts.texts, strict=True)]
            return [one.index for one in selection.choose(candidates, ROUND_S, [self.texts[i] for i in known])]
        assert chooses == "uncertainty", chooses
        chosen, left_s = [], ROUND_S
        for i in sorted(range(len(rest)), key=lambda i: -drafts.entropies[i]):
            if durations_s[i] <= left_s:
                chosen.append(i)
                left_s -= durations_s[i]
        return chosen

    def _random(self, indices: Sequence[int], rng: np.random.Generator) -> list[int]:
        """Return clips in random order, as many as fit into a round."""
        chosen: list[int] = []
        left_s = ROUND_S
        for i in rng.permutation(indices):
            if self.durations_s[i] <= left_s:
                chosen.append(int(i))
                left_s -= self.durations_s[i]
        return chosen

    def _trained(self, model: CTCModel, indices: list[int], weights: Path) -> CTCModel:
        net, conf = model.net, self.recipe.train
        freezing.freeze(net, self.recipe.model.freeze)
        freezing.train_mode(net, DEPTH)
        trained = [p for p in net.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, betas=(0.9, 0.98), eps=1e-6, weight_decay=conf.weight_decay)
        rng = np.random.default_rng(conf.seed)
        durations_s = [float(self.durations_s[i]) for i in indices]
        for step, (batch,) in enumerate(schedule.plan(durations_s, conf, start=0, stop=conf.steps)):
            for group in optimiser.param_groups:
                group["lr"] = conf.learning_rate * schedule.rate_scale(step, conf)
            clips = [torch.from_numpy(np.array(self.pool[indices[i]], np.float32)) for i in batch]
            labels = [self.labels[indices[i]] for i in batch]
            lengths = [len(clip) for clip in clips]
            masks = None
            if step >= conf.warmup * conf.steps:
                over_time = augment.time_mask(lengths, conf.mask_time, round(conf.mask_span_s / model.frame_s), rng)
                over_features = augment.feature_mask(len(clips), net.config.hidden_size, conf.mask_features, rng)
                masks = torch.from_numpy(over_time), torch.from_numpy(over_features)
            logits = net.lm_head(forward.contextualise(net, clips, masks, depth=DEPTH))
            loss = ctc_loss(logits, lengths, labels).sum() / sum(map(len, labels))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, conf.max_grad_norm)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        torch.save(net.state_dict(), weights)
        return model

    def _drafts(self, model: CTCModel, clips: Sequence[np.ndarray]) -> Drafts:
        net = model.net.eval()
        found: dict[int, tuple[str, float]] = {}
        order = sorted(range(len(clips)), key=lambda i: len(clips[i]))
        with torch.inference_mode():
            for begin in range(0, len(order), BATCH):
                batch = order[begin : begin + BATCH]
                hidden = [torch.from_numpy(np.array(clips[i], np.float32)) for i in batch]
                logits = net.lm_head(forward.contextualise(net, hidden, depth=DEPTH))
                scores = torch.log_softmax(logits, dim=-1).numpy()
                for i, row in zip(batch, scores, strict=True):
                    runs = ctc.greedy(row[: len(clips[i])])
                    text = model.normaliser(model.alphabet.decode(run.label for run in runs))
                    frames = row[: len(clips[i])]
                    found[i] = text, float(-(np.exp(frames) * frames).sum(axis=1).mean())
        return Drafts([found[i][0] for i in range(len(clips))], [found[i][1] for i in range(len(clips))])

    def _score(self, model: CTCModel, known: list[int]) -> dict[str, float]:
        drafts = self._drafts(model, [self.test[i] for i in range(len(self.references))])
        wer, cer = error_rates.rates(list(zip(self.references, drafts.texts, strict=True)))
        minutes = float(self.durations_s[known].sum()) / 60
        return {"minutes": round(minutes, 2), "wer": round(wer, 4), "cer": round(cer, 4)}


if __name__ == "__main__":
    app()
