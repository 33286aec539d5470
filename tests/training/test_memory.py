"""A batch is as large as there is room for, and a step hears the same audio either way."""

from pathlib import Path

import pytest
import torch
from conftest import tone_recipe

from asr_adapt import bundled
from asr_adapt.console import Console
from asr_adapt.model import base, forward, freezing
from asr_adapt.recipe import Model, Recipe, Resolved, Train, read_recipe
from asr_adapt.training import memory, presets
from asr_adapt.workflows.run import run

GB = 10**9
EMBEDDED = Model(base="embedded-small")


def resolved(**train: object) -> Resolved:
    recipe = Recipe.model_validate(
        {"language": "mi", "model": EMBEDDED, "train": {"precision": "fp32", "batch_s": 40.0, **train}}
    )
    return presets.resolve(recipe, 1.0, 256)[0]


def fitted(free: int, processes: int = 1, **train: object) -> tuple[Resolved, list[str]]:
    said: list[str] = []
    recipe, _ = memory.fit(resolved(**train), base.configuration(EMBEDDED), processes, free, said.append)
    return recipe, said


@pytest.mark.parametrize("name", bundled.BASES)
def test_batches_are_fitted_to_each_embedded_base(name: str) -> None:
    model = Model(base=name)
    recipe = Recipe(language="mi", model=model, train=Train(precision="fp32"))
    whole = presets.resolve(recipe, 1.0, base.configuration(model).hidden_size)[0]
    fitted, changed = memory.fit(whole, base.configuration(model), 1, 64 * GB, print)
    assert fitted == whole and not changed


@pytest.mark.parametrize("freeze", ["feature_encoder", "below:4", "nothing"])
def test_what_a_step_keeps_for_the_backward_pass_is_foreseen(freeze: str) -> None:
    recipe = resolved()
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"freeze": freeze})})
    net, _ = base.load(recipe.model, 1, recipe.language)
    freezing.freeze(net, freeze, "none")
    net.train()
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not any(storage.data_ptr() == parameter.untyped_storage().data_ptr() for parameter in net.parameters()):
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    depth = freezing.frozen_depth(freeze, net.config)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        with torch.set_grad_enabled(depth is None):
            states = list(net.wav2vec2.feature_extractor(torch.randn(4, 5 * 16_000)).transpose(1, 2))
            states = list(forward.contextualise(net, states, until=depth)) if depth else states
        hidden = forward.contextualise(net, states, depth=depth or 0)
    foreseen = memory.needed_bytes(recipe, net.config, 20) - memory.needed_bytes(recipe, net.config, 0)
    assert hidden.requires_grad
    assert 0.6 < sum(kept.values()) / foreseen < 1.2


def test_what_is_frozen_or_computed_again_wants_no_memory() -> None:
    config = base.configuration(EMBEDDED)

    def needed(freeze: str, **train: object) -> int:
        recipe = resolved(**train)
        settings = recipe.model.model_copy(update={"freeze": freeze})
        return memory.needed_bytes(recipe.model_copy(update={"model": settings}), config, 80)

    assert needed("feature_encoder", gradient_checkpointing=True) < needed("feature_encoder") < needed("nothing")
    assert needed("all_but_head") < needed("below:6") < needed("below:2") < needed("feature_encoder")
    assert needed("feature_encoder", precision="bf16") < needed("feature_encoder")


def test_a_batch_that_fits_stays_as_the_preset_has_it() -> None:
    assert fitted(16 * GB) == (resolved(), [])


def test_a_batch_is_halved_until_it_fits_and_a_step_hears_as_much() -> None:
    recipe, said = fitted(2 * GB, batch_s=1000.0)
    assert recipe.train.accumulate > 1 and not said
    assert recipe.train.batch_s * recipe.train.accumulate == 1000
    assert memory.needed_bytes(recipe, base.configuration(EMBEDDED), recipe.train.batch_s) <= 0.8 * 2 * GB
    shared, _ = fitted(2 * GB, processes=4, batch_s=1000.0)
    assert shared.train.batch_s > recipe.train.batch_s


def test_where_even_the_smallest_batch_is_too_large_that_is_said() -> None:
    recipe, said = fitted(GB // 10)
    assert 10 <= recipe.train.batch_s < 20
    assert "0.1 GB are free" in said[0] and "gradient_checkpointing" in said[0]


def test_a_run_that_goes_on_with_more_memory_keeps_its_batches(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = tone_recipe(tones, steps=2), tmp_path / "run"
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"batch_s": None})})
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1_000_000)
    run(recipe, out, Console(quiet=True))
    before = read_recipe(out / "recipe.toml").train
    assert before.accumulate > 1
    monkeypatch.setattr(memory, "free_bytes", lambda device: 100 * GB)
    run(recipe, out, Console())
    assert read_recipe(out / "recipe.toml").train == before
    assert "train\nalready done" in capsys.readouterr().err


def test_memory_that_is_free_is_there() -> None:
    assert 0 < memory.free_bytes(torch.device("cpu")) < 2**50
