"""The transfer table: each way of training at equal steps, and the verdict."""

import json
from pathlib import Path

import pytest
from conftest import tone_recipe

from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.records import Utterance
from asr_adapt.workflows.transfer import Scored, transfer, verdict


def scored(*errors: int) -> list[Scored]:
    """Return utterances of ten letters, each with so many of them wrong."""
    return [
        Scored(Utterance(id=str(i), audio=f"{i}.wav"), "abcdefghij", "x" * wrong + "abcdefghij"[wrong:])
        for i, wrong in enumerate(errors)
    ]


@pytest.mark.parametrize(
    ("nothing", "head", "frozen", "said"),
    [
        ([6] * 40, [5] * 40, [2] * 40, "The base model helps: feature encoder frozen, CER 0.200 against 0.600"),
        ([2] * 40, [9] * 40, [5] * 40, "Negative transfer: even feature encoder frozen is worse"),
        ([5, 4] * 20, [9] * 40, [4, 5] * 20, "No difference that this test set can tell"),
        # Each is better on every utterance, while the intervals of the two rates overlap.
        ([1, 9] * 20, [9] * 40, [0, 8] * 20, "The base model helps: feature encoder frozen, CER 0.400 against 0.500"),
        ([6] * 40, [2, 4] * 20, [4, 2] * 20, "The base model helps: head only, CER 0.300 against 0.600 from nothing. "
         "This test set cannot tell it from feature encoder frozen."),
    ],
)  # fmt: skip
def test_the_verdict_is_by_paired_intervals_that_leave_out_nothing(
    nothing: list[int], head: list[int], frozen: list[int], said: str
) -> None:
    rows = {"from nothing": nothing, "head only": head, "feature encoder frozen": frozen}
    assert verdict({name: scored(*errors) for name, errors in rows.items()}).startswith(said)


def test_without_a_base_model_there_is_nothing_to_transfer(tones: Path, tmp_path: Path, console: Console) -> None:
    with pytest.raises(InputError, match=r"model\.base: there is nothing to transfer from"):
        transfer(tone_recipe(tones), tmp_path, console)


def test_an_adapter_leaves_the_rows_no_choice(tones: Path, tmp_path: Path, console: Console) -> None:
    recipe = tone_recipe(tones)
    recipe = recipe.model_copy(
        update={"model": recipe.model.model_copy(update={"base": "embedded-small", "adapter": "lora"})}
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
    assert rows[0].cer_against_nothing is None and all(r.cer_against_nothing for r in rows[1:])
    assert transfer(recipe, tmp_path, console) == rows, "nothing is trained twice"
