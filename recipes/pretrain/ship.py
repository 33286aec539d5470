"""Export the embedded base model from the run of the last round: half precision, with its model card.

    python recipes/pretrain/ship.py runs/fifth_round --out data/base

The card is `card.md`, filled in from the run folder and from the scores of the exported weights; figures of earlier
rounds are fixed text.
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
from asr_adapt.artifacts import DIGESTS
from asr_adapt.recipe import read_recipe
from asr_adapt.storage import write_text

CARD = Path(__file__).with_name("card.md")


def main(
    run: Annotated[Path, typer.Argument(help="Run folder of the last round.")],
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint; it is replaced.")],
) -> None:
    """Write the checkpoint and its card."""
    with cli.one_line_errors():
        ship(run, out)


def ship(run: Path, out: Path) -> None:
    """Write `out`: the model that transformers and `model.base` load, in half precision, and README.md."""
    shutil.rmtree(out, ignore_errors=True)
    # Its weights and configuration change; what it was trained on is in its card.
    shutil.copytree(run / "model", out, ignore=shutil.ignore_patterns(DIGESTS, "trained_on.safetensors"))
    weights = load_file(run / "model" / "model.safetensors")
    halves = {name: tensor.to(torch.float16) for name, tensor in weights.items()}
    save_file(halves, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    config = _read(out / "config.json") | {"dtype": "float16"}
    write_text(out / "config.json", json.dumps(config, indent=2) + "\n")
    write_text(out / "README.md", card(run, out, sum(tensor.numel() for tensor in halves.values()), config))


def card(run: Path, out: Path, parameters: int, config: dict[str, Any]) -> str:
    """Return the model card."""
    recipe, log = read_recipe(run / "recipe.toml"), _log(run)
    data, environment = _read(run / "data" / "doctor.json"), _read(run / "environment.json")
    # Synthetic speech, recordings, the pool; a short run, as in the tests, may have one corpus for all.
    synthetic, *others = (source.root for source in (recipe.corpus, *recipe.corpora) if source.root is not None)
    recorded, pool = (others[0], others[-1]) if others else (synthetic, synthetic)
    return CARD.read_text(encoding="utf-8").format(
        parameters=parameters / 1e6,
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        frame_ms=math.prod(config["conv_stride"]) / 16,
        megabytes=(out / "model.safetensors").stat().st_size / 1e6,
        units=config["vocab_size"] - 1,
        hours=data["hours"]["train"],
        steps=recipe.train.steps,
        batch_s=recipe.train.batch_s,
        seed=recipe.train.seed,
        precision=recipe.train.precision,
        minutes=math.fsum(line.get("elapsed_s", 0) for line in log) / 60,
        cores=environment["cores"],
        machine=environment["machine"],
        dev=_rates(out, synthetic, "dev"),
        test=_rates(out, synthetic, "test"),
        people=_rates(out, recorded, "dev"),
        pool=_rates(out, pool, "dev"),
    )


def _log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "train_log.jsonl").read_text(encoding="utf-8").splitlines()]


def _rates(model: Path, corpus: Path, split: str) -> Any:
    """Score the exported weights, not those of the run."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = ["--model", str(model), "--corpus", str(corpus), "--out", scratch]
        cli.app(["evaluate", *folders, "--split", split, "--no-audio"], standalone_mode=False)
        return _read(Path(scratch) / "metrics.json")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    typer.run(main)
