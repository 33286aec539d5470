"""The model: head, freezing, forward pass, saving and loading, equality with transformers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import resolved, sentences, tone_recipe, write_base
from transformers import Wav2Vec2ForCTC

from asr_adapt.corpora.prepared import load
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import InputError
from asr_adapt.model import base as base_model
from asr_adapt.model import forward, freezing, head
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Model, Text
from asr_adapt.stages import train
from asr_adapt.stages.prepare import prepare
from asr_adapt.text.alphabet import Alphabet

ALPHABET = Alphabet.from_texts(sentences(20, seed=1))


def created(base: Path | str, **fields: object) -> CTCModel:
    spec = Model(base=str(base), hidden_size=64, layers=1, **fields)
    return head.create(spec, ALPHABET, "art", Text(), seed=1)


def clips(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(rng.integers(400, 40_000)).astype(np.float32) / 4 for _ in range(count)]


def test_a_batch_scores_each_clip_as_it_does_alone(base: Path) -> None:
    adapted = created(base)
    adapted.net.eval()
    waveforms = clips(7)
    for together, waveform in zip(forward.log_probs(adapted, waveforms), waveforms, strict=True):
        (alone,) = forward.log_probs(adapted, [waveform])
        np.testing.assert_allclose(together, alone, atol=2e-5)
        assert together.shape == (adapted.grid.num_frames(len(waveform)), len(ALPHABET))


def test_scores_are_those_of_transformers(base: Path) -> None:
    adapted = created(base)
    adapted.net.eval()
    (waveform,) = clips(1)
    (ours,) = forward.log_probs(adapted, [waveform])
    with torch.no_grad():
        theirs = adapted.net(forward.normalised(torch.from_numpy(waveform))[None]).logits[0].log_softmax(-1)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-5)


def test_the_positional_convolution_and_its_gradients_are_those_of_transformers(base: Path) -> None:
    ours = base_model.from_pretrained(base, pickled_weights=False).wav2vec2.encoder.pos_conv_embed
    theirs = Wav2Vec2ForCTC.from_pretrained(base).wav2vec2.encoder.pos_conv_embed
    hidden = torch.randn(3, 21, ours.conv.in_channels)
    for each in (ours, theirs):
        each(hidden).square().sum().backward()
    torch.testing.assert_close(ours(hidden), theirs(hidden))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None and float(mine.grad.abs().sum()) > 0
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_normalisation_is_that_of_transformers_feature_extractor() -> None:
    from transformers import Wav2Vec2FeatureExtractor

    (waveform,) = clips(1)
    theirs = Wav2Vec2FeatureExtractor(do_normalize=True)(waveform, sampling_rate=16_000).input_values[0]
    np.testing.assert_allclose(forward.normalised(torch.from_numpy(waveform)).numpy(), theirs, atol=1e-6)


def test_the_new_head_fits_the_alphabet_and_the_rest_is_the_checkpoints(base: Path) -> None:
    from transformers import Wav2Vec2ForCTC

    adapted, original = created(base), Wav2Vec2ForCTC.from_pretrained(base)
    assert adapted.net.lm_head.out_features == adapted.net.config.vocab_size == len(ALPHABET)
    assert adapted.net.config.pad_token_id == 0
    for (name, ours), (_, theirs) in zip(
        adapted.net.wav2vec2.named_parameters(), original.wav2vec2.named_parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name


def test_letters_that_the_base_writes_start_from_its_rows_of_the_head(tones: Path, tmp_path: Path) -> None:
    first = created("none")
    torch.nn.init.normal_(first.net.lm_head.bias)
    first.save(tmp_path / "base")
    wanted = Alphabet.from_texts(["bà ŋ zž"])  # à has no row, and starts from a; z and ž are new
    spec = Model(base=str(tmp_path / "base"))
    second = head.create(spec, wanted, "xx", Text(), seed=2)
    old, new = first.net.lm_head, second.net.lm_head
    pairs = {"<pad>": "<pad>", "|": "|", "b": "b", "à": "a", "ŋ": "ŋ"}
    assert head.inherited(spec, wanted, "art") == {
        wanted.units.index(unit): first.alphabet.units.index(start) for unit, start in pairs.items()
    }
    for unit, start in pairs.items():
        label, old_label = wanted.units.index(unit), first.alphabet.units.index(start)
        assert torch.equal(new.weight[label], old.weight[old_label]) and new.bias[label] == old.bias[old_label]
    assert all(new.bias[wanted.units.index(unit)] == 0 for unit in "zž")
    assert second.net.config.vocab_size == new.out_features == len(wanted)


def test_a_base_of_others_gives_no_rows(base: Path) -> None:
    assert head.inherited(Model(base=str(base)), ALPHABET, "art") == {}


def test_a_checkpoint_in_half_precision_is_loaded_in_float32(tmp_path: Path) -> None:
    half = created("none")
    half.net.half()
    half.save(tmp_path / "half")
    assert {p.dtype for p in CTCModel.load(tmp_path / "half").net.parameters()} == {torch.float32}
    assert {p.dtype for p in created(tmp_path / "half").net.parameters()} == {torch.float32}


def test_the_same_seed_gives_the_same_head(base: Path) -> None:
    assert torch.equal(created(base).net.lm_head.weight, created(base).net.lm_head.weight)


def test_no_dropout_and_no_layer_drop_where_none_is_asked_for(base: Path) -> None:
    net = created(base).net.train()
    assert net.config.layerdrop == 0
    waveform = torch.from_numpy(clips(1)[0])[None]
    net.config.mask_time_prob = 0.0
    assert torch.equal(net(waveform).logits, net(waveform).logits)


def test_dropout_that_is_asked_for_is_there(base: Path) -> None:
    net = created(base, dropout=0.5).net.train()
    net.config.mask_time_prob = 0.0
    waveform = torch.from_numpy(clips(1)[0])[None]
    assert not torch.equal(net(waveform).logits, net(waveform).logits)


def test_one_step_with_the_default_policy_moves_attention_and_no_convolution(
    base: Path, tones: Path, tmp_path: Path, console: object
) -> None:
    recipe = tone_recipe(tones, str(base), steps=1)
    recipe = resolved(recipe.model_copy(update={"model": Model(base=str(base))}))
    assert recipe.model.freeze == "feature_encoder"
    from asr_adapt import corpora

    summary = prepare(recipe, corpora.read(tones, "art"), FrameGrid(), tmp_path / "data", console)
    adapted = head.create(recipe.model, Alphabet(summary.alphabet), "art", Text(), seed=1)
    before = {name: value.clone() for name, value in adapted.net.state_dict().items()}
    train.train(recipe, adapted, load(tmp_path / "data", "train"), load(tmp_path / "data", "dev"), tmp_path, console)
    moved = {name for name, value in adapted.net.state_dict().items() if not torch.equal(value, before[name])}
    assert not any("feature_extractor" in name for name in moved)
    assert "wav2vec2.encoder.layers.0.attention.q_proj.weight" in moved
    assert "lm_head.weight" in moved


@pytest.mark.parametrize(
    ("policy", "trained"),
    [
        ("feature_encoder", {"feature projection", "positional convolution", "layers 1 to 2", "head"}),
        ("below:1", {"layer 2", "head"}),
        ("all_but_head", {"head"}),
        (
            "nothing",
            {"feature encoder", "feature projection", "positional convolution", "layers 1 to 2", "head"},
        ),
    ],
)
def test_a_policy_trains_what_its_name_says(base: Path, policy: str, trained: set[str]) -> None:
    net = created(base).net
    freezing.freeze(net, policy)
    table = freezing.trainable_table(net)
    assert {name.partition(" (")[0] for name, total, trains in table if trains == total} == trained
    frozen = {name.partition(" (")[0] for name, _, trains in table if trains == 0}
    assert frozen == {name.partition(" (")[0] for name, _, _ in table} - trained


@pytest.mark.parametrize(("norm", "where"), [("group", "below"), ("layer", "above")])
def test_the_norm_beside_the_layers_is_frozen_where_it_stands_below_them(
    tmp_path: Path, norm: str, where: str
) -> None:
    net = created(write_base(tmp_path / "base", norm, layers=3)).net
    freezing.freeze(net, "below:2")
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert all(
        name in frozen for name, _ in net.named_parameters() if re.search(r"feature_|pos_conv|layers\.[01]", name)
    )
    assert not any("encoder.layers.2" in name or "lm_head" in name for name in frozen)
    assert ("wav2vec2.encoder.layer_norm.weight" in frozen) is (where == "below")


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_layers_that_are_run_apart_give_what_the_whole_gives(tmp_path: Path, norm: str) -> None:
    adapted = created(write_base(tmp_path / "base", norm, layers=4))
    net = adapted.net.eval()
    with torch.inference_mode():
        features = forward.encode(adapted, [torch.from_numpy(clip) for clip in clips(4)])
        whole = forward.contextualise(net, features)
        for depth in range(1, 5):
            alone = [forward.contextualise(net, [f], until=depth)[0] for f in features]
            above = forward.contextualise(net, alone, depth=depth)
            for row, wanted, f in zip(above, whole, features, strict=True):
                torch.testing.assert_close(row[: len(f)], wanted[: len(f)], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_between_layers_a_clips_own_mean_stands_for_what_is_masked(tmp_path: Path, norm: str) -> None:
    net = created(write_base(tmp_path / "base", norm, layers=3)).net.eval()
    states = [torch.randn(9, 64) + 5, torch.randn(6, 64)]
    over_time, over_features = torch.zeros(2, 9, dtype=torch.bool), torch.zeros(2, 64, dtype=torch.bool)
    over_time[0, 2:5], over_features[1, 7] = True, True
    replaced = [states[0].clone(), states[1].clone()]
    replaced[0][2:5] = states[0].mean(0)
    replaced[1][:, 7] = states[1][:, 7].mean()
    with torch.inference_mode():
        masked = forward.contextualise(net, states, (over_time, over_features), depth=2)
        wanted = forward.contextualise(net, replaced, depth=2)
    for row, other, given in zip(masked, wanted, states, strict=True):
        torch.testing.assert_close(row[: len(given)], other[: len(given)], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("depth", [2, 17])
def test_more_layers_than_can_be_frozen_are_refused_with_the_range(tmp_path: Path, depth: int) -> None:
    spec = Model(base=str(write_base(tmp_path / "base", "layer")), freeze=f"below:{depth}")
    with pytest.raises(InputError, match=r"the base model has 2\. Give below:1, or all_but_head"):
        base_model.configuration(spec)


def test_a_small_model_from_nothing_has_a_frame_every_40_ms() -> None:
    adapted = created("none")
    assert adapted.frame_s == pytest.approx(0.04)
    assert adapted.shortest_clip == 1200
    (scores,) = forward.log_probs(adapted, [np.zeros(1200, np.float32)])
    assert scores.shape == (1, len(ALPHABET))


def test_its_first_convolution_starts_as_a_mel_filterbank() -> None:
    weight = created("none").net.wav2vec2.feature_extractor.conv_layers[0].conv.weight.detach()[:, 0]  # (256, 240)
    peaks = torch.fft.rfft(weight, 4000).abs().argmax(dim=1) * (16_000 / 4000)  # Hz
    bands = peaks.reshape(-1, 4)
    assert torch.all(bands.max(dim=1).values - bands.min(dim=1).values <= 40)  # four phases of one band
    assert torch.all(bands[1:, 0] >= bands[:-1, 0])
    assert bands[0, 0] < 150 and bands[-1, 0] > 7000


def test_save_and_load_give_the_same_scores_and_settings(base: Path, tmp_path: Path) -> None:
    adapted = created(base)
    adapted.net.eval()
    adapted.save(tmp_path / "model")
    again = CTCModel.load(tmp_path / "model")
    assert (again.alphabet, again.language, again.text) == (adapted.alphabet, adapted.language, adapted.text)
    assert again.normalise_waveform is adapted.normalise_waveform
    waveforms = clips(2)
    for ours, theirs in zip(forward.log_probs(adapted, waveforms), forward.log_probs(again, waveforms), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_saving_again_replaces_the_folder_and_leaves_nothing_else(tmp_path: Path) -> None:
    created("none").save(tmp_path / "model")
    (tmp_path / "model" / "stale").touch()
    created("none").save(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not (tmp_path / "model" / "stale").exists()


def test_a_newer_format_is_refused_with_the_version_that_is_needed(tmp_path: Path) -> None:
    created("none").save(tmp_path / "model")
    card = tmp_path / "model" / "asr_adapt.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"format_version": 99, "asr_adapt": "7.1"}))
    with pytest.raises(InputError, match=r"Install asr-adapt 7\.1 or newer"):
        CTCModel.load(tmp_path / "model")


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"asr_adapt\.json is missing"):
        CTCModel.load(tmp_path)


def test_truncated_weights_are_refused_in_one_line(base: Path, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "cut", "layer")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="but the weights are only 1,000 bytes") as caught:
        created(folder)
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_refused_unless_asked_for(base: Path, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "pickled", "layer")
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.pickled_weights true"):
        created(folder)
    assert created(folder, pickled_weights=True).net.config.hidden_size == 64


@pytest.mark.parametrize(
    ("base_name", "said"),
    [("./nowhere", "no folder './nowhere'"), ("/nowhere/at/all", "no folder '/nowhere/at/all'")],
)
def test_a_base_folder_that_is_not_there_is_named(base_name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        base_model.configuration(Model(base=base_name))


def test_a_hub_name_without_a_network_is_said_to_be_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    with pytest.raises(InputError, match="offline"):
        base_model.configuration(Model(base="nobody/no-such-model"))


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match=r"of type 'bert' and is no encoder .* Use wav2vec2 .* hubert"):
        base_model.configuration(Model(base=str(tmp_path)))
