"""Training from the corpus's own files against training from a decoded copy, interleaved in one process.

    python benchmarks/copy_audio.py --corpus CORPUS --language mi

Prepares the corpus both ways and trains `embedded-small` on each in turns, without augmentation, in fp32 (a
small model, for which decoding weighs most). Prints the disk that the prepared data take, the processor time of a
step over all threads, decoding included, and its ratio, which is what to compare: absolute figures drift on shared
machines. The weights of both must be the same bit for bit.
"""

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated
from unittest import mock

import torch
import typer

from asr_adapt import corpora
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.model import head
from asr_adapt.model.base import configuration, frame_grid
from asr_adapt.recipe import Augment, Corpus, Model, Recipe, Text, Train
from asr_adapt.stages import train
from asr_adapt.stages.prepare import prepare
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.training import presets
from asr_adapt.training.state import Tally


def main(
    corpus: Annotated[Path, typer.Option(help="Corpus folder or manifest.")],
    language: Annotated[str, typer.Option(help="BCP-47 tag of the language.")] = "und",
    minutes: Annotated[float, typer.Option(help="Minutes of the train split to use.")] = 10,
    steps: Annotated[int, typer.Option(help="Steps of 20 s in a turn.")] = 20,
    rounds: Annotated[int, typer.Option(help="Rounds; each has a turn of both.")] = 3,
) -> None:
    """Train in turns and print the ratio."""
    spec = Model(base="embedded-small", freeze="nothing")
    fields = {"root": corpus, "max_train_hours": minutes / 60}
    utterances = corpora.read(corpus, language)
    with tempfile.TemporaryDirectory() as scratch:
        found: dict[str, list[float]] = {}
        weights = {}
        for copy in (True, False):
            recipe = Recipe(language=language, corpus=Corpus(copy_audio=copy, **fields), model=spec)
            folder = Path(scratch) / _name(copy)
            prepare(recipe, utterances, frame_grid(configuration(spec)), folder, Console(quiet=True))
            size = sum(path.stat().st_size for path in folder.glob("*.arrow"))
            audio_s = sum(prepared.load(folder, split).durations_s.sum() for split in ("train", "dev", "test"))
            print(f"{_name(copy)}: {size / 1e6:.1f} MB for {audio_s / 3600:.2f} h, "
                  f"{size / 1e6 / audio_s * 3600:.1f} MB an hour", flush=True)  # fmt: skip
        for number in range(rounds):
            for copy in (True, False):
                seconds, weights[copy] = _turn(Path(scratch) / _name(copy), spec, language, steps, number)
                found.setdefault(_name(copy), []).append(seconds)
            same = all(torch.equal(value, weights[False][name]) for name, value in weights[True].items())
            ratio = found[_name(False)][-1] / found[_name(True)][-1]
            print(f"round {number + 1}: {found[_name(True)][-1]:.3f} s a step with the copy, "
                  f"{found[_name(False)][-1]:.3f} s without, ratio {ratio:.3f}; "
                  f"{'the same' if same else 'OTHER'} weights", flush=True)  # fmt: skip
        ratios = [without / copied for copied, without in zip(*found.values(), strict=True)]
        print(f"median ratio {statistics.median(ratios):.3f}")


def _name(copy: bool) -> str:
    return "copied" if copy else "not copied"


def _turn(data: Path, spec: Model, language: str, steps: int, number: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the processor time of a step, and the weights in the end."""
    recipe = Recipe(
        language=language,
        model=spec,
        train=Train(steps=steps, batch_s=20, precision="fp32", seed=number + 1, head_steps=0, eval_steps=steps),
        augment=Augment(speed=0),
    )
    resolved, _ = presets.resolve(recipe, 1, configuration(spec).hidden_size)
    split, dev = prepared.load(data, "train"), prepared.load(data, "dev").select([0, 1])
    model = head.create(spec, Alphabet.from_texts(split.references), language, Text(), seed=0)
    out = data / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    ends: list[float] = []
    close = Tally.close_step

    def noted(tally: Tally, labels: int, audio_s: float, norm: float) -> None:
        close(tally, labels, audio_s, norm)
        ends.append(time.process_time())

    with mock.patch.object(Tally, "close_step", noted):
        began = time.process_time()
        train.train(resolved, model, split, dev, out, Console(quiet=True))
    return (ends[-1] - began) / steps, model.net.state_dict()


if __name__ == "__main__":
    typer.run(main)
