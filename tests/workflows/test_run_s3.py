"""run and transcribe with everything on a local S3 server: prepare, train, transcribe, results back."""

from pathlib import Path

import pytest
from conftest import tone_recipe, write_corpus

from asr_adapt import remote
from asr_adapt.console import Console
from asr_adapt.inference.recordings import find
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.recipe import read_recipe
from asr_adapt.stages.transcribe import transcribe
from asr_adapt.workflows.plan import RunPlan
from asr_adapt.workflows.run import run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tones_are_speech")]


def test_a_corpus_in_a_bucket_becomes_a_model_and_its_transcripts_go_back(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("ASR_ADAPT_CACHE", str(tmp_path / "cache"))
    here, url, out = write_corpus(tmp_path / "tones"), f"{bucket}/tones", tmp_path / "run"
    fs, place = remote.filesystem(url)
    fs.put(f"{here}/", f"{place}/", recursive=True)
    recipe = tone_recipe(url, steps=20, eval_steps=20)
    metrics = run(recipe, out, Console())
    assert metrics.utterances == 6
    assert read_recipe(out / "recipe.toml").corpus.root == url
    assert RunPlan.of(tone_recipe(here)).prepare_inputs == RunPlan.of(recipe).prepare_inputs
    capsys.readouterr()
    assert run(recipe, out, Console()) == metrics
    assert capsys.readouterr().err.count("already done") >= 2

    def load() -> Transcriber:
        return Transcriber.from_folder(out / "model", precision="fp32")

    for clips, texts in ((f"{url}/clips", f"{bucket}/texts"), (f"{here}/clips", str(tmp_path / "texts"))):
        assert transcribe(load, out / "model", find([clips]), "txt", texts, Console()) == 0
    there = {name.rpartition("/")[2]: fs.cat_file(name) for name in fs.ls("speech/texts") if name.endswith(".txt")}
    assert there == {file.name: file.read_bytes() for file in (tmp_path / "texts").glob("*.txt")}
    assert len(there) == 32
