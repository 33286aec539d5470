import json
from pathlib import Path

import pytest
from conftest import tone_recipe

from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.workflows.transfer import Row, transfer, verdict


def row(name: str, cer: float) -> Row:
    return Row(name, 1.0, 0.5, (0.4, 0.6), cer, (cer - 0.05, cer + 0.05), cer)


@pytest.mark.parametrize(
    ("nothing", "head", "frozen", "said"),
    [
        (0.6, 0.5, 0.2, "The base model helps: feature encoder frozen, CER 3.0 times lower than from nothing."),
        (0.2, 0.9, 0.5, "Negative transfer: even feature encoder frozen is worse"),
        (0.5, 0.9, 0.45, "No difference that this test set can tell"),
    ],
)
def test_the_verdict_is_by_intervals_that_do_not_overlap(
    nothing: float, head: float, frozen: float, said: str
) -> None:
    rows = [row("from nothing", nothing), row("head only", head), row("feature encoder frozen", frozen)]
    assert verdict(rows).startswith(said)


def test_without_a_base_model_there_is_nothing_to_transfer(tones: Path, tmp_path: Path, console: Console) -> None:
    with pytest.raises(InputError, match=r"model\.base: there is nothing to transfer from"):
        transfer(tone_recipe(tones), tmp_path, console)


def test_an_adapter_leaves_the_rows_no_choice(tones: Path, tmp_path: Path, console: Console) -> None:
    recipe = tone_recipe(tones)
    recipe = recipe.model_copy(
        update={"model": recipe.model.model_copy(update={"base": "embedded", "adapter": "lora"})}
    )
    with pytest.raises(InputError, match=r"model\.adapter: the rows differ.*--model\.adapter none"):
        transfer(recipe, tmp_path / "out", console)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("base", ["layer"], indirect=True)
def test_each_way_is_trained_for_the_same_steps_and_the_table_is_kept(
    base: Path, tones: Path, tmp_path: Path, console: Console
) -> None:
    recipe = tone_recipe(tones, str(base), steps=3, patience=1, eval_steps=1)
    rows = transfer(recipe, tmp_path, console)
    assert [r.name for r in rows] == ["from nothing", "head only", "feature encoder frozen", "nothing frozen"]
    for r in rows:
        log = [json.loads(line) for line in (tmp_path / r.name.replace(" ", "_") / "train_log.jsonl").open()]
        assert log[-1]["step"] == 3
        assert r.train_s == pytest.approx(sum(line.get("elapsed_s", 0) for line in log)) and r.train_s > 0
    written = json.loads((tmp_path / "transfer.json").read_text())
    assert [(w["name"], w["wer"], tuple(w["cer_ci95"])) for w in written] == [
        (r.name, r.wer, r.cer_ci95) for r in rows
    ]
    assert transfer(recipe, tmp_path, console) == rows, "nothing is trained twice"
