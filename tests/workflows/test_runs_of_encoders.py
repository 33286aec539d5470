"""Every type of encoder from a checkpoint to a text: trained, frozen, cached, exported, served."""

from pathlib import Path

import numpy as np
import pytest
import small_encoders
import torch
from conftest import RATE_HZ, say, sentences, shared_folder, tone_recipe
from serving import post, running, wav

from asr_adapt.console import Console
from asr_adapt.corpora.prepared import load
from asr_adapt.inference import engines
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import encoders, forward, head
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Model, Resolved, Text
from asr_adapt.stages import train
from asr_adapt.training import presets
from asr_adapt.training.data import Inputs
from asr_adapt.workflows.run import run

TYPES = [name for name in small_encoders.CONFIGURATIONS if name != "wav2vec2"]  # which all other tests are about


@pytest.fixture(scope="module", params=TYPES)
def trained(request: pytest.FixtureRequest, tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, trained until it writes something."""

    def make(out: Path) -> None:
        base = small_encoders.write(out.parent / "base", small_encoders.CONFIGURATIONS[request.param])
        # With a frame every 20 ms there are more blanks to learn before the first letter.
        steps = 200 if request.param == "wav2vec2-bert" else 60
        recipe = tone_recipe(tones, str(base), steps=steps, eval_steps=steps, batch_s=8, learning_rate=3e-3)
        run(recipe, out, Console(quiet=True))

    return shared_folder(tmp_path_factory, f"run-{request.param}", make)


def recordings() -> list[np.ndarray]:
    return [say(text, seed=99) for text in sentences(8, seed=11)]


def texts(transcriber: Transcriber) -> list[str]:
    return [result.text for result in transcriber.transcribe_segments(recordings())]


def frozen_recipe(trained: Path, tones: Path, **fields: object) -> Resolved:
    """Two steps of training on, from a run's model, with what is frozen by default."""
    settings: dict = {"steps": 2, "eval_steps": 2, "batch_s": 5}
    recipe = tone_recipe(tones, **settings | fields)
    recipe = recipe.model_copy(update={"model": Model(base=str(trained / "model"))})
    return presets.resolve(recipe, 1.0, 64)[0]


def test_alone_in_a_batch_and_in_transformers_pipeline_the_text_is_one(trained: Path) -> None:
    from transformers import pipeline

    transcriber = Transcriber(CTCModel.load(trained / "model"), precision="fp32")
    alone = [next(transcriber.transcribe_segments([clip])).text for clip in recordings()]
    recognise = pipeline("automatic-speech-recognition", str(trained / "model"))
    theirs = [recognise({"raw": clip, "sampling_rate": RATE_HZ})["text"] for clip in recordings()]
    assert texts(transcriber) == alone == theirs
    assert len(set(alone)) >= len(alone) // 2, "a model that always writes the same proves nothing"


def test_two_steps_leave_the_feature_encoder_as_it_is_to_the_bit(trained: Path, tones: Path, tmp_path: Path) -> None:
    recipe = frozen_recipe(trained, tones)
    assert recipe.model.freeze == "feature_encoder"
    start = CTCModel.load(trained / "model")
    model = head.create(recipe.model, start.alphabet, "art", Text(), seed=1)
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    console = Recorded()
    train.train(recipe, model, *(load(trained / "data", split) for split in ("train", "dev")), tmp_path, console)
    changed = {name for name, value in model.net.state_dict().items() if not torch.equal(value, before[name])}
    frozen = [id(module) for module in encoders.of(model.net).feature_encoder]
    kept = {
        f"{name}.{of_module}"
        for name, module in model.net.named_modules()
        for of_module in module.state_dict()
        if id(module) in frozen
    }
    assert kept and not kept & changed
    assert any("encoder.layers.0." in name for name in changed) and "lm_head.weight" in changed
    assert not any("running_" in name for name in changed), "batch norms keep their statistics"
    assert f"feature encoder ({encoders.of(model.net).feature_encoder_is})" in console.tables


class Recorded(Console):
    """Keeps the first column of tables."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.tables: list[str] = []

    def table(self, title: str, columns: object, rows: object, **more: object) -> None:  # type: ignore[override]
        self.tables += [str(row[0]) for row in rows]  # type: ignore[attr-defined]


@pytest.mark.parametrize("depth", ["feature_encoder", "below:2"])
def test_cached_features_give_what_the_waveform_gives(depth: str, trained: Path, tones: Path, tmp_path: Path) -> None:
    recipe = frozen_recipe(trained, tones, cached_copies=1, steps=100)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"freeze": depth})})
    model, data = CTCModel.load(trained / "model"), load(trained / "data", "train")
    inputs = Inputs(recipe, model, data, tmp_path)
    inputs.fill_cache(Console(quiet=True))
    level, cached = inputs.of([0, 1, 2], step=1, batch=0, process=0)
    assert level == (0 if depth == "feature_encoder" else 2)
    with torch.inference_mode():
        frames = [torch.from_numpy(np.array(clip, np.float32)) for clip in cached]
        ours = forward.contextualise(model.net, frames, depth=level)
        whole = forward.contextualise(
            model.net, forward.encode(model, [torch.from_numpy(data.waveform(i).copy()) for i in (0, 1, 2)])
        )
        for row, other, clip in zip(ours, whole, frames, strict=True):
            torch.testing.assert_close(row[: len(clip)], other[: len(clip)], atol=2e-2, rtol=0)  # fp16 on disk
            assert torch.equal(
                model.net.lm_head(row[: len(clip)]).argmax(-1), model.net.lm_head(other[: len(clip)]).argmax(-1)
            )


def test_the_server_answers_with_the_text(trained: Path, tones_are_speech: None) -> None:
    transcriber = Transcriber(CTCModel.load(trained / "model"), precision="fp32")
    with running({"small": lambda: transcriber}) as url:
        answers = [post(url, wav(clip), model="small").json()["text"] for clip in recordings()[:3]]
    # What arrives is in 16 bits, and cut at its pauses.
    there = [np.round(clip * 2**15).astype(np.float32) / 2**15 for clip in recordings()[:3]]
    assert answers == [transcriber.transcribe((clip, RATE_HZ)).text for clip in there]
    assert any(answers)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_an_engine_writes_the_same_text(engine: str, trained: Path) -> None:
    if not engines.runs_here(engine):
        pytest.skip(f"{engine} is not installed")
    model = CTCModel.load(trained / "model")
    run_by = engines.load(model, trained / "model", engine, "fp32")
    assert texts(Transcriber(model, engine=run_by)) == texts(Transcriber(model, precision="fp32"))
    for samples in (model.shortest_clip, 12_345, 16_160, 30_001):
        clip = 0.1 * np.random.default_rng(samples).standard_normal(samples, np.float32)
        (ours,), (theirs,) = run_by([clip]), forward.log_probs(model, [clip])
        np.testing.assert_allclose(ours, theirs, atol=2e-3)
