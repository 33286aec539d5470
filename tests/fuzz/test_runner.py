"""The fuzz runner: exceptions, crashes, hangs and memory are findings; results and `InputError` are not."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import strategies as st
from runner import Target, check, mutated

from asr_adapt.errors import InputError


def refuse(value: object) -> None:
    raise InputError("no such thing")


def test_a_result_and_an_input_error_are_no_findings() -> None:
    assert check(Target("result", st.integers(), lambda value: value), examples=5) == (5, 0)
    assert check(Target("refused", st.integers(), refuse), examples=5) == (0, 5)


def test_another_exception_and_too_much_memory_are_findings() -> None:
    with pytest.raises(ZeroDivisionError):
        check(Target("zero", st.integers(0, 3), lambda value: 1 // value), examples=20)
    with pytest.raises(MemoryError):
        check(Target("large", st.just(2**30), bytearray, memory_mb=100), examples=1)


def test_the_short_form_has_the_same_inputs_each_time() -> None:
    seen: list[list[bytes]] = []
    for _ in range(2):
        seen.append([])
        check(Target("same", mutated([b"one seed", b"another one"]), seen[-1].append), examples=30)
    assert seen[0] == seen[1] and len(set(seen[0])) > 10


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "exit code -11"),
        ("time.sleep(60)", "Timeout"),
        ("1 // 0", "ZeroDivisionError"),
    ],
)
def test_the_long_form_finds_crashes_and_hangs_and_keeps_their_inputs(tmp_path: Path, body: str, shown: str) -> None:
    script = tmp_path / "fuzz_it.py"
    script.write_text(
        f"import os, signal, sys, time\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from hypothesis import strategies as st\nfrom runner import Target, main\n"
        f"def read(value):\n    {body}\n"
        "if __name__ == '__main__':\n    main(Target('it', st.just(7), read, seconds=0.5))\n"
    )
    command = [sys.executable, str(script), "--minutes", "0.001"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 1 and shown in done.stdout and "1 findings" in done.stdout
    assert len(list(tmp_path.glob("fuzz-it-*/1"))) == 1
