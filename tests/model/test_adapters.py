"""LoRA and MMS's layers, layer-wise rates, gradient checkpointing: on small untrained checkpoints."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import resolved, say, tone_recipe, write_base
from safetensors.torch import load_file
from transformers import Wav2Vec2ForCTC, pipeline

from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import base as bases
from asr_adapt.model import forward, freezing, head
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Model, Recipe, Text, recipe_from
from asr_adapt.stages import train
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.workflows.run import run

ALPHABET = Alphabet.from_texts(["abc de"])


@pytest.fixture(scope="module")
def layer_norm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "layer", "layer")


def with_adapter(tones: Path, base: Path, adapter: str, **train: object) -> Recipe:
    made = tone_recipe(tones, str(base), **{"steps": 4, "head_steps": 1, "eval_steps": 2} | train)
    return made.model_copy(update={"model": Model(base=str(base), adapter=adapter, adapter_size=4)})


def made(base: Path, **spec: object) -> CTCModel:
    adapted = head.create(Model(base=str(base), **spec), ALPHABET, "art", Text(), seed=1)
    adapted.net.eval()
    return adapted


@pytest.mark.parametrize("adapter", ["lora", "mms"])
def test_an_adapter_begins_by_changing_nothing(layer_norm: Path, adapter: str) -> None:
    plain, adapted = made(layer_norm), made(layer_norm, adapter=adapter)
    left, right = (forward.log_probs(one, [say("abc")])[0] for one in (plain, adapted))
    np.testing.assert_allclose(left, right, atol=1e-5)


@pytest.mark.parametrize("adapter", ["lora", "mms"])
def test_the_adapter_and_the_head_alone_are_trained(layer_norm: Path, adapter: str) -> None:
    adapted = made(layer_norm, adapter=adapter, adapter_size=4)
    freezing.freeze(adapted.net, "feature_encoder", adapter)
    trained = {name for name, p in adapted.net.named_parameters() if p.requires_grad}
    own = ".lora_" if adapter == "lora" else ".adapter_layer."
    assert all(own in name or name.startswith("lm_head") for name in trained)
    assert sum(own in name for name in trained) >= 2 * 2 and any(name.startswith("lm_head") for name in trained)
    assert dict((part, n) for part, _, n in freezing.trainable_table(adapted.net))["layers 1 to 2"] > 0


def test_the_adapter_layers_of_a_checkpoint_are_frozen_with_their_layer(layer_norm: Path) -> None:
    net = made(layer_norm, adapter="mms", adapter_size=4).net
    freezing.freeze(net, "below:1")
    trained = {name: p.requires_grad for name, p in net.named_parameters() if ".adapter_layer." in name}
    assert len(trained) >= 2 * 4 and all(trains is ("layers.1." in name) for name, trains in trained.items())


@pytest.mark.usefixtures("tones_are_speech")
@pytest.mark.parametrize("adapter", ["lora", "mms"])
def test_a_run_with_an_adapter_leaves_a_whole_model_and_the_adapter_alone(
    layer_norm: Path, tones: Path, tmp_path: Path, adapter: str
) -> None:
    out = tmp_path / "run"
    run(with_adapter(tones, layer_norm, adapter, learning_rate=1e-2), out, Console(quiet=True))
    transcriber = Transcriber.from_folder(out / "model")
    clip = say("abc de")
    ours = transcriber.transcribe((clip, 16_000)).text
    recognise = pipeline("automatic-speech-recognition", str(out / "model"))
    assert ours == recognise({"raw": clip, "sampling_rate": 16_000})["text"]
    names = set(load_file(out / "model/model.safetensors"))
    assert not any(part in name for name in names for part in ("lora", "base_layer", "original_module"))
    whole = forward.log_probs(transcriber.model, [clip])[0]

    units = Alphabet(tuple(json.loads((out / "model/asr_adapt.json").read_text())["alphabet"]))
    other = head.create(Model(base=str(layer_norm)), units, "art", Text(), seed=5)
    other.net.eval()
    assert not np.allclose(forward.log_probs(other, [clip])[0], whole, atol=1e-3)
    if adapter == "lora":
        from peft import PeftModel

        assert {p.name for p in (out / "adapter").iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
        PeftModel.from_pretrained(other.net, out / "adapter")
    else:
        kept = load_file(out / "adapter" / "adapter.art.safetensors")
        other = head.create(Model(base=str(layer_norm), adapter="mms", adapter_size=4), units, "art", Text(), seed=5)
        assert not other.net.load_state_dict(kept, strict=False).unexpected_keys
    other.net.eval()
    np.testing.assert_allclose(forward.log_probs(other, [clip])[0], whole, atol=1e-4)


def test_a_run_with_lora_goes_on_with_the_same_weights(layer_norm: Path, tones: Path, tmp_path: Path) -> None:
    recipe = with_adapter(tones, layer_norm, "lora")
    for name in "ab":
        run(recipe, tmp_path / name, Console(quiet=True))
    again = tmp_path / "b"
    (again / "model" / "model.safetensors").unlink()
    for path in (again / "checkpoints" / "step-00000004").iterdir():
        path.write_bytes(b"")  # the newest is damaged: steps 3 and 4 are done again
    run(recipe, again, Console(quiet=True))
    left, right = (load_file(tmp_path / name / "model/model.safetensors") for name in "ab")
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_mmss_layers_are_refused_where_there_is_no_place_for_them(tmp_path: Path) -> None:
    group_norm = write_base(tmp_path / "group", "group")
    with pytest.raises(InputError, match=r"model\.adapter: .*no place for MMS's layers.*lora works"):
        bases.configuration(Model(base=str(group_norm), adapter="mms"))
    assert bases.configuration(Model(base=str(group_norm), adapter="lora"))


def test_mms_weights_keep_the_adapters_that_they_have(layer_norm: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = Wav2Vec2ForCTC.from_pretrained(layer_norm, adapter_attn_dim=8)
    net.save_pretrained(tmp_path / "mms")
    (tmp_path / "mms" / "vocab.json").write_text('{"<pad>": 0, "|": 1, "a": 2}')  # one language's model
    theirs = net.state_dict()["wav2vec2.encoder.layers.0.adapter_layer.linear_2.weight"]
    adapted = made(tmp_path / "mms", adapter="mms", adapter_size=4)
    ours = adapted.net.state_dict()["wav2vec2.encoder.layers.0.adapter_layer.linear_2.weight"]
    assert theirs.abs().sum() > 0 and torch.equal(ours, theirs)


@pytest.mark.parametrize("fields", [{"base": "none"}, {"base": "embedded-small", "freeze": "nothing"}])
def test_an_adapter_without_a_base_or_with_another_freezing_is_refused(fields: dict) -> None:
    with pytest.raises(InputError, match=r"model: .*model\.adapter requires a base model"):
        recipe_from({"language": "mi", "model": {"adapter": "lora", **fields}}, "here")


def rates(adapted: CTCModel, recipe: Recipe) -> dict[str, float]:
    """Return the rate of each parameter at the peak."""
    conf = resolved(recipe).train
    groups = train._groups(adapted, conf)
    names = {id(p): name for name, p in adapted.net.named_parameters()}
    peak = {"head": conf.head_learning_rate, "body": conf.learning_rate}
    return {names[id(p)]: peak[g["name"]] * conf.layer_decay ** g["below"] for g in groups for p in g["params"]}


def test_each_layer_learns_slower_than_the_one_above_it(base: Path, tones: Path) -> None:
    adapted = made(base)
    found = rates(
        adapted, tone_recipe(tones, str(base), learning_rate=1e-3, head_learning_rate=4e-3, layer_decay=0.5)
    )
    body = "wav2vec2.encoder.layers.{}.attention.q_proj.weight"
    assert found["lm_head.weight"] == 4e-3
    assert [found[body.format(i)] for i in (1, 0)] == [1e-3, 0.5e-3]
    assert found["wav2vec2.feature_projection.projection.weight"] == 0.25e-3
    top = "encoder.layer_norm.weight"
    assert found[f"wav2vec2.{top}"] == (1e-3 if adapted.net.config.do_stable_layer_norm else 0.25e-3)


def test_without_a_decay_the_groups_are_those_of_head_and_body(base: Path, tones: Path) -> None:
    assert len(train._groups(made(base), resolved(tone_recipe(tones)).train)) == 4


def test_gradient_checkpointing_trains_the_same_weights(layer_norm: Path, tones: Path, tmp_path: Path) -> None:
    found = []
    for often in (False, True):
        recipe = tone_recipe(tones, str(layer_norm), steps=3, gradient_checkpointing=often)
        run(recipe, tmp_path / str(often), Console(quiet=True))
        found.append(load_file(tmp_path / str(often) / "model/model.safetensors"))
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])
