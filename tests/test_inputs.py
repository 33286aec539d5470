from pathlib import Path

import numpy as np
import pytest
from conftest import resolved, tone_recipe, write_base

from asr_adapt import corpora, model, prepared
from asr_adapt.ctc import FrameGrid
from asr_adapt.inputs import Inputs
from asr_adapt.model import CTCModel
from asr_adapt.prepare import prepare
from asr_adapt.prepared import Prepared
from asr_adapt.recipe import Resolved, Text
from asr_adapt.report import Console
from asr_adapt.text import Alphabet


@pytest.fixture(scope="module")
def data(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(tone_recipe(tones), corpora.read(tones, "art"), FrameGrid(), folder, Console(quiet=True))
    return prepared.load(folder, "train")


@pytest.fixture(scope="module")
def adapted(data: Prepared, tmp_path_factory: pytest.TempPathFactory) -> CTCModel:
    base = write_base(tmp_path_factory.mktemp("base") / "layer", "layer")
    return model.create(tone_recipe(base, str(base)).model, Alphabet.from_texts(data.texts), "art", Text(), seed=1)


def recipe(policy: str, **train: object) -> Resolved:
    made = tone_recipe(Path(), "base", steps=100, **train)
    return resolved(made.model_copy(update={"model": made.model.model_copy(update={"freeze": policy})}))


def lengths(inputs: Inputs, count: int, step: int) -> list[int]:
    level, clips = inputs.of(range(count), step, 0, 0)
    assert level == "waveform"
    return [len(clip) for clip in clips]


def test_clips_are_played_at_other_speeds_from_step_to_step(
    data: Prepared, adapted: CTCModel, tmp_path: Path
) -> None:
    inputs = Inputs(recipe("nothing", speed=0.1), adapted, data, tmp_path)
    ratios = np.array(lengths(inputs, len(data), 5)) / data.num_samples()
    assert np.all((ratios > 1 / 1.11) & (ratios < 1 / 0.89)) and len(set(ratios)) > 10
    assert lengths(inputs, 9, 5) == lengths(inputs, 9, 5) != lengths(inputs, 9, 6)


def test_a_clip_stays_as_it_is_where_its_text_would_no_longer_fit(
    data: Prepared, adapted: CTCModel, tmp_path: Path
) -> None:
    packed = Prepared(data.utterances, ["a" * 1000] * len(data), data._table)
    inputs = Inputs(recipe("nothing", speed=0.1), adapted, packed, tmp_path)
    assert lengths(inputs, len(data), 5) == data.num_samples()


@pytest.mark.parametrize(
    ("policy", "train", "levels"),
    [
        ("nothing", {}, ["waveform", "waveform"]),
        ("feature_encoder", {}, ["encoder", "encoder"]),
        ("feature_encoder", {"head_steps": 50}, ["transformer", "encoder"]),
        ("feature_encoder", {"cached_copies": 0, "head_steps": 50}, ["waveform", "waveform"]),
        ("feature_encoder", {"speed": 0.1}, ["waveform", "waveform"]),
        ("feature_encoder", {"speed": 0.1, "cached_copies": 2}, ["encoder", "encoder"]),
        ("feature_encoder", {"batch_s": 0.1}, ["waveform", "waveform"]),  # less than one epoch
        ("all_but_head", {}, ["transformer", "transformer"]),
    ],
)
def test_what_frozen_layers_say_is_kept_where_that_saves_work(
    data: Prepared, adapted: CTCModel, tmp_path: Path, console: Console, policy: str, train: dict, levels: list[str]
) -> None:
    inputs = Inputs(recipe(policy, **train), adapted, data, tmp_path)
    inputs.keep(console)
    assert [inputs.of([0, 1], step, 0, 0)[0] for step in (0, 99)] == levels


def test_copies_differ_in_speed_and_each_is_heard(
    data: Prepared, adapted: CTCModel, tmp_path: Path, console: Console
) -> None:
    inputs = Inputs(recipe("feature_encoder", speed=0.1, cached_copies=2), adapted, data, tmp_path)
    inputs.keep(console)
    heard = {inputs.of([3], step, 0, 0)[1][0].tobytes() for step in range(20)}
    assert len(heard) == 2
