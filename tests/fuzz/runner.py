"""Runs a fuzz target: a few seeded inputs in `make test`, or for minutes from the command line.

A target is a file `tests/fuzz/fuzz_NAME.py` that needs nothing but the package, with

    TARGET = Target("eaf", mutated([SMALL_VALID_FILE, ANOTHER]), read_one)

    if __name__ == "__main__":
        main(TARGET)

`read_one(data)` reads one input and asserts what must hold of the result. It may return or raise `InputError`; any
other exception is a finding, as are a crash, more than `Target.seconds` and more than `Target.memory_mb` of memory
for an input.

`make test` runs the short form, always with the same inputs, from a test file beside those of the code under test
(`tests/fuzz` is on pytest's path):

    from fuzz_eaf import TARGET
    from runner import check

    def test_a_damaged_eaf_is_read_or_refused_in_one_line():
        assert check(TARGET, examples=60).has_both

By hand, each time with other inputs; the exit code is 1 where something was found, and each finding's input is kept:

    python tests/fuzz/fuzz_eaf.py --minutes 10
    python tests/fuzz/fuzz_eaf.py --input FILE      # a kept input again
"""

import argparse
import faulthandler
import pickle
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from asr_adapt.errors import InputError

_EXAMPLES_PER_ROUND = 100
_MAX_FINDINGS = 20
# What parsers mistake for sizes, counts and offsets: nothing, everything, the signs' borders, and a few in between.
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Args:
        name: One word.
        inputs: Where inputs come from; they can be pickled.
        run: Reads one input: returns, or raises `InputError`.
        seconds: Limit for one input, in the long form.
        memory_mb: Limit of the address space that an input may add to what the process has when it starts.
    """

    name: str
    inputs: st.SearchStrategy[Any]
    run: Callable[[Any], object]
    seconds: float = 20.0
    memory_mb: int = 2_048


class Outcomes(NamedTuple):
    """How many inputs were read, and how many refused."""

    read: int
    refused: int

    @property
    def has_both(self) -> bool:
        """Whether some were read and some refused: a target that does one of these alone tests half."""
        return self.read > 0 and self.refused > 0


def check(target: Target, examples: int) -> Outcomes:
    """Run a few inputs, always the same ones; raises what the target raises, and `MemoryError` beyond its memory."""
    with _limited_memory(target.memory_mb):
        return _examine(target, examples, lambda value: None, seed_value=None)


def main(target: Target) -> None:
    """The command line of a target; ends the process with 1 if anything was found."""
    parser = argparse.ArgumentParser(description=f"fuzz {target.name}")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--input", type=Path, help="run one input that was kept")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.input:
        target.run(pickle.loads(arguments.input.read_bytes()))
    elif arguments.worker:
        _work(target, arguments.worker, time.monotonic() + arguments.minutes * 60)
    else:
        sys.exit(_supervise(target, arguments.minutes))


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes], max_edits: int = 6) -> bytes:
    """Return one of `seeds` after some edits: bytes changed, cut, repeated, or taken from another seed."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, max_edits))):
        if not data:
            break
        # Headers are where the damage is done: half of the edits are in the first 256 bytes.
        at = draw(st.integers(0, len(data) - 1) | st.integers(0, min(len(data), 256) - 1))
        size = draw(st.integers(1, 64) | st.integers(1, len(data)))
        match draw(st.sampled_from(("flip", "number", "random", "cut", "end", "repeat", "splice", "zero"))):
            case "flip":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "number":
                width = draw(st.sampled_from((1, 2, 4, 8)))
                number = draw(st.sampled_from(_NUMBERS)) % 256**width
                data[at : at + width] = number.to_bytes(width, draw(st.sampled_from(("big", "little"))))
            case "random":
                new = draw(st.binary(min_size=1, max_size=16))
                data[at : at + len(new)] = new
            case "cut":
                del data[at : at + size]
            case "end":
                del data[at:]
            case "repeat":
                data[at:at] = data[at : at + size] * draw(st.integers(1, 4))
            case "splice":
                other = draw(st.sampled_from(seeds))
                data[at:] = other[draw(st.integers(0, len(other) - 1)) :]
            case "zero":
                data[at : at + size] = bytes(len(data[at : at + size]))
    return bytes(data)


def _examine(target: Target, examples: int, before: Callable[[Any], None], seed_value: int | None) -> Outcomes:
    read = refused = 0

    def body(value: Any) -> None:
        nonlocal read, refused
        before(value)
        try:
            target.run(value)
            read += 1
        except InputError as error:
            assert "\n" not in str(error), "an error is one line"
            refused += 1

    body.__name__ = target.name  # hypothesis derives the inputs of the short form from it
    given_body = given(target.inputs)(body)
    limits: Any = settings(
        max_examples=examples,
        derandomize=seed_value is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
    )
    limits(given_body if seed_value is None else seed(seed_value)(given_body))()
    return Outcomes(read, refused)


def _work(target: Target, last: Path, until: float) -> None:
    """Run inputs until the time is over or one fails; the current one is in `last`, their number beside it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    count = 0

    def before(value: Any) -> None:
        nonlocal count
        last.write_bytes(pickle.dumps(value))
        count += 1
        last.with_name("count").write_text(str(count))
        # Ends a process that hangs in C, too, where no signal handler of Python would run.
        faulthandler.dump_traceback_later(target.seconds, exit=True)

    with _limited_memory(target.memory_mb):
        while not count or time.monotonic() < until:
            _examine(target, _EXAMPLES_PER_ROUND, before, random.randrange(2**32))
            faulthandler.cancel_dump_traceback_later()


def _supervise(target: Target, minutes: float) -> int:
    """Start workers, one after another, until the time is over; return the exit code."""
    kept = Path(tempfile.mkdtemp(prefix=f"fuzz-{target.name}-"))
    last, counted = kept / "last", kept / "count"
    begin, count, findings = time.monotonic(), 0, 0
    while (left := minutes - (time.monotonic() - begin) / 60) > 0 and findings < _MAX_FINDINGS:
        command = [sys.executable, sys.argv[0], "--worker", str(last), "--minutes", str(left)]
        worker = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if not counted.exists():  # the target itself cannot be imported
            print(worker.stderr)
            return 1
        count += int(counted.read_text())
        counted.unlink()
        if worker.returncode:
            findings += 1
            last.rename(kept / str(findings))
            print(f"--- finding {findings}: exit code {worker.returncode}; --input {kept / str(findings)}")
            print(worker.stderr[-3_000:], flush=True)
    last.unlink(missing_ok=True)
    if not findings:
        kept.rmdir()
    print(f"{target.name}: {count} inputs in {(time.monotonic() - begin) / 60:.1f} min, {findings} findings")
    return 1 if findings else 0


@contextmanager
def _limited_memory(memory_mb: int) -> Iterator[None]:
    """Let the address space grow by `memory_mb` and no further: what is beyond raises MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except FileNotFoundError:  # macOS, which does not enforce such a limit
        yield
        return
    limit = used + memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
