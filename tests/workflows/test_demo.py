"""The demo: every stage, again without work, and a corpus whose splits share neither voices nor sentences."""

from pathlib import Path

import pytest

from asr_adapt import bundled, corpora
from asr_adapt.console import Console
from asr_adapt.workflows import demo


@pytest.mark.slow
def test_the_demo_goes_through_every_stage_and_again_in_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    short = demo.RECIPE.train.model_copy(update={"steps": 2, "eval_steps": 1})
    monkeypatch.setattr(demo, "RECIPE", demo.RECIPE.model_copy(update={"train": short}))
    monkeypatch.setattr(demo, "_HEAD_STEPS", 1)
    demo.demo(tmp_path / "demo", Console())
    said = capsys.readouterr().err
    assert "WER on 72 unseen clips of unseen voices" in said
    assert "head alone" in said and "adapted" in said and "read:" in said
    demo.demo(tmp_path / "demo", Console())
    assert capsys.readouterr().err.count("already done") == 4


def test_test_voices_and_sentences_are_in_no_other_split() -> None:
    utterances = corpora.read(bundled.folder("demo"), "mi")
    for field in ("speaker", "text"):
        heard = {getattr(u, field) for u in utterances if u.split != "test"}
        assert heard.isdisjoint({getattr(u, field) for u in utterances if u.split == "test"})
