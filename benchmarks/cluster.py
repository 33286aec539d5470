"""Batches of recordings: what a listing of a million costs, and what Ray gives beside plain processes.

    python benchmarks/cluster.py listing --files 1000000 --scratch /tmp/listing
    python benchmarks/cluster.py rate --model runs/demo/model --clips data/demo/clips --scratch /tmp/cluster
    python benchmarks/cluster.py kill --model runs/demo/model --clips data/demo/clips --scratch /tmp/cluster

`listing` makes so many empty files, and measures in a process of its own the time until the first is handed to a
worker, and the memory at its peak.

`rate` and `kill` link the clips under many names. `rate` compares, in turns on pieces of the batch, two plain
processes (half of a piece each) with Ray on two workers: time, and the texts. `kill` transcribes all of the batch on
Ray, kills one worker after a third and the driver after two thirds with SIGKILL, starts it again, and counts.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

FOLDERS = 1_000  # of the listing


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["listing", "rate", "kill", "first-task"])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--flat", action="store_true", help="of the listing: all in one folder")
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--piece", type=int, default=500, help="files of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--address", default="local", help="of a Ray cluster with two cores; default: one of its own")
    options = parser.parse_args()
    {"listing": listing, "rate": rate, "kill": kill, "first-task": first_task}[options.what](options)


def listing(options: argparse.Namespace) -> None:
    """Measure the listing of many files."""
    clips = options.scratch / "clips"
    for number in range(options.files):
        folder = clips if options.flat else clips / f"{number % FOLDERS:04d}"
        if options.flat or number < FOLDERS:
            folder.mkdir(parents=True, exist_ok=True)
        (folder / f"clip{number:07d}.wav").touch()
    command = [sys.executable, __file__, "first-task", "--scratch", str(options.scratch)]
    subprocess.run(command, check=True)


def first_task(options: argparse.Namespace) -> None:
    """Print how long the first task takes, and the memory at its peak, in a process that does nothing else."""
    from asr_adapt.console import Console
    from asr_adapt.folders import LocalFolder
    from asr_adapt.inference import recordings
    from asr_adapt.inference.batch import Job
    from asr_adapt.stages import transcribe

    before_mb = _peak_mb()
    started = time.perf_counter()
    found = recordings.find([str(options.scratch / "clips")])
    listed_s = time.perf_counter() - started
    batch = transcribe._Batch(found, LocalFolder(options.scratch / "out"), Job("txt", "f"), Console(quiet=True))
    tasks = batch.tasks()
    next(tasks)
    first_s = time.perf_counter() - started
    rest = sum(1 for _ in tasks)
    all_s = time.perf_counter() - started
    print(
        f"{len(found):,} files: listed in {listed_s:.1f} s, first task after {first_s:.1f} s, all {rest + 1:,} tasks "
        f"after {all_s:.1f} s; {_peak_mb():.0f} MB at the peak, {before_mb:.0f} MB before"
    )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _linked(options: argparse.Namespace) -> Path:
    """Return a folder of links to the clips, each under many names."""
    clips = [path for path in sorted(options.clips.iterdir()) if path.suffix != ".md"]
    batch = options.scratch / "batch"
    batch.mkdir(parents=True, exist_ok=True)
    for number in range(options.files):
        source = clips[number % len(clips)]
        if not (link := batch / f"{number:06d}{source.suffix}").exists():
            link.symlink_to(source.resolve())
    return batch


def rate(options: argparse.Namespace) -> None:
    """Compare Ray with plain processes."""
    names = sorted(_linked(options).iterdir())
    for turn in range(options.turns):
        piece = _folder(options.scratch / f"piece{turn}", names[turn * options.piece : (turn + 1) * options.piece])
        halves = [_folder(options.scratch / f"half{turn}{i}", sorted(piece.iterdir())[i::2]) for i in range(2)]
        plain = options.scratch / f"plain{turn}"
        started = time.perf_counter()
        running = [_start(options.model, half, plain / half.name) for half in halves]
        assert all(process.wait() == 0 for process in running)
        plain_s = time.perf_counter() - started
        started = time.perf_counter()
        through_ray = options.scratch / f"ray{turn}"
        assert _start(options.model, piece, through_ray, *_on_ray(options)).wait() == 0
        ray_s = time.perf_counter() - started
        texts = {path.name: path.read_text() for path in plain.rglob("*.txt")}
        same = sum((through_ray / name).read_text() == text for name, text in texts.items())
        print(f"turn {turn}: plain {plain_s:.1f} s, Ray {ray_s:.1f} s, rate {plain_s / ray_s:.2f}; "
              f"same text {same} of {len(texts)}", flush=True)  # fmt: skip


def _on_ray(options: argparse.Namespace) -> list[str]:
    return ["--ray", options.address, "--workers", "2"]


def _folder(folder: Path, files: list[Path]) -> Path:
    folder.mkdir(exist_ok=True)
    for file in files:
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file.resolve())
    return folder


def _start(model: Path, given: Path, out: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "asr_adapt", "transcribe", str(given), "--model", str(model), "--out", str(out)]
    return subprocess.Popen([*command, *options], env={**os.environ, "OMP_NUM_THREADS": "1"})


def kill(options: argparse.Namespace) -> None:
    """Kill a worker after a third of the batch and the driver after two thirds; start again, and count."""
    batch = _linked(options)
    out = options.scratch / "killed"
    driver = _start(options.model, batch, out, *_on_ray(options))
    _wait(out, options.files // 3, driver)
    worker = next(p for p in psutil.process_iter() if p.name().startswith("ray::_Worker"))
    worker.send_signal(signal.SIGKILL)
    print(f"killed worker {worker.pid} at {_count(out)} transcripts", flush=True)
    _wait(out, 2 * options.files // 3, driver)
    driver.kill()
    driver.wait()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.txt")}
    print(f"killed the driver at {len(before)} transcripts", flush=True)
    status = _start(options.model, batch, out, *_on_ray(options)).wait()
    record = json.loads((out / ".asr-adapt.json").read_text())
    again = sum(path.stat().st_mtime_ns != before[path.name] for path in out.glob("*.txt") if path.name in before)
    print(f"exit code {status}; {_count(out)} of {options.files} transcripts, {len(record['sources'])} on record, "
          f"{again} written again")  # fmt: skip


def _wait(out: Path, count: int, driver: subprocess.Popen) -> None:
    while _count(out) < count:
        assert driver.poll() is None, "the driver ended early"
        time.sleep(0.5)


def _count(out: Path) -> int:
    return sum(1 for _ in out.glob("*.txt"))


if __name__ == "__main__":
    main()
