"""Word confidence on test before and after calibration on dev, from run folders.

    python benchmarks/confidence.py runs/mboshi runs/kichwa

For each way to decode (greedily, and by beam search where the model has an n-gram): the mean probability of the
letters, which is the confidence of a model without a calibration, against the calibrated one. ECE is the expected
calibration error (ten bins); AUC the probability that a right word has a higher confidence than a wrong one.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.decoding import ctc
from asr_adapt.inference.calibration import DevOutputs, calibrate, outcomes
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.scoring import confidence
from asr_adapt.scoring.confidence import Outcome


def auc(found: Sequence[Outcome]) -> float:
    """Return the probability that a right word has a higher confidence than a wrong one; ties count half."""
    right, wrong = (np.array([o.confidence for o in found if o.right is side]) for side in (True, False))
    above = (right[:, None] > wrong).mean() + (right[:, None] == wrong).mean() / 2
    return float(above)


def error(found: Sequence[Outcome]) -> float:
    """Return the expected calibration error."""
    quality = confidence.reliability(found, calibrated=True)
    assert quality is not None
    return quality.expected_calibration_error


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    arguments = parser.parse_args()
    print(f"{'run':14} {'decoding':8} {'dev words':>9} {'test words':>10} {'right':>6} {'ECE before':>10} "
          f"{'after':>6} {'AUC before':>10} {'after':>6}")  # fmt: skip
    for run in arguments.runs:
        transcriber = Transcriber.from_folder(run / "model")
        model = transcriber.model
        dev, test = (
            DevOutputs.of(model, prepared.load(run / "data", split), Console(quiet=True)) for split in ("dev", "test")
        )
        ways = {"greedy": ctc.greedy} | ({"n-gram": transcriber.search.runs} if transcriber.search else {})
        for name, decode in ways.items():
            calibration = calibrate(dev, model.alphabet, decode, Console(quiet=True))
            if calibration is None:
                print(f"{run.name:14} {name:8} too few words of dev")
                continue
            before = outcomes(test, model.alphabet, decode, "mean")
            evidence = outcomes(test, model.alphabet, decode, calibration.evidence)
            after = [Outcome(calibration.of(one.confidence), one.right) for one in evidence]
            right = np.mean([one.right for one in after])
            rates = f"{error(before):>10.3f} {error(after):>6.3f} {auc(before):>10.3f} {auc(after):>6.3f}"
            counts = f"{calibration.words:>9} {len(after):>10} {right:>6.3f}"
            print(f"{run.name:14} {name:8} {counts} {rates}", flush=True)


if __name__ == "__main__":
    main()
