"""deploy/: what the scripts for several machines start, and that Kubernetes's Job says it, too."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

DEPLOY = ROOT / "deploy"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs that print what they are given; `srun` starts a command as the second of two nodes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in {
        "torchrun": 'echo torchrun "$@"; echo threads $OMP_NUM_THREADS',
        "scontrol": "case $1 in show) printf 'n7\\nn8\\n';; *) echo scontrol \"$@\";; esac",
        "srun": 'while [ "$1" != sh ]; do shift; done; for SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@"; done',
        "nproc": "echo 16",
        "nvidia-smi": "echo 'GPU 0: one'; echo 'GPU 1: two'",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(stat.S_IRWXU)
    return folder


def ran(programs: Path, *command: str, **env: str) -> list[str]:
    path = f"{programs}:{os.environ['PATH']}"
    clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=clean | {"PATH": path} | env)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_train_sh_starts_a_process_for_each_gpu_and_shares_the_cores_among_them(programs: Path) -> None:
    said = ran(programs, "sh", "deploy/train.sh", "n7", "2", "a recipe.py", "--out", "/shared/a run")
    assert said == [
        "torchrun --nnodes 2 --nproc-per-node 2 --max-restarts 3 --rdzv-backend c10d --rdzv-endpoint n7:29400 "
        "--rdzv-id asr-adapt a recipe.py --out /shared/a run",
        "threads 8",
    ]
    said = ran(programs, "sh", "deploy/train.sh", "n7:1", "2", "r.py", PROCESSES="1", MACHINE="1", ADDRESS="10.0.0.2")
    assert "--rdzv-endpoint n7:1 --rdzv-id asr-adapt --rdzv-conf is_host=0 --local-addr 10.0.0.2 r.py" in said[0]


def test_the_slurm_script_lets_the_nodes_meet_at_the_first(programs: Path) -> None:
    slurm = {"SLURM_JOB_NODELIST": "n[7-8]", "SLURM_JOB_ID": "12345", "SLURM_JOB_NUM_NODES": "2"}
    said = ran(programs, "bash", "deploy/train.slurm", "r.py", "--out", "/shared/run", **slurm)
    starts = [line for line in said if line.startswith("torchrun")]
    assert [f"--rdzv-conf is_host={int(number == 0)} r.py --out /shared/run" in line
            for number, line in enumerate(starts)] == [True, True]  # fmt: skip
    assert all("--nnodes 2 " in line and "--rdzv-endpoint n7:32345 --rdzv-id 12345" in line for line in starts)


def test_when_the_time_is_up_the_slurm_script_lets_the_step_save_and_queues_the_job_again(programs: Path) -> None:
    (programs / "srun").write_text("#!/bin/sh\ntrap 'echo saved; exit 143' TERM\nkill -USR1 $PPID\nsleep 5 &\nwait\n")
    path = f"{programs}:{os.environ['PATH']}"
    slurm = {"SLURM_JOB_NODELIST": "n[7-8]", "SLURM_JOB_ID": "12345", "SLURM_JOB_NUM_NODES": "2"}
    done = subprocess.run(["bash", "deploy/train.slurm", "r.py"], capture_output=True, text=True, cwd=ROOT,
                          env=os.environ | slurm | {"PATH": path})  # fmt: skip
    assert done.stdout.splitlines() == ["saved", "scontrol requeue 12345"]


def test_the_kubernetes_job_starts_train_sh_under_the_names_of_its_pods(programs: Path) -> None:
    service, job = yaml.safe_load_all((DEPLOY / "train-job.yaml").read_text())
    name, pod = job["metadata"]["name"], job["spec"]["template"]["spec"]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"] and job["spec"]["completionMode"] == "Indexed"
    (container,) = pod["containers"]
    first, machines = container["args"][:2]
    assert first == f"{name}-0.{pod['subdomain']}:{service['spec']['ports'][0]['port']}"
    assert int(machines) == job["spec"]["completions"] == job["spec"]["parallelism"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert "COPY deploy/train.sh /opt/asr-adapt/train.sh" in (DEPLOY / "Dockerfile").read_text()
    command = ["sh" if part == "sh" else "deploy/train.sh" for part in container["command"]]
    pods = [ran(programs, *command, *container["args"], JOB_COMPLETION_INDEX=str(number), ADDRESS=f"10.0.0.{number}")
            for number in range(2)]  # fmt: skip
    for number, (start, _) in enumerate(pods):
        assert f"--rdzv-endpoint {first}" in start and f"is_host={int(number == 0)}" in start
        assert start.endswith(f"--local-addr 10.0.0.{number} " + " ".join(container["args"][2:]))
