"""Export an embedded base model from the run of its last round: half precision, with its model card.

    python recipes/pretrain/ship.py runs/fifth_round --out data/base
    python recipes/pretrain/ship.py runs/fourth_round --out data/base_small

The card is `card.md` or `card_small.md`, filled in from the run folder and from the scores of the exported weights;
figures of earlier rounds are fixed text.
"""

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from fifth_round import FACTS
from safetensors.torch import load_file, save_file

from asr_adapt import cli
from asr_adapt.artifacts import DIGESTS
from asr_adapt.recipe import read_recipe
from asr_adapt.records import read_jsonl
from asr_adapt.storage import write_text

TAUGHT, TRAINED = (Path(__file__).with_name(name) for name in ("card.md", "card_small.md"))


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
    environment, log = _read(run / "environment.json"), _log(run)
    is_taught = (run / FACTS).is_file()
    of_run = _taught(run, out) if is_taught else _trained(run, out, log)
    return (
        (TAUGHT if is_taught else TRAINED)
        .read_text(encoding="utf-8")
        .format(
            parameters=parameters / 1e6,
            layers=config["num_hidden_layers"],
            width=config["hidden_size"],
            frame_ms=math.prod(config["conv_stride"]) / 16,
            megabytes=(out / "model.safetensors").stat().st_size / 1e6,
            units=config["vocab_size"] - 1,
            minutes=math.fsum(line.get("elapsed_s", 0) for line in log) / 60,
            cores=environment["cores"],
            machine=environment["machine"],
            **of_run,
        )
    )


def _taught(run: Path, out: Path) -> dict[str, Any]:
    """Return what the card of the fifth round says of its run: synthetic speech is first, the pool last."""
    facts = _read(run / FACTS)
    synthetic, *others = facts["manifests"]
    recorded, pool = (others[:-1], others[-1]) if len(others) > 1 else ([synthetic], synthetic)
    return facts | {
        "synthetic_hours": facts["hours"][0],
        "recorded_hours": sum(facts["hours"][1:-1]),
        "pool_hours": facts["hours"][-1],
        "dev": _rates(out, synthetic, "dev"),
        "test": _rates(out, synthetic, "test"),
        "people": _rates(out, next(each for each in recorded if _has_dev(each)), "dev"),
        "pool": _rates(out, pool, "dev"),
    }


def _trained(run: Path, out: Path, log: list[dict[str, float]]) -> dict[str, Any]:
    """Return what the card of the first four rounds says of the last one."""
    recipe, data = read_recipe(run / "recipe.toml"), _read(run / "data" / "doctor.json")
    validations = [record for record in log if "dev_wer" in record]
    best = min(validations, key=lambda record: record["dev_wer"] + record["dev_cer"])
    # Synthetic and recorded speech; a short run, as in the tests, may have one corpus for both.
    synthetic, *others = (source.root for source in (recipe.corpus, *recipe.corpora) if source.root is not None)
    return {
        "hours": data["hours"]["train"],
        "steps": recipe.train.steps,
        "batch_s": recipe.train.batch_s,
        "seed": recipe.train.seed,
        "precision": recipe.train.precision,
        "best_step": best["step"],
        "dev": _rates(out, synthetic, "dev"),
        "test": _rates(out, synthetic, "test"),
        "people": _rates(out, others[0] if others else synthetic, "dev"),
    }


def _has_dev(manifest: str) -> bool:
    return any(utterance.split == "dev" for _, utterance in read_jsonl(Path(manifest)))


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
