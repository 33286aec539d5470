"""Every type of encoder: its forward pass is transformers', alone and in batches; its parts have their names."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import small_encoders
import torch
from transformers import AutoModelForCTC, AutoProcessor, SeamlessM4TFeatureExtractor

from asr_adapt.errors import InputError
from asr_adapt.model import base, encoders, forward, freezing, head, mel
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Model, Text
from asr_adapt.text.alphabet import Alphabet

ALPHABET = Alphabet.from_texts(["abc de"])


def clips() -> list[torch.Tensor]:
    """Different lengths; some of them have a mel frame without a partner."""
    rng = np.random.default_rng(0)
    return [torch.from_numpy(0.2 * rng.standard_normal(n, np.float32)) for n in (16_000, 9_160, 5_000, 12_345, 1_500)]


@pytest.fixture(scope="module", params=list(small_encoders.VARIANTS))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_encoders.write(tmp_path_factory.mktemp("checkpoint"), small_encoders.VARIANTS[request.param])


def created(checkpoint: Path, **fields: object) -> CTCModel:
    made = head.create(Model(base=str(checkpoint), **fields), ALPHABET, "art", Text(), seed=1)
    made.net.eval()
    return made


def scores(model: CTCModel) -> list[np.ndarray]:
    return forward.log_probs(model, [clip.numpy() for clip in clips()])


def test_a_batch_and_a_clip_alone_score_as_transformers_does(checkpoint: Path, tmp_path: Path) -> None:
    model = created(checkpoint)
    model.save(tmp_path / "model")
    net = AutoModelForCTC.from_pretrained(tmp_path / "model")
    extract = AutoProcessor.from_pretrained(tmp_path / "model").feature_extractor
    spread = []
    for together, clip in zip(scores(model), clips(), strict=True):
        (alone,) = forward.log_probs(model, [clip.numpy()])
        inputs = extract(clip.numpy(), sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
        with torch.no_grad():
            theirs = net(**inputs).logits[0].log_softmax(-1).numpy()
            exported = forward.alone(model, clip).log_softmax(-1).numpy()
        for ours in (together, alone, exported):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)
        spread.append(np.std(theirs, axis=0).max())
    assert max(spread) > 1e-3, "scores that do not change prove nothing"


def test_layers_that_are_run_apart_give_what_the_whole_gives(checkpoint: Path) -> None:
    model = created(checkpoint)
    with torch.inference_mode():
        features = forward.encode(model, clips())
        assert {clip.shape[1] for clip in features} == {encoders.of(model.net).channels}
        assert [len(clip) for clip in features] == [model.grid.num_frames(len(clip)) for clip in clips()]
        whole = forward.contextualise(model.net, features)
        for depth in (1, 2, 3):
            below = [forward.contextualise(model.net, [clip], until=depth)[0] for clip in features]
            above = forward.contextualise(model.net, below, depth=depth)
            for row, other, clip in zip(above, whole, features, strict=True):
                torch.testing.assert_close(row[: len(clip)], other[: len(clip)], atol=2e-5, rtol=0)


def test_gradient_checkpointing_gives_the_same_gradients(checkpoint: Path) -> None:
    found = []
    for how in (False, True):
        model = created(checkpoint)
        freezing.freeze(model.net, "feature_encoder")
        freezing.train_mode(model.net, 0)
        if how:
            model.net.gradient_checkpointing_enable({"use_reentrant": False})
        hidden = forward.contextualise(model.net, [clip.detach() for clip in forward.encode(model, clips())])
        model.net.lm_head(hidden).square().mean().backward()
        found.append({name: p.grad for name, p in model.net.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], msg=name)


def test_policies_and_layer_decay_name_the_parameters_that_are_used(checkpoint: Path) -> None:
    model = created(checkpoint)
    net, encoder = model.net, encoders.of(model.net)
    used = {name for name, _ in net.named_parameters()} - {
        f"{net.base_model_prefix}.masked_spec_embed",
        *(name for name, p in net.named_parameters() if any(p is q for m in encoder.unused for q in m.parameters())),
    }
    trained: dict[str, set[str]] = {}
    for policy, depth in (("nothing", None), ("feature_encoder", 0), ("below:2", 2), ("all_but_head", 3)):
        freezing.freeze(net, policy)
        freezing.train_mode(net, depth)
        net.zero_grad(set_to_none=True)
        features = forward.encode(model, clips())
        hidden = forward.contextualise(net, features)
        net.lm_head(hidden).square().mean().backward()
        trained[policy] = {name for name, p in net.named_parameters() if p.requires_grad} & used
        assert trained[policy] == {name for name, p in net.named_parameters() if p.grad is not None}, policy
        assert not any(m.training for m in net.modules() if isinstance(m, torch.nn.BatchNorm1d))
    assert trained["nothing"] == used
    of_encoder = {id(p) for module in encoder.feature_encoder for p in module.parameters()}
    assert used - trained["feature_encoder"] == {n for n, p in net.named_parameters() if id(p) in of_encoder}
    assert all("encoder.layers.2." in n or "lm_head" in n or "encoder.layer_norm" in n for n in trained["below:2"])
    assert trained["all_but_head"] == {"lm_head.weight", "lm_head.bias"}

    above = {id(p): 2 - number for number, layer in enumerate(encoder.layers) for p in layer.parameters()}
    above |= {id(p): 0 for module in encoder.final for p in module.parameters()}
    for name, parameter in net.base_model.named_parameters():
        assert encoder.layers_above(f"{net.base_model_prefix}.{name}") == above.get(id(parameter), 3), name


def test_lora_changes_every_matrix_of_every_layer_and_is_merged(checkpoint: Path) -> None:
    model = created(checkpoint, adapter="lora", adapter_size=4)
    before = scores(model)
    torch.manual_seed(0)
    for name, parameter in model.net.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.2)
    trained = copy.deepcopy(model.net)
    hidden = forward.contextualise(trained, [clip.detach() for clip in forward.encode(model, clips())])
    trained.lm_head(hidden).square().mean().backward()
    added = {name: p for name, p in trained.named_parameters() if ".lora_" in name}
    assert added and all(p.grad is not None and bool(p.grad.any()) for p in added.values())
    matrices = {n for n, m in created(checkpoint).net.named_modules() if isinstance(m, torch.nn.Linear)
                and ".layers." in n and "gru_rel_pos" not in n}  # fmt: skip
    assert matrices <= {name.partition(".lora_")[0] for name in added}
    assert max(abs(a - b).max() for a, b in zip(scores(model), before, strict=True)) > 0.01
    for ours, merged in zip(scores(model), scores(model.merged()), strict=True):
        np.testing.assert_allclose(ours, merged, atol=2e-5)


def test_a_checkpoint_whose_configuration_describes_more_than_its_weights_is_refused(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    kind = encoders.KINDS[config["model_type"]]
    actual = sum(p.numel() for p in created(checkpoint).net.parameters())
    assert 0.8 < kind.parameters(base.configuration(Model(base=str(checkpoint)))) / actual < 1.1


@pytest.mark.parametrize("name", [n for n in small_encoders.CONFIGURATIONS if n != "wav2vec2"])
def test_mms_is_refused_where_layers_have_no_place_for_it(name: str, tmp_path: Path) -> None:
    small_encoders.write(tmp_path, small_encoders.CONFIGURATIONS[name])
    with pytest.raises(InputError, match=r"no place for MMS's layers.*lora works with it"):
        base.configuration(Model(base=str(tmp_path), adapter="mms"))


@pytest.mark.parametrize(
    "model_type", ["whisper", "seamless_m4t", "speech_to_text", "parakeet_ctc", "sew", "sew-d", "llama"]
)
def test_what_is_no_such_encoder_is_refused_with_what_to_use(model_type: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(InputError) as refused:
        base.configuration(Model(base=str(tmp_path)))
    said = str(refused.value)
    assert "\n" not in said and f"is of type '{model_type}'" in said
    assert all(name in said for name in encoders.KINDS), "the types that can be used are named"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"add_adapter": True}, "has a convolutional adapter on top"),
        ({"feature_projection_input_dim": 80}, "reads frames of 80 values"),
    ],
)
def test_a_variant_with_other_parts_is_refused(change: dict, said: str, tmp_path: Path) -> None:
    config = small_encoders.CONFIGURATIONS["wav2vec2-bert"].to_dict() | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=said):
        base.configuration(Model(base=str(tmp_path)))


@pytest.mark.parametrize("samples", [560, 719, 720, 8_000, 16_160])
def test_mel_frames_are_those_of_transformers_feature_extractor(samples: int) -> None:
    clip = 0.1 * np.random.default_rng(0).standard_normal(samples, np.float32) + 0.05
    theirs = SeamlessM4TFeatureExtractor()(clip, sampling_rate=16_000, return_tensors="pt")
    for dtype in (torch.float64, torch.float32):
        ours = mel.stacked(torch.from_numpy(clip), whole=True, dtype=dtype)
        np.testing.assert_allclose(ours.numpy(), theirs.input_features[0].numpy(), atol=5e-4)
    assert mel.paired_frames(samples) == int(theirs.attention_mask.sum())
    assert len(mel.stacked(torch.from_numpy(clip), whole=False)) == mel.paired_frames(samples)
