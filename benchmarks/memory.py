"""Memory and start of training by the hours of prepared data.

    python benchmarks/memory.py --hours 1 --hours 100 --hours 1000

One prepared file of an hour (900 clips of 4 s of noise) is referred to as often as is needed, so that 1,000 h take
the disk of one. For each amount, in a process of its own: processor time from the opening of the prepared data to the
end of the first training step of a small model, which itself takes little; by how much the peak memory grew; and
the peak, of which most is libraries. The batches are those of a run: 20 s each, by length.
"""

import multiprocessing
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import numpy as np
import typer

from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.model import head
from asr_adapt.model.base import configuration
from asr_adapt.recipe import Augment, Model, Recipe, Text, Train
from asr_adapt.records import Utterance
from asr_adapt.stages import train
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.training import presets
from asr_adapt.training.state import Tally

CLIPS, CLIP_S = 900, 4.0
TEXT = "kia ora e te whānau"


def main(
    hours: Annotated[list[int], typer.Option(help="Hours of speech to train on; several times.")] = [1, 100, 1000],  # noqa: B006
) -> None:
    """Print a line for each amount of speech."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _write(folder)
        print(f"{'hours':>6} {'clips':>8} {'first step after':>17} {'growth':>8} {'peak':>8}")
        for amount in hours:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found = pool.apply(_first_step, (folder, amount))
            print(f"{amount:6,} {amount * CLIPS:8,} {found['seconds']:15.2f} s {found['growth_mb']:5.0f} MB "
                  f"{found['peak_mb']:5.0f} MB", flush=True)  # fmt: skip


def _write(folder: Path) -> None:
    rng = np.random.default_rng(0)
    samples = round(CLIP_S * SAMPLE_RATE_HZ)

    def rows(count: int) -> Iterator[tuple[Utterance, str, np.ndarray]]:
        for i in range(count):
            name = f"clip{i:04d}"
            utterance = Utterance(id=name, audio=f"clips/{name}.flac", duration_s=CLIP_S, text=TEXT, split="train")
            yield utterance, TEXT, rng.uniform(-0.1, 0.1, samples).astype(np.float32)

    prepared.write(folder, "train", rows(CLIPS))
    prepared.write(folder, "dev", rows(2))


class _Reached(Exception):
    pass


def _first_step(folder: Path, hours: int) -> dict[str, float]:
    """Train for one step on the hour of `folder`, as if it were so many, and return what it took."""
    import datasets

    # The libraries that training imports are no part of what grows.
    alphabet = Alphabet.from_texts([TEXT])
    spec = Model(base="none", hidden_size=64, layers=1, freeze="nothing")
    recipe = Recipe(
        language="mi",
        model=spec,
        train=Train(steps=1_000, batch_s=20.0, precision="fp32"),
        augment=Augment(speed=0),
    )
    resolved, _ = presets.resolve(recipe, hours, configuration(spec).hidden_size)
    model = head.create(spec, alphabet, "mi", Text(), seed=0)
    one = datasets.Dataset.from_file

    def many(path: str) -> Any:
        return datasets.concatenate_datasets([one(path)] * (hours if Path(path).stem == "train" else 1))

    def stop(*_: Any) -> None:
        raise _Reached

    with (
        tempfile.TemporaryDirectory() as out,
        mock.patch.object(datasets.Dataset, "from_file", many),
        mock.patch.object(Tally, "close_step", stop),
    ):
        began, before = time.process_time(), _peak_mb()
        data, dev = prepared.load(folder, "train"), prepared.load(folder, "dev")
        try:
            train.train(resolved, model, data, dev, Path(out), Console(quiet=True))
        except _Reached:
            seconds = time.process_time() - began
    return {"seconds": seconds, "growth_mb": _peak_mb() - before, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    # ru_maxrss of a new process begins with that of the one that started it.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1000  # type: ignore[index]


if __name__ == "__main__":
    typer.run(main)
