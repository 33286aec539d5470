"""Make the embedded base model of the runs of `base.py` and `second_round.py`: half precision, with its model card.

    python recipes/pretrain/ship.py runs/base runs/second_round --out data/base

The card is `card.md`, filled in from the run folders and from what the shipped weights score.
"""

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import load_file, save_file

from asr_adapt import cli
from asr_adapt.files import write_whole
from asr_adapt.recipe import read_recipe

CARD = Path(__file__).with_name("card.md")


def main(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, one for each round; the last has the weights.")],
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint; replaced.")],
) -> None:
    """Write the checkpoint and its card."""
    with cli.one_line_errors():
        ship(runs, out)


def ship(runs: list[Path], out: Path) -> None:
    """Write `out`: the model that transformers and `model.base` load, in half precision, and README.md."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(runs[-1] / "model", out)
    weights = load_file(runs[-1] / "model" / "model.safetensors")
    halves = {name: tensor.to(torch.float16) for name, tensor in weights.items()}
    save_file(halves, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    config = _read(out / "config.json") | {"dtype": "float16"}
    write_whole(out / "config.json", json.dumps(config, indent=2) + "\n")
    write_whole(out / "README.md", card(runs, out, sum(tensor.numel() for tensor in halves.values()), config))


def card(runs: list[Path], out: Path, parameters: int, config: dict[str, Any]) -> str:
    """Return the model card."""
    recipes, logs = [read_recipe(run / "recipe.toml") for run in runs], [_log(run) for run in runs]
    recipe, run = recipes[-1], runs[-1]
    data, environment = _read(run / "data" / "doctor.json"), _read(run / "environment.json")
    best = min((look for look in logs[-1] if "dev_wer" in look), key=lambda look: look["dev_wer"] + look["dev_cer"])
    assert recipe.corpus.root is not None, "a run folder names its corpus"
    return CARD.read_text(encoding="utf-8").format(
        parameters=parameters / 1e6,
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        frame_ms=math.prod(config["conv_stride"]) / 16,
        megabytes=(out / "model.safetensors").stat().st_size / 1e6,
        hours=data["hours"]["train"],
        clips=data["utterances"]["train"],
        speakers=data["speakers"]["train"],
        units=config["vocab_size"] - 1,
        steps=" and then ".join(f"{one.train.steps:,}" for one in recipes),
        batch_s=recipe.train.batch_s,
        seed=recipe.train.seed,
        precision=recipe.train.precision,
        minutes=math.fsum(line.get("elapsed_s", 0) for log in logs for line in log) / 60,
        cores=environment["cores"],
        machine=environment["machine"],
        best_step=best["step"],
        dev=_rates(out, recipe.corpus.root, "dev"),
        test=_rates(out, recipe.corpus.root, "test"),
    )


def _log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "train_log.jsonl").read_text(encoding="utf-8").splitlines()]


def _rates(model: Path, corpus: Path, split: str) -> dict[str, Any]:
    """Score what is shipped, not what was trained."""
    with tempfile.TemporaryDirectory() as scratch:
        cli.evaluate(model=model, corpus=corpus, split=split, out=Path(scratch))
        return _read(Path(scratch) / "metrics.json")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    typer.run(main)
