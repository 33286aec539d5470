"""Presets: what a recipe leaves open is chosen by hours and base model; what it says stands."""

from pathlib import Path

import pytest
from conftest import tone_recipe

from asr_adapt.console import Console
from asr_adapt.recipe import Augment, Model, Recipe, Train, read_recipe
from asr_adapt.training import presets
from asr_adapt.workflows import demo
from asr_adapt.workflows.run import run

XLS_R = 1024


def chosen(
    measured: float, model: Model | None = None, hidden_size: int = XLS_R, **train: object
) -> presets.Resolved:
    recipe = Recipe(language="mi", model=model or Model(), train=Train(**train))
    return presets.resolve(recipe, measured, hidden_size)[0]


def test_less_speech_is_heard_oftener_in_smaller_batches_at_a_lower_rate() -> None:
    found = [chosen(hours).train for hours in (1 / 6, 1, 10, 100)]
    times = [conf.steps * conf.batch_s / 3600 / hours for conf, hours in zip(found, (1 / 6, 1, 10, 100), strict=True)]
    assert times == sorted(times, reverse=True) and times[0] > 60 and times[-1] > 5
    assert [conf.batch_s for conf in found] == [20, 40, 80, 80]
    assert found[0].learning_rate < found[1].learning_rate
    assert found[0].head_steps / found[0].steps > found[1].head_steps / found[1].steps


@pytest.mark.parametrize(("hours", "like"), [(0.01, 1 / 6), (0.4, 1 / 6), (0.42, 1), (2.67, 1), (4, 10), (2000, 100)])
def test_the_nearest_amount_of_speech_is_taken(hours: float, like: float) -> None:
    # All but the masks, which are weaker where the same steps hear more speech less often.
    found, wanted = (chosen(h).train.model_dump(exclude={"mask_time", "mask_features"}) for h in (hours, like))
    assert found == wanted


def test_speed_perturbation_is_chosen_by_the_hours() -> None:
    recipe = Recipe(language="mi")
    found, choices = presets.resolve(recipe, 1.0, XLS_R)
    assert found.augment.speed == 0.1 and "augment.speed" in {choice.field for choice in choices}
    assert presets.resolve(recipe, 100.0, XLS_R)[0].augment.speed == 0


def test_hours_that_are_named_go_before_those_that_are_measured() -> None:
    named = chosen(1 / 6, hours=100.0)
    assert named.train.model_dump(exclude={"hours"}) == chosen(100).train.model_dump(exclude={"hours"})


def test_masks_are_fairseqs_for_large_models_and_weaker_for_small_ones() -> None:
    share = {
        "large": chosen(1).train.mask_time,
        "base": chosen(1, hidden_size=768).train.mask_time,
        "small": chosen(1, Model(base="embedded-small"), 256).train.mask_time,
        "none": chosen(1, Model(base="none"), 256).train.mask_time,
    }
    assert share == {"large": 0.65, "base": 0.65, "small": 0.45, "none": 0.16}


def test_the_larger_the_base_model_the_lower_the_rate() -> None:
    rates = [
        chosen(1, Model(base="none"), 256).train.learning_rate,
        chosen(1, Model(base="embedded-small"), 256).train.learning_rate,
        chosen(1, Model(base="x/base"), 768).train.learning_rate,
        chosen(1).train.learning_rate,
    ]
    assert rates == sorted(rates, reverse=True) and len(set(rates)) == 3, (
        "the small model is moved as if from nothing"
    )


def test_the_embedded_base_has_the_preset_that_was_measured() -> None:
    train = chosen(1 / 6, Model(base="embedded"), 512).train
    assert (train.learning_rate, train.head_learning_rate, train.steps) == (2e-4, 3e-3, 800)
    assert (train.mask_time, train.mask_features, train.head_steps) == (0.5, 0.0, 0)


def test_masks_are_weaker_where_the_speech_is_heard_a_few_times_only() -> None:
    masks = [
        chosen(1, Model(base="embedded-small"), 256, steps=steps).train.mask_time for steps in (45, 180, 720, 5000)
    ]
    assert masks == [0.02, 0.08, 0.33, 0.45], "half, two, eight and 56 times"


def test_from_nothing_nothing_is_frozen_and_the_head_has_no_stage_of_its_own() -> None:
    scratch, adapted = chosen(1, Model(base="none")), chosen(1)
    assert (adapted.model.freeze, scratch.model.freeze) == ("feature_encoder", "nothing")
    assert (adapted.train.head_steps, scratch.train.head_steps) == (500, 0)
    assert chosen(1, steps=1000).train.head_steps == 100 and chosen(1, steps=1000).train.eval_steps == 50


def test_what_a_recipe_says_stands_and_is_not_among_the_choices() -> None:
    said = {"steps": 7, "mask_time": 0.0, "head_steps": 0, "learning_rate": 3e-3}
    settled = {"model": Model(freeze="all_but_head"), "train": Train(**said), "augment": Augment(speed=0.0)}
    recipe = Recipe(language="mi", **settled)
    found, choices = presets.resolve(recipe, 1.0, XLS_R)
    assert said.items() <= found.train.model_dump().items() and found.model.freeze == "all_but_head"
    assert found.train.head_learning_rate == 3e-3, "the head's rate is no lower than the body's"
    assert found.augment.speed == 0
    assert not {"augment.speed", *(f"train.{name}" for name in said)} & {choice.field for choice in choices}
    assert all(choice.reason for choice in choices) and "train.batch_s" in {choice.field for choice in choices}


@pytest.mark.parametrize(
    ("dev_hours", "eval_steps"),
    [(0, 100), (0.1, 100), (0.25, 150), (10, 400)],  # of 2,000 steps of 20 s; the last is looked at five times
)
def test_the_longer_dev_is_the_less_often_it_is_validated(dev_hours: float, eval_steps: int) -> None:
    recipe = Recipe(language="mi")
    assert presets.resolve(recipe, 1 / 6, XLS_R, dev_hours)[0].train.eval_steps == eval_steps


def test_training_that_was_begun_is_not_started_over_by_another_versions_choices(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    recipe = tone_recipe(tones, steps=2, eval_steps=None)
    run(recipe, tmp_path, Console())
    began = read_recipe(tmp_path / "recipe.toml")
    monkeypatch.setattr(presets, "_eval_steps", lambda *_: (7, "as another version has it"))
    run(recipe, tmp_path, Console())
    assert "train\nalready done" in capsys.readouterr().err
    assert read_recipe(tmp_path / "recipe.toml") == began


def test_a_long_warm_up_leaves_less_to_hold() -> None:
    assert chosen(1, warmup=0.8).train.hold == pytest.approx(0.2)


def test_a_long_hold_leaves_less_to_warm_up() -> None:
    assert chosen(1, hold=0.95).train.warmup == pytest.approx(0.05)


def test_a_resolved_recipe_stays_as_it_is_whatever_is_measured_then() -> None:
    once = chosen(1)
    again, choices = presets.resolve(once, 100.0, 256)
    assert again == once and choices == []


def test_the_demo_names_all_that_the_hours_would_choose() -> None:
    left = {choice.field for choice in presets.resolve(demo.RECIPE, 0.6, 256)[1]}
    assert left == {"model.freeze"}


def test_choices_are_printed_with_their_reasons_kept_and_not_made_again(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    recipe = tone_recipe(tones, steps=2, mask_time=None, mask_features=None)
    run(recipe, tmp_path, Console())
    said = capsys.readouterr().err
    assert "s of labelled speech (measured): preset for 10 minutes" in said
    assert "train.mask_time" in said and "fairseq's 10m to 100h" in said
    kept = read_recipe(tmp_path / "recipe.toml")
    assert (kept.train.warmup, kept.train.steps) == (0.1, 2) and kept.train.mask_time is not None
    run(recipe, tmp_path, Console())
    assert "train.mask_time" not in capsys.readouterr().err, "training is done"
    assert read_recipe(tmp_path / "recipe.toml") == kept
    run(kept, tmp_path, Console())
    assert "train\nalready done" in capsys.readouterr().err, "the kept recipe is the same run"


def test_a_depth_that_is_not_measured_yet_is_that_where_most_is_trained() -> None:
    recipe = Recipe(language="mi", model=Model(base="embedded", freeze="auto"))
    found, choices = presets.resolve(recipe, 1.0, 256)
    (chosen,) = (choice for choice in choices if choice.field == "model.freeze")
    assert found.model.freeze == chosen.value == "feature_encoder"
    assert chosen.reason == "auto: until the depth is measured"
    with pytest.raises(ValueError, match="auto is to be replaced by what was measured"):
        type(found).model_validate(found.model_dump() | {"model": {"freeze": "auto"}})
