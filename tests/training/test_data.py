"""Inputs of training: augmentation by seed and step, and cached outputs of frozen layers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import resolved, tone_recipe, write_base

from asr_adapt import corpora
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.model import head
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Resolved, Text
from asr_adapt.stages.prepare import prepare
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.training.data import Inputs


@pytest.fixture(scope="module")
def data(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> SpeechSplit:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(tone_recipe(tones), corpora.read(tones, "art"), FrameGrid(), folder, Console(quiet=True))
    return prepared.load(folder, "train")


@pytest.fixture(scope="module")
def adapted(data: SpeechSplit, tmp_path_factory: pytest.TempPathFactory) -> CTCModel:
    base = write_base(tmp_path_factory.mktemp("base") / "layer", "layer")
    return head.create(
        tone_recipe(base, str(base)).model, Alphabet.from_texts(data.references), "art", Text(), seed=1
    )


def recipe(policy: str, **train: object) -> Resolved:
    made = tone_recipe(Path(), "base", steps=100, **train)
    return resolved(made.model_copy(update={"model": made.model.model_copy(update={"freeze": policy})}))


def lengths(inputs: Inputs, count: int, step: int) -> list[int]:
    depth, clips = inputs.of(range(count), step, 0, 0)
    assert depth is None
    return [len(clip) for clip in clips]


def test_clips_are_played_at_other_speeds_from_step_to_step(
    data: SpeechSplit, adapted: CTCModel, tmp_path: Path
) -> None:
    inputs = Inputs(recipe("nothing", speed=0.1), adapted, data, tmp_path)
    ratios = np.array(lengths(inputs, len(data), 5)) / data.lengths
    assert np.all((ratios > 1 / 1.11) & (ratios < 1 / 0.89)) and len(set(ratios)) > 10
    assert lengths(inputs, 9, 5) == lengths(inputs, 9, 5) != lengths(inputs, 9, 6)


def test_a_clip_stays_as_it_is_where_its_text_would_no_longer_fit(
    data: SpeechSplit, adapted: CTCModel, tmp_path: Path
) -> None:
    packed = replace(data, references=["a" * 1000] * len(data))
    inputs = Inputs(recipe("nothing", speed=0.1), adapted, packed, tmp_path)
    assert lengths(inputs, len(data), 5) == data.lengths.tolist()


@pytest.mark.parametrize(
    ("policy", "train", "depths"),
    [
        ("nothing", {}, [None, None]),
        ("feature_encoder", {}, [0, 0]),
        ("feature_encoder", {"head_steps": 50}, [2, 0]),
        ("feature_encoder", {"cached_copies": 0, "head_steps": 50}, [None, None]),
        ("feature_encoder", {"speed": 0.1}, [None, None]),
        ("feature_encoder", {"speed": 0.1, "cached_copies": 2}, [0, 0]),
        ("feature_encoder", {"batch_s": 0.1}, [None, None]),  # less than one epoch
        ("below:1", {}, [1, 1]),
        ("below:1", {"head_steps": 50}, [2, 1]),
        ("below:1", {"speed": 0.1}, [None, None]),
        ("below:1", {"speed": 0.1, "cached_copies": 2, "head_steps": 1}, [1, 1]),
        ("all_but_head", {}, [2, 2]),
    ],
)
def test_what_frozen_layers_say_is_kept_where_that_saves_work(
    data: SpeechSplit,
    adapted: CTCModel,
    tmp_path: Path,
    console: Console,
    policy: str,
    train: dict,
    depths: list[int | None],
) -> None:
    inputs = Inputs(recipe(policy, **train), adapted, data, tmp_path)
    inputs.fill_cache(console)
    assert [inputs.of([0, 1], step, 0, 0)[0] for step in (0, 99)] == depths


def test_copies_differ_in_speed_and_each_is_heard(
    data: SpeechSplit, adapted: CTCModel, tmp_path: Path, console: Console
) -> None:
    inputs = Inputs(recipe("feature_encoder", speed=0.1, cached_copies=2), adapted, data, tmp_path)
    inputs.fill_cache(console)
    heard = {inputs.of([3], step, 0, 0)[1][0].tobytes() for step in range(20)}
    assert len(heard) == 2


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    folder = tmp_path / "noise" / "sub"
    folder.mkdir(parents=True)
    for number in range(3):
        hiss = 0.1 * np.random.default_rng(number).standard_normal(8000)
        soundfile.write(folder / f"{number}.wav", hiss, 16_000)
    return folder.parent


EVERYTHING = {"room_share": 0.5, "noise_share": 0.5, "gain_share": 0.5, "codec_share": 0.5, "speed": 0.1}


@pytest.mark.parametrize("what", ["noise_share", "room_share", "gain_share", "codec_share"])
def test_the_share_that_was_asked_for_is_changed_and_no_clip_gets_longer(
    data: SpeechSplit, adapted: CTCModel, tmp_path: Path, noise: Path, what: str
) -> None:
    inputs = Inputs(recipe("nothing", noise=noise, **{what: 0.5}), adapted, data, tmp_path)
    changed = 0
    for step in range(5):
        _, clips = inputs.of(range(len(data)), step, 0, 0)
        assert [len(clip) for clip in clips] == data.lengths.tolist()
        changed += sum(not np.array_equal(clip, data.waveform(i)) for i, clip in enumerate(clips))
    assert 0.3 < changed / (5 * len(data)) < 0.7


def test_what_is_heard_is_a_function_of_seed_and_step(
    data: SpeechSplit, adapted: CTCModel, tmp_path: Path, noise: Path
) -> None:
    def heard(step: int, **train: object) -> list[bytes]:
        inputs = Inputs(recipe("nothing", noise=noise, **EVERYTHING | train), adapted, data, tmp_path)
        return [clip.tobytes() for clip in inputs.of(range(len(data)), step, 0, 0)[1]]

    assert heard(3) == heard(3)
    assert not set(heard(3)) & set(heard(4))
    assert heard(3) != heard(3, seed=2)


def test_clips_that_change_are_not_kept_unless_copies_are_asked_for_and_then_each_is_another(
    data: SpeechSplit, adapted: CTCModel, tmp_path: Path, console: Console, noise: Path
) -> None:
    inputs = Inputs(recipe("feature_encoder", gain_share=0.5), adapted, data, tmp_path)
    inputs.fill_cache(console)
    assert inputs.of([0], 99, 0, 0)[0] is None
    inputs = Inputs(recipe("feature_encoder", noise=noise, noise_share=1, cached_copies=2), adapted, data, tmp_path)
    inputs.fill_cache(console)
    assert len({inputs.of([3], step, 0, 0)[1][0].tobytes() for step in range(20)}) == 2


def test_what_was_kept_with_recordings_of_the_same_name_that_were_replaced_is_made_again(
    data: SpeechSplit, adapted: CTCModel, tmp_path: Path, console: Console, noise: Path
) -> None:
    conf = recipe("feature_encoder", noise=noise, noise_share=1, noise_snr_db=(0.0, 0.0), cached_copies=1)
    said = []
    for _ in range(2):
        inputs = Inputs(conf, adapted, data, tmp_path)
        inputs.fill_cache(console)
        said.append(inputs.of([3], 0, 0, 0)[1][0].tobytes())
        for path in noise.rglob("*.wav"):
            soundfile.write(path, 0.1 * np.sin(np.arange(8000) / 9), 16_000)
    assert said[0] != said[1]


def test_what_was_kept_with_other_noise_is_made_again(
    data: SpeechSplit, adapted: CTCModel, tmp_path: Path, console: Console, noise: Path
) -> None:
    said = []
    for snr_db in ((20.0, 20.0), (0.0, 0.0)):
        conf = recipe("feature_encoder", noise=noise, noise_share=1, noise_snr_db=snr_db, cached_copies=1)
        inputs = Inputs(conf, adapted, data, tmp_path)
        inputs.fill_cache(console)
        said.append(inputs.of([3], 0, 0, 0)[1][0].tobytes())
    assert said[0] != said[1]
