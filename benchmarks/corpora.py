"""How time and memory of reading a corpus, and of the doctor, grow with its rows.

    python benchmarks/corpora.py                             # reads 100,000 and 1,000,000 rows of each format
    python benchmarks/corpora.py --rows 20000 200000 --doctor --formats table

A corpus names a few recordings again and again, so that its rows are what is measured: each row is a segment of one
of ten recordings, and every third sentence is in more than one split. Each measurement is a process of its own. Time
is the processor's. Memory is the peak of the process less what it has after its imports.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

RECORDINGS = 10
RATE_HZ = 16_000
SEGMENT_S = 0.5
SEGMENTS = 100  # of a recording, in all
SPLITS = ("train",) * 8 + ("dev", "test")
Row = tuple[str, str, float, float, str, str, str]
"""id, recording, start and end in seconds, split, speaker, transcript"""


def rows(count: int) -> Iterator[Row]:
    """Yield the rows of a corpus, sorted by id."""
    for number in range(count):
        start_s = SEGMENT_S * (number % SEGMENTS)
        sentence = number // 3 if number % 3 else number // 30  # the latter is in several splits
        yield (
            f"u{number:08d}",
            f"{number // SEGMENTS % RECORDINGS}.wav",
            start_s,
            start_s + SEGMENT_S,
            SPLITS[number % len(SPLITS)],
            f"speaker{number % 50:02d}",
            f"he kupu {sentence} ka tuhia",
        )


def table(root: Path, count: int) -> Path:
    """Write a CSV."""
    with (root / "corpus.csv").open("w", encoding="utf-8") as file:
        file.write("id,audio,start,end,split,speaker,text\n")
        file.writelines(",".join(map(str, row)) + "\n" for row in rows(count))
    return root / "corpus.csv"


def manifest(root: Path, count: int) -> Path:
    """Write a JSONL manifest."""
    names = ("id", "audio", "start_s", "end_s", "split", "speaker", "text")
    with (root / "corpus.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows(count))
    return root / "corpus.jsonl"


def kaldi(root: Path, count: int) -> Path:
    """Write a Kaldi folder for each split, in `data`."""
    files = {}
    for split in dict.fromkeys(SPLITS):
        (root / "data" / split).mkdir(parents=True)
        for name in ("segments", "text", "utt2spk"):
            files[split, name] = (root / "data" / split / name).open("w", encoding="utf-8")
        scp = "".join(f"{number}.wav {number}.wav\n" for number in range(RECORDINGS))
        (root / "data" / split / "wav.scp").write_text(scp)
    for name, recording, start_s, end_s, split, speaker, text in rows(count):
        files[split, "segments"].write(f"{name} {recording} {start_s} {end_s}\n")
        files[split, "text"].write(f"{name} {text}\n")
        files[split, "utt2spk"].write(f"{name} {speaker}\n")
    for file in files.values():
        file.close()
    return root / "data"


FORMATS: dict[str, Callable[[Path, int], Path]] = {"table": table, "manifest": manifest, "kaldi": kaldi}


def read(root: Path) -> int:
    """Read a corpus and look for what its splits share; return its rows."""
    from asr_adapt import corpora

    utterances = corpora.read(root, "mi")
    corpora.leaks(utterances, [u.text or "" for u in utterances])
    return len(utterances)


def examine(root: Path) -> int:
    """Run the whole doctor; return the rows."""
    from asr_adapt.console import Console
    from asr_adapt.decoding.frames import FrameGrid
    from asr_adapt.recipe import Corpus, Recipe
    from asr_adapt.stages import doctor

    recipe = Recipe(language="mi", corpus=Corpus(root=root))
    return len(doctor.examine(recipe, Console(quiet=True), grid=FrameGrid()).utterances)


def measure(what: str, root: Path) -> tuple[float, float]:
    """Return the processor seconds and the megabytes that one measurement takes, in a process of its own."""
    command = [sys.executable, __file__, "--measure", what, str(root)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes = json.loads(found.stdout.splitlines()[-1])
    return seconds, megabytes


def _measured(what: str, root: Path) -> None:
    from asr_adapt import corpora  # noqa: F401  (imports are not what is measured)
    from asr_adapt.stages import doctor  # noqa: F401

    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begin = time.process_time()
    {"read": read, "doctor": examine}[what](root)
    seconds = time.process_time() - begin
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mb]))


def main() -> None:
    """Print a line for each measurement, and how it grew from the one before."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--formats", nargs="+", choices=sorted(FORMATS), default=list(FORMATS))
    parser.add_argument("--doctor", action="store_true", help="also decode and examine every row")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        _measured(arguments.measure[0], Path(arguments.measure[1]))
        return
    for name in arguments.formats:
        for what in ("read", "doctor") if arguments.doctor else ("read",):
            last: tuple[int, float, float] | None = None
            for count in arguments.rows:
                with tempfile.TemporaryDirectory() as folder:
                    root = Path(folder)
                    noise = np.random.default_rng(0).standard_normal(round(SEGMENT_S * SEGMENTS * RATE_HZ)) * 0.05
                    for number in range(RECORDINGS):
                        soundfile.write(root / f"{number}.wav", noise * (1 + number / 10), RATE_HZ)
                    seconds, megabytes = measure(what, FORMATS[name](root, count))
                line = f"{name:9} {what:6} {count:>9,} rows: {seconds:7.1f} s, {megabytes:6,.0f} MB"
                if last:
                    times = count / last[0]
                    line += f"; {times:g} times the rows take {seconds / last[1]:.1f} times the time and "
                    line += f"{megabytes / last[2]:.1f} times the memory"
                print(line, flush=True)
                last = count, seconds, megabytes


if __name__ == "__main__":
    main()
