"""How a recipe script ends: a wrong field, Ctrl-C at any moment and other signals are one line and an exit code."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from asr_adapt import process_exit
from asr_adapt.errors import Interrupted

# Sends Ctrl-C to the process itself when a module is looked for.
PRELUDE = """
import os, signal, sys

class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, AtImport())
"""
SCRIPT = """
from asr_adapt import Corpus, Model, Recipe, Train, run_recipe

RECIPE = Recipe(
    language="art",
    corpus=Corpus(root={root!r}),
    model=Model(base="none", hidden_size=64, layers=1, freeze="nothing"),
    train=Train({train}),
)
if __name__ == "__main__":
    run_recipe(RECIPE)
"""
TRAIN = "steps=100_000, batch_s=4, eval_steps=50_000, precision='fp32'"


def started(script: Path, *arguments: object) -> "subprocess.Popen[str]":
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), "--out", str(script.parent / "run"), *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def ended(script: Path, *arguments: object) -> tuple[int, str]:
    """Run a script to its end, and return its exit code and standard error."""
    process = started(script, *arguments)
    _, error = process.communicate(timeout=300)
    return process.returncode, error


def written(folder: Path, root: Path, *, train: str = TRAIN, module: str = "") -> Path:
    script = folder / "art.py"
    script.write_text((PRELUDE.format(module=module) if module else "") + SCRIPT.format(root=str(root), train=train))
    return script


@pytest.mark.parametrize("module", ["pydantic", "typer", "pydantic_settings", "torch"])
def test_ctrl_c_during_imports_is_one_line_and_130(tmp_path: Path, tones: Path, module: str) -> None:
    code, error = ended(written(tmp_path, tones, module=module))
    assert (code, error) == (130, "interrupted; the same command resumes what can be resumed\n")


@pytest.mark.parametrize(
    ("train", "line"),
    [
        ("stepz=3", "'stepz' is not a recipe field. Known fields: steps, seed,"),
        ("steps=0", "steps: Input should be greater than or equal to 1, but is 0."),
        ("speed=0.1", "'train.speed' is now 'augment.speed'."),
    ],
)
def test_a_wrong_field_in_a_script_is_one_line_and_2(tmp_path: Path, tones: Path, train: str, line: str) -> None:
    script = written(tmp_path, tones, train=train)
    code, error = ended(script)
    assert code == 2 and error.count("\n") == 1
    assert error.startswith(f"error: {script}: {line}")


def test_a_bug_in_a_script_keeps_its_traceback(tmp_path: Path, tones: Path) -> None:
    code, error = ended(written(tmp_path, tones, train="steps=1 / 0"))
    assert code == 1 and "Traceback" in error and "ZeroDivisionError" in error


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("SIGINT", 130),
        pytest.param("SIGTERM", 143, marks=pytest.mark.slow),
        pytest.param("SIGHUP", 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_during_training_saves_and_is_one_line(tmp_path: Path, tones: Path, name: str, code: int) -> None:
    script = written(tmp_path, tones)
    process = started(script)
    log = tmp_path / "run" / "train_log.jsonl"
    while not (log.exists() and log.read_text().count("\n")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=300)
    assert process.returncode == code
    assert error.splitlines()[-1].startswith(f"stopped by {name} and saved after step ") and "Traceback" not in error
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_a_process_that_is_no_recipe_script_keeps_its_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.excepthook, signal.getsignal(signal.SIGINT)
    process_exit.guard_recipe_script()
    code = "import asr_adapt, sys, signal; asr_adapt.Recipe; print(sys.excepthook is sys.__excepthook__)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "True"
    assert (sys.excepthook, signal.getsignal(signal.SIGINT)) == before


def test_an_interruption_is_neither_an_exception_nor_an_exit() -> None:
    assert not issubclass(Interrupted, Exception | SystemExit)
    with pytest.raises(SystemExit) as exit, process_exit.one_line_errors():
        raise Interrupted(signal.SIGTERM, "saved")
    assert exit.value.code == 143


def test_one_line_errors_work_outside_the_main_thread(capsys: pytest.CaptureFixture) -> None:
    codes: list[object] = []

    def work() -> None:
        try:
            with process_exit.one_line_errors():
                raise KeyboardInterrupt
        except SystemExit as exit:
            codes.append(exit.code)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert codes == [130] and capsys.readouterr().err.count("\n") == 1
