"""model.freeze = auto: the depth that probes transcribe best from, and when nothing can be chosen."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import write_base, write_corpus

from asr_adapt import corpora
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.model import head
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Model, Text
from asr_adapt.records import Utterance
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.training import depth, layer_probes
from asr_adapt.training.layer_probes import LayerProbes

WORDS = ["kahu", "moana", "rangi", "whetu", "puke", "awa", "toka", "manu", "rakau", "ahi"]


def split(name: str, clips: int) -> SpeechSplit:
    texts = [f"{WORDS[i % 10]} {WORDS[i * 7 % 10]} {WORDS[i * 3 % 9]}" for i in range(clips)]
    utterances = [Utterance(id=f"{name}{i}", audio="a.wav", language="mi", duration_s=2.0) for i in range(clips)]
    return SpeechSplit(name, utterances, texts, lambda index: np.zeros(32_000, np.float32))


def of_layers(count: int) -> CTCModel:
    return SimpleNamespace(net=SimpleNamespace(config=SimpleNamespace(num_hidden_layers=count)))  # type: ignore[return-value]


class Heard(LayerProbes):
    """Probes that write the last letters of a text wrong: fewer of them, the nearer a layer is to `best`."""

    best = 4

    def __init__(
        self, model: CTCModel, train: SpeechSplit, dev: SpeechSplit, layers: Sequence[int], *_: object
    ) -> None:
        self.layers, self._split, self.labels = layers, dev, []

    def fitted(self, layer: int, seed: int, *_: object) -> int:  # type: ignore[override]
        return abs(layer - self.best) + seed

    def texts(self, layer: int, fitted: int) -> list[str]:  # type: ignore[override]
        return [text[: len(text) - fitted] + "x" * fitted for text in self._split.references]


class Deaf(Heard):
    def texts(self, layer: int, fitted: int) -> list[str]:  # type: ignore[override]
        return ["a a a"] * len(self._split)


def test_the_depth_with_the_fewest_errors_is_chosen_and_all_are_named(
    monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    monkeypatch.setattr(depth, "LayerProbes", Heard)
    found = depth.best(of_layers(8), split("train", 40), split("dev", 25), "x", console)
    assert list(found.cers) == [0, 2, 4, 6] and min(found.cers, key=lambda layer: found.cers[layer]) == 4
    assert found.policy == "below:4" and found.inputs == "x"
    assert found.reason.startswith(
        "auto: CER on dev of probes on 1.3 min of train, by the features of the feature enc"
    )
    assert f"layer 6 {found.cers[6]:.3f}" in found.reason

    monkeypatch.setattr(Heard, "best", 0)
    assert depth.best(of_layers(24), split("train", 40), split("dev", 25), "x", console).policy == "feature_encoder"


def test_where_nothing_can_be_chosen_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, console: Console) -> None:
    monkeypatch.setattr(depth, "LayerProbes", Deaf)
    for layers, train, dev, said in (
        (1, 40, 25, "a model of one layer has no other depth"),
        (8, 40, 6, "dev has 6 clips, 20 are needed to measure a depth"),
        (8, 40, 25, "probes learn nothing from 1.3 min of this speech at any depth"),
    ):
        found = depth.best(of_layers(layers), split("train", train), split("dev", dev), "x", console)
        assert (found.policy, found.reason, found.cers) == ("feature_encoder", f"auto: {said}", {})


def test_a_sample_is_the_same_each_time_and_as_long_as_was_asked_for() -> None:
    speech = split("train", 400)
    one, other = (depth._sampled(speech, 120.0) for _ in range(2))
    assert [u.id for u in one.utterances] == [u.id for u in other.utterances]
    assert sum(u.duration_s or 0 for u in one.utterances) == pytest.approx(120, abs=2.1)
    assert len(depth._sampled(speech, 1.0)) == layer_probes.LEAST_CLIPS


def test_every_depth_of_a_model_has_features_for_its_probes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    monkeypatch.setattr(layer_probes, "STEPS", 2)
    read = corpora.read(write_corpus(tmp_path / "corpus", train=20, dev=20), "art")
    train, dev = (
        SpeechSplit.on_disk(name, [u for u in read if u.split == name], str.strip) for name in ("train", "dev")
    )
    alphabet = Alphabet.from_texts(train.references)
    model = head.create(Model(base=str(write_base(tmp_path / "base", "layer"))), alphabet, "art", Text(), 1)
    probes = LayerProbes(model, train, dev, [0, 1], "tones", console)
    assert [probes.train[layer][0].shape[1] for layer in (0, 1)] == [32, 64], "channels, hidden size"
    assert len(probes.texts(0, probes.fitted(0, 0))) == 20
    assert depth.best(model, train, dev, "x", console).policy == "feature_encoder", "two steps teach nothing"
