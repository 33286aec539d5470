"""pretrain: continued pre-training in a run, its log, its anchor, and that it is resumed."""

import json
from pathlib import Path

import pytest
import soundfile
import torch
from conftest import RATE_HZ, say, sentences, tone_recipe, write_base
from safetensors.torch import load_file

from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.corpora.trained_on import TrainedOn
from asr_adapt.recipe import Recipe
from asr_adapt.training.state import Journal
from asr_adapt.workflows.run import run

pytestmark = pytest.mark.usefixtures("tones_are_speech")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model with a codebook of its own size, untrained."""
    folder = tmp_path_factory.mktemp("untrained") / "base"
    write_base(folder, "layer")
    return folder


def recipe(tones: Path, base: Path, **fields: object) -> Recipe:
    settings = {
        "steps": 2, "eval_steps": 2, "batch_s": 4, "pretrain_steps": 20, "pretrain_learning_rate": 1e-3, **fields
    }  # fmt: skip
    made = tone_recipe(tones, base=str(base), **settings)
    return made.model_copy(update={"model": made.model.model_copy(update={"freeze": "feature_encoder"})})


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "pretrain" / "train_log.jsonl").read_text().splitlines()]


def record(folder: Path) -> Path:
    folder.mkdir()
    for number, text in enumerate(sentences(4, seed=44)):
        soundfile.write(folder / f"{number}.wav", say(text, 700 + number), RATE_HZ)
    return folder


def test_a_run_is_pre_trained_first_and_says_how_it_went(untrained: Path, tones: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    own = record(tmp_path / "own")
    run(recipe(tones, untrained, unlabelled=own, unlabelled_rounds=0, pretrain_anchor=0.0), out, Console(quiet=True))
    records = log(out)
    assert [r["step"] for r in records] == [10, 20]
    assert records[-1]["loss"] < records[0]["loss"], "it learns to tell the frames"
    assert all(0 < r["codes"] <= r["of_codes"] and 0 <= r["accuracy"] <= 1 for r in records)
    assert 0 < records[0]["moved"] < records[-1]["moved"]
    assert not (out / "rounds").exists()
    known = TrainedOn.read(out / "model")
    counts = [len(prepared.load(out / "data", part)) for part in ("train", "dev", "unlabelled")]
    assert known is not None and len(known.rows) == sum(counts) and counts[-1] == 3
    weights = load_file(out / "pretrain" / "encoder.safetensors")
    before = load_file(untrained / "model.safetensors")
    same = [torch.equal(w, before[f"wav2vec2.{n}"]) for n, w in weights.items() if n.startswith("feature_extractor")]
    assert same and all(same), "the feature encoder stays"


def test_the_anchor_holds_the_weights(untrained: Path, tones: Path, tmp_path: Path) -> None:
    for name, anchor in (("free", 0.0), ("held", 100.0)):
        run(recipe(tones, untrained, pretrain_anchor=anchor), tmp_path / name, Console(quiet=True))
    assert log(tmp_path / "held")[-1]["moved"] < 0.7 * log(tmp_path / "free")[-1]["moved"]


def test_pre_training_that_was_killed_is_resumed_and_ends_alike(
    untrained: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe(tones, untrained, pretrain_steps=8)
    run(wanted, tmp_path / "whole", Console(quiet=True))
    with monkeypatch.context() as patch:
        steps = Journal.take_step

        def killed(journal: Journal, parameters: object) -> float:
            norm = steps(journal, parameters)  # type: ignore[arg-type]
            if journal.step == 6:
                raise KeyboardInterrupt
            return norm

        patch.setattr(Journal, "take_step", killed)
        patch.setattr(Journal, "is_save_due", lambda journal: journal.step == 4)
        with pytest.raises(KeyboardInterrupt):
            run(wanted, tmp_path / "killed", Console(quiet=True))
    assert not (tmp_path / "killed" / "pretrain" / "encoder.safetensors").exists()
    run(wanted, tmp_path / "killed", Console(quiet=True))
    ends = [load_file(tmp_path / name / "pretrain" / "encoder.safetensors") for name in ("whole", "killed")]
    assert all(torch.equal(weight, ends[1][name]) for name, weight in ends[0].items())
