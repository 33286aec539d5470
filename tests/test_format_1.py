"""Runs and models of format 1, made before the package had folders: they load, resume and score."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from old_runs import unpack

from asr_adapt.artifacts import EngineMeasurement, Metrics, ModelMetadata, NGramWeights, PreparationSummary
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.inference import engines
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import forward, ngram_file
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import read_recipe
from asr_adapt.workflows.run import run


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    return unpack(tmp_path)


@pytest.fixture
def expected(folders: Path) -> dict[str, Any]:
    return json.loads((folders / "expected.json").read_text())


def test_a_model_writes_what_it_wrote(folders: Path, expected: dict[str, Any]) -> None:
    model = CTCModel.load(folders / "finished" / "model")
    split = prepared.load(folders / "finished" / "data", "test")
    waveforms = [split.waveform(i).copy() for i in range(len(split))]
    (scores,) = forward.log_probs(model, waveforms[:1])
    np.testing.assert_allclose(scores, expected["log_probs"][0], atol=2e-4)
    transcriber = Transcriber(model, precision="fp32")
    assert [result.text for result in transcriber.transcribe_segments(waveforms)] == expected["texts"]
    assert any(expected["texts"])


def test_an_n_gram_beside_a_model_keeps_its_weights(folders: Path) -> None:
    folder = folders / "model_with_ngram"
    assert ngram_file.read(folder) == (folder / "lm.arpa", NGramWeights(alpha=0.3, beta=1.0, unknown=-6.0))
    assert ModelMetadata.read(folder).decoding.method == "beam search"


def test_what_was_measured_of_engines_still_counts(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folders / "model_with_ngram"
    has_bf16 = json.loads((folder / "engines" / "measured.json").read_text())["processor_has_bf16"]
    monkeypatch.setattr("asr_adapt.model.mixed_precision.has_bf16", lambda device: has_bf16)
    assert engines.measured(folder)["onnx"] == EngineMeasurement(wer=0.25, rtfx=130.0)


def test_a_finished_run_is_done_and_nothing_is_repeated(
    folders: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folders / "finished"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "recipe.toml"}
    metrics = run(read_recipe(out / "recipe.toml"), out, Console())
    assert metrics == Metrics.read(out)
    assert "restarting" not in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert PreparationSummary.read(out / "data").utterances["train"] == 24


def test_a_stopped_run_goes_on_from_its_checkpoint(folders: Path, capsys: pytest.CaptureFixture) -> None:
    out = folders / "stopped"
    run(read_recipe(out / "recipe.toml"), out, Console())
    said = capsys.readouterr().err
    assert "after step 40" in said and "step 80/80" in said
    assert [json.loads(line)["step"] for line in (out / "train_log.jsonl").read_text().splitlines()][-1] == 80
    assert Metrics.read(out).utterances == 4
