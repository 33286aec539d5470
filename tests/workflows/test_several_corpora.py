"""Runs on several corpora: how often each is trained on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tone_recipe, write_base, write_corpus

from asr_adapt import corpora
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.recipe import Source
from asr_adapt.training.data import Inputs
from asr_adapt.workflows.run import run


@pytest.mark.slow
def test_the_temperature_decides_how_much_of_each_corpus_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    large = write_corpus(tmp_path / "large", train=60, dev=2, test=2)
    small = write_corpus(tmp_path / "small", train=8, dev=2, test=2)
    recipe = tone_recipe(
        large, str(write_base(tmp_path / "base", "layer")), steps=60, batch_s=6, eval_steps=60, sampling_temperature=3
    )
    recipe = recipe.model_copy(update={"corpora": (Source(root=small, weight=2),)})
    drawn: list[int] = []
    of = Inputs.of

    def noted(self: Inputs, clips: Sequence[int], *where: int) -> Any:
        drawn.extend(clips)
        return of(self, clips, *where)

    monkeypatch.setattr(Inputs, "of", noted)
    run(recipe, tmp_path / "out", Console())

    data = prepared.load(tmp_path / "out" / "data", "train")
    numbers = np.array(corpora.corpus_numbers(data.utterances, corpora.sources(recipe)))
    assert np.bincount(numbers).tolist() == [60, 8]
    hours = np.bincount(numbers, data.durations_s)
    wanted = np.array([1, 2]) * hours ** (1 / 3)
    wanted /= wanted.sum()
    shares = np.bincount(numbers[drawn], data.durations_s[drawn])
    shares /= shares.sum()
    assert wanted[1] > 0.4 > 2 * hours[1] / hours.sum()
    assert shares == pytest.approx(wanted, abs=0.02)
    assert f"{wanted[1]:.1%}" in capsys.readouterr().err
    # Each clip of a corpus before any comes again, so that they are drawn equally often, or once more.
    times = np.bincount(drawn, minlength=len(data))
    assert all(np.ptp(times[numbers == corpus]) <= 1 for corpus in (0, 1))
