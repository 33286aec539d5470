"""The demo: every stage, again without work, and a corpus whose splits share neither voices nor sentences."""

import re
from pathlib import Path

import pytest
from conftest import ROOT

from asr_adapt import bundled, corpora
from asr_adapt.console import Console
from asr_adapt.workflows import demo


def without_results(text: str) -> str:
    """Return the demo's output with figures and the hypothesis masked."""
    return re.sub(r"hypothesis: .*", "hypothesis:", re.sub(r"\d\.\d+", "#", text)).strip()


@pytest.mark.slow
def test_the_demo_goes_through_every_stage_and_again_in_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    short = demo.RECIPE.train.model_copy(update={"steps": 2, "eval_steps": 1})
    monkeypatch.setattr(demo, "RECIPE", demo.RECIPE.model_copy(update={"train": short}))
    monkeypatch.setattr(demo, "_HEAD_STEPS", 1)
    monkeypatch.chdir(ROOT)
    demo.demo(tmp_path / "demo", Console())
    said = capsys.readouterr().err
    shown = (ROOT / "README.md").read_text(encoding="utf-8").partition("ends with:\n\n```\n")[2].partition("```")[0]
    assert "head only" in shown and "reference:" in shown
    ending = said[said.index("\ntranscribe\n") + 1 :].rpartition("next: ")[0]
    assert without_results(ending) == without_results(shown)
    demo.demo(tmp_path / "demo", Console())
    assert capsys.readouterr().err.count("already done") == 4


def test_test_voices_and_sentences_are_in_no_other_split() -> None:
    utterances = corpora.read(bundled.folder("demo"), "mi")
    for field in ("speaker", "text"):
        heard = {getattr(u, field) for u in utterances if u.split != "test"}
        assert heard.isdisjoint({getattr(u, field) for u in utterances if u.split == "test"})
