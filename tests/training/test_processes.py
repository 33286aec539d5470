"""Several processes (gloo, two torchrun agents as on two machines) train and score what one does, and outlive one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import TESTS
from safetensors.torch import load_file

from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.stages import evaluate
from asr_adapt.training import schedule

# A run as a recipe script is one, that notes its processes and which clips each was given.
SCRIPT = """
import json, os, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import tone_recipe
from asr_adapt.console import Console
from asr_adapt.process_exit import one_line_errors
from asr_adapt.training.data import Inputs
from asr_adapt.workflows.run import run

out, rank = Path(sys.argv[1]), os.environ.get("RANK", "0")
start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
Path(f"{{out}}.pid-{{rank}}-{{start}}").write_text(str(os.getpid()))
given, of = open(f"{{out}}.given-{{rank}}-{{start}}", "w"), Inputs.of

def noted(inputs, clips, step, batch, process):
    print(json.dumps([step, batch, list(clips)]), file=given)
    return of(inputs, clips, step, batch, process)

Inputs.of = noted
recipe = tone_recipe(Path({root!r}), **json.loads({settings!r}))
with one_line_errors():
    print("CER", run(recipe, out, Console()).cer)
"""
SETTINGS = {"steps": 12, "eval_steps": 6, "learning_rate": 1e-3}


@pytest.fixture
def script(tones: Path, tmp_path: Path) -> Path:
    return written(tones, tmp_path / "recipe.py", **SETTINGS)


def written(tones: Path, path: Path, **settings: object) -> Path:
    path.write_text(SCRIPT.format(tests=str(TESTS), root=str(tones), settings=json.dumps(settings)))
    return path


def agents(script: Path, outs: list[Path], restarts: int = 0) -> list[subprocess.Popen]:
    """Start a torchrun agent with one process for each folder, as on so many machines."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    # Without the variable processes that are started anew do not find each other, as deploy/train.sh says.
    env = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    started = []
    for number, out in enumerate(outs):
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(len(outs)), "--nproc-per-node", "1",
                   "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", "test",
                   "--rdzv-conf", f"is_host={int(not number)}", "--max-restarts", str(restarts)]  # fmt: skip
        started.append(subprocess.Popen([*command, str(script), str(out)], stdout=-1, stderr=-1, text=True, env=env))
    return started


def ended(started: list[subprocess.Popen]) -> list[str]:
    """Wait for agents whose run succeeds, and return what each wrote on standard error."""
    outputs = [agent.communicate(timeout=500) for agent in started]
    for agent, (said, warned) in zip(started, outputs, strict=True):
        assert agent.returncode == 0, warned
        assert "CER" in said, "each process comes to the end"
    return [warned for _, warned in outputs]


def log(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]


def noted(given: Path) -> list[tuple[int, int, list[int]]]:
    return [json.loads(line) for line in given.read_text().splitlines()]


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in log(out) if "loss" in line]


def alone(script: Path, out: Path) -> None:
    done = subprocess.run([sys.executable, str(script), str(out)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("clips", [1, 2, 3, 7, 24])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_each_clip_of_a_batch_is_given_to_one_process(clips: int, processes: int) -> None:
    batch = np.random.default_rng(0).permutation(100)[:clips].tolist()
    shares = [schedule.share(batch, process, processes) for process in range(processes)]
    assert sorted(i for share in shares for i, weight in share if weight) == sorted(batch)
    assert all(share for share in shares), "each takes part in the exchange of gradients"
    assert all(weight == (number < clips) for number, share in enumerate(shares) for _, weight in share[:1])


TOGETHER = """
import os, signal, sys
from pathlib import Path
import torch.distributed as dist
from asr_adapt import processes
from asr_adapt.errors import InputError

rank, root = int(sys.argv[1]), Path(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{root}/store", rank=rank, world_size=3)
processes.leave_at_exit()
mine = [number * number for number in processes.share(7)]
assert processes.together(mine, 7) == [0, 1, 4, 9, 16, 25, 36]
assert processes.together([rank] if rank == 0 else [], 1) == [0]
assert processes.from_leader(lambda: rank) == 0 and processes.leads() == (rank == 0)

def fails():
    raise InputError("is wrong", place="here")

for wrong in (fails, lambda: processes.refuse_separate_folders(root / ("a" if rank < 2 else "b"))):
    try:
        processes.from_leader(wrong) if wrong is fails else wrong()
    except InputError as error:
        print(error, flush=True)
processes.refuse_separate_folders(root)
dist.barrier()
if rank == 2:
    os.kill(os.getpid(), signal.SIGKILL)
try:
    with processes.lost_as_error(root):
        dist.barrier()
        dist.barrier()
except InputError as error:
    print(error, flush=True)
"""


def test_processes_share_work_and_what_the_first_decides_and_errors_are_one_line(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    started = [
        subprocess.Popen([sys.executable, "-c", TOGETHER, str(rank), str(tmp_path)], stdout=-1, stderr=-1, text=True)
        for rank in range(3)
    ]
    outputs = [process.communicate(timeout=200) for process in started]
    assert [process.returncode for process in started] == [0, 0, -signal.SIGKILL], outputs
    host = socket.gethostname()
    for number, (said, _) in enumerate(outputs):
        wrong, separate, *lost = said.splitlines()
        assert wrong == "here: is wrong."
        assert f"{host} cannot see what {host} writes here. Give --out on a file system" in separate
        assert len(lost) == (number < 2) and all("another process of this run has ended" in line for line in lost)
    assert not list(tmp_path.glob("*/.*")), "no mark is left behind"


@pytest.mark.slow
def test_two_machines_train_and_score_what_one_does(tones: Path, tmp_path: Path) -> None:
    script = written(tones, tmp_path / "recipe.py", **SETTINGS, accumulate=2)
    one, two, again = (tmp_path / name for name in ("one", "two", "again"))
    alone(script, one)
    said = ended(agents(script, [two, two]))
    assert sum(text.count("\nevaluate\n") for text in said) == 1, "one of them speaks"
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert [line["step"] for line in log(two) if "dev_cer" in line] == [6, 12]

    given = [
        Counter((step, batch, clip) for step, batch, clips in noted(Path(f"{two}.given-{rank}-0")) for clip in clips)
        for rank in range(2)
    ]
    whole = Counter((step, batch, clip) for step, batch, clips in noted(Path(f"{one}.given-0-0")) for clip in clips)
    assert given[0] + given[1] == whole and all(of_one < whole for of_one in given)

    transcriber = Transcriber.from_folder(two / "model", precision="fp32")
    evaluate.evaluate(transcriber, prepared.load(two / "data", "test"), again, Console(quiet=True))
    scored, alone_scored = (json.loads((out / "metrics.json").read_text()) for out in (two, again))
    assert {**scored, "transcribe_rtfx": 0} == {**alone_scored, "transcribe_rtfx": 0}
    assert (two / "hypotheses.jsonl").read_text() == (again / "hypotheses.jsonl").read_text()


@pytest.mark.slow
def test_after_a_kill_torchrun_starts_all_again_and_they_end_with_the_same_weights(
    tones: Path, tmp_path: Path
) -> None:
    settings = SETTINGS | {"steps": 60, "eval_steps": 30, "checkpoint_minutes": 1e-6, "mask_time": 0.2, "speed": 0.1}
    script = written(tones, tmp_path / "recipe.py", **settings)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    ended(agents(script, [whole, whole]))
    started = agents(script, [killed, killed], restarts=1)
    while not (killed / "checkpoints" / "step-00000008").exists():  # saved by the clock, long before a validation
        assert all(agent.poll() is None for agent in started)
        time.sleep(0.02)
    os.kill(int(Path(f"{killed}.pid-1-0").read_text()), signal.SIGKILL)
    said = "".join(ended(started))
    assert "resuming from the checkpoint after step" in said
    assert Path(f"{killed}.pid-0-1").exists(), "the process that was not killed is started again, too"
    expected, found = (load_file(out / "model/model.safetensors") for out in (whole, killed))
    assert expected.keys() == found.keys() and all(value.equal(found[name]) for name, value in expected.items())
    assert (whole / "hypotheses.jsonl").read_text() == (killed / "hypotheses.jsonl").read_text()


@pytest.mark.slow
def test_machines_with_a_folder_each_are_refused_in_one_line(script: Path, tmp_path: Path) -> None:
    started = agents(script, [tmp_path / "a", tmp_path / "b"])
    outputs = [agent.communicate(timeout=300)[1] for agent in started]
    assert all(agent.returncode == 1 for agent in started), "torchrun's code"
    host = socket.gethostname()
    for text in outputs:
        (line,) = (line for line in text.splitlines() if line.startswith("error: "))
        assert line.startswith(f"error: {tmp_path}/") and f"{host} cannot see what {host} writes here." in line
    assert not (tmp_path / "a" / "data").exists(), "nothing was prepared"
