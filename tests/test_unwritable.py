"""A full disk or a read-only folder in lm, evaluate, report and standard output: one line, and nothing partial."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from old_runs import unpack

from asr_adapt.artifacts import Metrics, NGramWeights
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import DiskFull, InputError
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import ngram_file
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.records import Utterance
from asr_adapt.report.write import write_page
from asr_adapt.stages import evaluate


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("original"))


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A disk that text cannot be written to while it is `on`, with the system's error `number`."""
    disk = SimpleNamespace(on=False, number=errno.ENOSPC)
    writes = Path.write_text

    def write_text(path: Path, text: str, **options: str) -> int:
        if disk.on:
            with path.open("w", encoding="utf-8") as file:
                file.write(text[:10])
            raise OSError(disk.number, os.strerror(disk.number), str(path))
        return writes(path, text, **options)

    monkeypatch.setattr(Path, "write_text", write_text)
    return disk


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_an_n_gram_is_written_whole_or_not_at_all(
    number: int, original: Path, tmp_path: Path, full: SimpleNamespace
) -> None:
    model = tmp_path / "model"
    CTCModel.load(original / "model_with_ngram").save(model)
    before = snapshot(model)
    full.on, full.number = True, number
    with pytest.raises(InputError, match="cannot be written") as caught:
        ngram_file.write(model, "text of an n-gram", NGramWeights())
    assert isinstance(caught.value, DiskFull) == (number in {errno.ENOSPC, errno.EDQUOT})
    full.on = False
    assert snapshot(model) == before and CTCModel.load(model)


def test_an_evaluation_is_written_whole_or_not_at_all(
    original: Path, tmp_path: Path, full: SimpleNamespace, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcriber = Transcriber(CTCModel.load(original / "model_with_ngram"), precision="fp32")
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    speech = SpeechSplit("test", [Utterance(id="1", audio="a.wav", text="a b")], ["a b"], lambda index: noise)

    def write(metrics: Metrics, folder: Path) -> None:
        full.on = True
        metrics.write_file(folder / "metrics.json")

    monkeypatch.setattr(Metrics, "write", write)
    with pytest.raises(DiskFull, match="cannot be written"):
        evaluate.evaluate(transcriber, speech, tmp_path / "out", console)
    assert not list((tmp_path / "out").iterdir())


def test_a_report_is_written_whole_or_not_at_all(original: Path, tmp_path: Path, full: SimpleNamespace) -> None:
    run = shutil.copytree(original / "finished", tmp_path / "run")
    before = snapshot(run)
    full.on = True
    with pytest.raises(DiskFull, match=r"report\.html: cannot be written"):
        write_page(run, sound=False)
    full.on = False
    assert snapshot(run) == before


def test_a_full_standard_output_is_one_line(original: Path) -> None:
    line = "from asr_adapt.console import Console; from asr_adapt.process_exit import one_line_errors\n"
    line += "with one_line_errors(): Console().result('text')"
    with Path("/dev/full").open("w") as out:
        ended = subprocess.run(
            [sys.executable, "-c", line], stdout=out, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "error: standard output: cannot be written (No space left on device). Make room."
    ]
