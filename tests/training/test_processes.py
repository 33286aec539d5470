"""Several processes (gloo, as torchrun starts them) train what one trains."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TESTS

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import tone_recipe
from asr_adapt.console import Console
from asr_adapt.workflows.run import run
recipe = tone_recipe(Path({root!r}), steps=12, eval_steps=6, learning_rate=1e-3, accumulate={accumulate})
metrics = run(recipe, Path(sys.argv[1]), Console())
print("CER", metrics.cer)
"""


def curve(out: Path, script: Path, processes: int) -> list[float]:
    """Run a script in so many processes, and return the loss at its log lines."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = (launcher if processes > 1 else [sys.executable]) + [str(script), str(out)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("CER") == processes, "each process comes to the end"
    assert done.stderr.count("\nevaluate\n") == 1, "one of them speaks"
    log = [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "dev_cer" in line] == [6, 12]
    return [line["loss"] for line in log if "loss" in line]


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one_with_accumulated_batches_too(tones: Path, tmp_path: Path) -> None:
    tests = str(TESTS)
    single, several = tmp_path / "single.py", tmp_path / "several.py"
    single.write_text(SCRIPT.format(tests=tests, root=str(tones), accumulate=1))
    several.write_text(SCRIPT.format(tests=tests, root=str(tones), accumulate=2))
    one, two = curve(tmp_path / "one", single, 1), curve(tmp_path / "two", single, 2)
    assert two == pytest.approx(one, rel=1e-4)
    one, two = curve(tmp_path / "one-of-two", several, 1), curve(tmp_path / "two-of-two", several, 2)
    assert two == pytest.approx(one, rel=1e-4)
