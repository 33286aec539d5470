"""The feature cache: equal to what it replaces, keyed by weights and clips, resumed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TESTS, say, sentences

from asr_adapt.console import Console
from asr_adapt.model import forward, head
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Model, Text
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.training import feature_cache
from asr_adapt.training.feature_cache import Features

CLIPS = [say(text) for text in sentences(6, seed=3)]
LENGTHS = np.array([len(clip) for clip in CLIPS])


@pytest.fixture
def adapted(base: Path) -> CTCModel:
    made = head.create(Model(base=str(base)), Alphabet.from_texts(["ab"]), "art", Text(), seed=1)
    made.net.eval()
    return made


class Heard:
    """The clips, and how often each was asked for."""

    def __init__(self) -> None:
        self.times = [0] * len(CLIPS)

    def clip(self, index: int) -> np.ndarray:
        self.times[index] += 1
        return CLIPS[index].copy()


def kept(adapted: CTCModel, depth: int, folder: Path) -> tuple[Features, list[int]]:
    heard = Heard()
    found = feature_cache.cached(adapted, depth, heard.clip, LENGTHS, "", folder, Console(quiet=True))
    assert found is not None
    return found, heard.times


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_what_is_kept_is_what_each_clip_says_alone(adapted: CTCModel, depth: int, tmp_path: Path) -> None:
    found, times = kept(adapted, depth, tmp_path)
    assert len(found) == len(CLIPS) and times == [1] * len(CLIPS)
    for i, clip in enumerate(CLIPS):
        with torch.inference_mode():
            (said,) = forward.encode(adapted, [torch.from_numpy(clip)])
            if depth:
                said = forward.contextualise(adapted.net, [said], until=depth)[0]
        np.testing.assert_allclose(found[i].astype(np.float32), said.numpy(), atol=2e-3, rtol=1e-3)


def test_it_is_computed_once(adapted: CTCModel, tmp_path: Path) -> None:
    first, _ = kept(adapted, 0, tmp_path)
    second, times = kept(adapted, 0, tmp_path)
    assert times == [0] * len(CLIPS)
    assert all(np.array_equal(first[i], second[i]) for i in range(len(CLIPS)))


def test_with_other_weights_it_is_computed_again(adapted: CTCModel, tmp_path: Path) -> None:
    before, _ = kept(adapted, 0, tmp_path)
    copy = before[0].copy()
    with torch.no_grad():
        adapted.net.wav2vec2.feature_extractor.conv_layers[-1].conv.weight.mul_(1.5)
    after, times = kept(adapted, 0, tmp_path)
    assert times == [1] * len(CLIPS)
    assert not np.array_equal(copy, after[0])


@pytest.mark.parametrize(("layer", "times"), [(0, 1), (1, 0)])
def test_the_weights_of_the_frozen_layers_alone_decide_whether_it_is_the_same(
    adapted: CTCModel, tmp_path: Path, layer: int, times: int
) -> None:
    kept(adapted, 1, tmp_path)
    with torch.no_grad():
        adapted.net.wav2vec2.encoder.layers[layer].feed_forward.output_dense.weight.mul_(1.5)
    assert kept(adapted, 1, tmp_path)[1] == [times] * len(CLIPS)


def test_values_that_fp16_cannot_hold_are_not_kept(
    adapted: CTCModel, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with torch.no_grad():
        adapted.net.wav2vec2.encoder.layers[0].feed_forward.output_dense.bias.fill_(1e6)
    if not adapted.net.config.do_stable_layer_norm:  # there a norm follows
        adapted.net.wav2vec2.encoder.layers[0].final_layer_norm.bias.data.fill_(1e6)
    found = feature_cache.cached(adapted, 1, Heard().clip, LENGTHS, "", tmp_path, Console())
    assert found is None and not list(tmp_path.iterdir())
    assert "the output of layer 1 has values that fp16 cannot hold" in capsys.readouterr().err


@pytest.mark.parametrize("harm", ["changed", "cut", "card"])
def test_a_damaged_cache_is_computed_again(adapted: CTCModel, tmp_path: Path, harm: str) -> None:
    right = kept(adapted, 0, tmp_path)[0][2].copy()
    path, card = tmp_path / "encoder.f16", tmp_path / "encoder.json"
    data = bytearray(path.read_bytes())
    if harm == "changed":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif harm == "cut":
        path.write_bytes(data[:-2])
    else:
        card.write_text("{")
    found, times = kept(adapted, 0, tmp_path)
    assert times == [1] * len(CLIPS)
    assert np.array_equal(found[2], right)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["encoder.f16", "encoder.json"]


def test_what_was_interrupted_is_gone_on_with(adapted: CTCModel, tmp_path: Path) -> None:
    whole = kept(adapted, 0, tmp_path / "whole")[0]
    heard = Heard()

    def stopped(index: int) -> np.ndarray:
        if index == 4:
            raise KeyboardInterrupt
        return CLIPS[index].copy()

    with pytest.raises(KeyboardInterrupt):
        feature_cache.cached(adapted, 0, stopped, LENGTHS, "", tmp_path / "again", Console(quiet=True))
    (partial,) = (tmp_path / "again").iterdir()
    with partial.open("ab") as file:
        file.write(b"half a clip")
    found = feature_cache.cached(adapted, 0, heard.clip, LENGTHS, "", tmp_path / "again", Console(quiet=True))
    assert found is not None and heard.times == [0, 0, 0, 0, 1, 1]
    assert all(np.array_equal(found[i], whole[i]) for i in range(len(CLIPS)))


def test_without_room_nothing_is_kept(
    adapted: CTCModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    heard = Heard()
    found = feature_cache.cached(adapted, 0, heard.clip, LENGTHS, "", tmp_path, Console())
    assert found is None and not any(heard.times)
    assert "no disk space" in capsys.readouterr().err


def test_a_disk_that_fills_while_it_is_written_is_one_line_and_what_is_whole_is_gone_on_with(
    adapted: CTCModel, tmp_path: Path
) -> None:
    whole = kept(adapted, 0, tmp_path / "whole")[0]
    script = f"""
import resource, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(TESTS)!r}]
from pathlib import Path
from test_feature_cache import CLIPS, LENGTHS
from asr_adapt.model import head
from asr_adapt.training import feature_cache
from asr_adapt.cli import one_line_errors
from asr_adapt.recipe import Model, Text
from asr_adapt.console import Console
from asr_adapt.text.alphabet import Alphabet
made = head.create(Model(base=sys.argv[2]), Alphabet.from_texts(["ab"]), "art", Text(), seed=1)
made.net.eval()
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))
with one_line_errors():
    feature_cache.cached(made, 0, lambda i: CLIPS[i].copy(), LENGTHS, "", Path(sys.argv[1]), Console(quiet=True))
"""
    base = tmp_path / "base"
    adapted.net.save_pretrained(base)
    command = [sys.executable, "-c", script, str(tmp_path / "full"), str(base)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "encoder.f16: cannot be written: the file exceeds the size limit" in done.stderr
    assert "--train.cached_copies 0" in done.stderr and done.stderr.count("\n") == 1
    heard = Heard()
    found = feature_cache.cached(adapted, 0, heard.clip, LENGTHS, "", tmp_path / "full", Console(quiet=True))
    assert found is not None and all(np.array_equal(found[i], whole[i]) for i in range(len(CLIPS)))
    assert 0 < sum(heard.times) <= len(CLIPS)
