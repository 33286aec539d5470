"""Self-training: rounds in a run folder, what is resumed, what is kept, and which model is the run's in the end."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, let_tones_be_speech, say, sentences, tone_recipe
from safetensors.torch import load_file

from asr_adapt.artifacts import SelfTraining, SelfTrainingRound
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.corpora.trained_on import TrainedOn
from asr_adapt.errors import Interrupted
from asr_adapt.recipe import Model, Recipe, read_recipe
from asr_adapt.records import Utterance, read_jsonl
from asr_adapt.stages import train
from asr_adapt.training import presets
from asr_adapt.workflows import run_state, self_training
from asr_adapt.workflows.run import run

pytestmark = pytest.mark.usefixtures("tones_are_speech")
STEPS = 40


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings without transcripts."""
    folder = tmp_path_factory.mktemp("recordings")
    for number, text in enumerate(sentences(12, seed=31)):
        soundfile.write(folder / f"{number:02}.wav", say(text, 500 + number), RATE_HZ)
    return folder


def recipe(tones: Path, **fields: object) -> Recipe:
    return tone_recipe(tones, **{"steps": STEPS, "eval_steps": STEPS, **fields})


def weights(folder: Path) -> dict[str, list[float]]:
    return {name: tensor.flatten()[:3].tolist() for name, tensor in load_file(folder / "model.safetensors").items()}


def rates(found: SelfTrainingRound) -> float:
    return min(found.wer, 1.0) + found.cer


@pytest.fixture(scope="module")
def finished(tones: Path, own: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("self-trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        let_tones_be_speech(patch)
        run(recipe(tones, unlabelled=own, unlabelled_rounds=2), out, Console(quiet=True))
    return out


def test_the_best_round_on_dev_is_the_runs_model(finished: Path) -> None:
    summary = SelfTraining.read_file(SelfTraining.path_of(finished), "")
    assert [each.number for each in summary.rounds] in ([0, 1], [0, 1, 2])
    assert rates(summary.rounds[summary.best]) == min(map(rates, summary.rounds))
    assert summary.rounds[0].labels is None and summary.rounds[1].labels is not None
    assert summary.rounds[1].labels.segments > 0 and summary.rounds[1].labels.hours > 0
    alone = weights(finished / "rounds" / "00" / "model")
    assert (weights(finished / "model") == alone) == (summary.best == 0)
    assert run_state.is_finished(finished)


def test_what_the_model_wrote_is_kept_as_a_models_text(finished: Path) -> None:
    rows = [u for _, u in read_jsonl(finished / "rounds" / "01" / "pseudo_labels.jsonl")]
    speech = prepared.load(finished / "data", "unlabelled")
    assert rows and {u.id for u in rows} <= {u.id for u in speech.utterances}
    assert all(u.hypothesis and u.text is None and u.provenance == "machine" for u in rows)


def test_the_same_command_again_does_nothing(finished: Path, tones: Path, own: Path) -> None:
    before = (finished / "model" / "model.safetensors").stat().st_mtime_ns
    run(recipe(tones, unlabelled=own, unlabelled_rounds=2), finished, Console(quiet=True))
    assert (finished / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_more_rounds_go_on_from_those_that_are_done(tones: Path, own: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    steps = STEPS + 10
    run(recipe(tones, unlabelled=own, unlabelled_rounds=1, unlabelled_steps=steps), out, Console(quiet=True))
    log = (out / "rounds" / "01" / "train_log.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(log[-1])["step"] == steps, "a round has as many steps as it is given"
    summary = SelfTraining.read_file(SelfTraining.path_of(out), "")
    first = (out / "rounds" / "01" / "round.json").stat().st_mtime_ns
    run(recipe(tones, unlabelled=own, unlabelled_rounds=2, unlabelled_steps=steps), out, Console(quiet=True))
    more = SelfTraining.read_file(SelfTraining.path_of(out), "")
    assert (out / "rounds" / "01" / "round.json").stat().st_mtime_ns == first, "it is not done again"
    assert len(more.rounds) == (3 if summary.best == 1 else 2), "only a round that helped is followed by another"


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({"steps": 400}, 1000),  # 2,000 are the preset's for 1.5 h, 800 for ten minutes
        ({"steps": 400, "unlabelled_steps": 70}, 70),
        ({"steps": 400, "hours": 10}, 400),
        ({}, 2000),
    ],
)
def test_the_steps_of_a_round_follow_from_those_of_labels(tones: Path, given: dict[str, float], steps: int) -> None:
    def speech(minutes: int) -> SpeechSplit:
        utterances = [Utterance(id=str(n), audio="a.wav") for n in range(minutes)]
        return SpeechSplit("train", utterances, [""] * minutes, known_lengths=np.full(minutes, 60 * RATE_HZ))

    wanted = recipe(tones, **{"steps": None, "batch_s": 20, **given})
    wanted = wanted.model_copy(update={"model": Model(base="embedded")})
    plan = SimpleNamespace(recipe=wanted, base=SimpleNamespace(config=SimpleNamespace(hidden_size=512)))
    training = SimpleNamespace(recipe=presets.resolve(wanted, 1 / 6, 512)[0])
    splits = speech(10), speech(80), speech(1)
    found = self_training._recipe(plan, training, *splits, Console(quiet=True))  # type: ignore[arg-type]
    assert found.train.steps == steps


def test_without_the_recordings_the_model_of_labels_is_the_runs_again(
    finished: Path, tones: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    alone = weights(out / "rounds" / "00" / "model")
    run(recipe(tones), out, Console(quiet=True))
    assert weights(out / "model") == alone and not (out / "rounds").exists()
    log = [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == STEPS, "it was not trained again"


def test_an_interrupted_round_is_resumed_and_ends_alike(
    finished: Path, tones: Path, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "run", train.train
    calls = 0

    def interrupted(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Interrupted(15, "stopped")
        return whole(*arguments, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(train, "train", interrupted)
        run(recipe(tones, unlabelled=own, unlabelled_rounds=2), out, Console(quiet=True))
    written = out / "rounds" / "01" / "pseudo_labels.jsonl"
    before = written.stat().st_mtime_ns
    assert read_recipe(out / "rounds" / "01" / "recipe.toml").train.steps == STEPS
    monkeypatch.setattr(presets, "default_steps", lambda recipe, hours, width: int(1e6 * hours))
    run(recipe(tones, unlabelled=own, unlabelled_rounds=2), out, Console(quiet=True))
    assert written.stat().st_mtime_ns == before, "what is written is not written again"
    assert weights(out / "model") == weights(finished / "model")


def test_a_self_trained_model_knows_the_recordings_that_it_heard(finished: Path) -> None:
    summary = SelfTraining.read_file(SelfTraining.path_of(finished), "")
    known = TrainedOn.read(finished / "model")
    assert known is not None
    labelled = len(prepared.load(finished / "data", "train")) + len(prepared.load(finished / "data", "dev"))
    heard = len(prepared.load(finished / "data", "unlabelled")) if summary.best else 0
    assert len(known.rows) == labelled + heard
