"""Plot the training curves of one or more runs: loss, and validation WER and CER, by step.

python benchmarks/curve.py runs/mboshi --out docs/mboshi-from-nothing.png
"""

import json
from pathlib import Path
from typing import Annotated

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import typer


def main(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path, typer.Option(help="Output PNG.")] = Path("curve.png"),
) -> None:
    """Plot the training curves of the runs."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for run in runs:
        records = [json.loads(line) for line in (run / "train_log.jsonl").read_text().splitlines()]
        losses = [(r["step"], r["loss"]) for r in records if "loss" in r]
        validations = [(r["step"], r["dev_wer"], r["dev_cer"]) for r in records if "dev_wer" in r]
        left.plot(*zip(*losses, strict=True), linewidth=0.8, label=run.name)
        steps, wers, cers = zip(*validations, strict=True)
        right.plot(steps, wers, marker=".", label=f"WER {run.name}")
        right.plot(steps, cers, marker=".", linestyle="--", label=f"CER {run.name}")
    left.set(xlabel="step", ylabel="CTC loss, nats per label", title="training")
    right.set(xlabel="step", ylim=(0, 1.05), title="dev")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    typer.run(main)
