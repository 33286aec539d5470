"""run: the run folder, what is skipped and what is repeated, and what is refused before anything is written."""

import errno
import json
import os
import shutil
import signal
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import tone_recipe, write_base, write_corpus
from filelock import FileLock

from asr_adapt import corpora, storage
from asr_adapt.artifacts import DepthMeasurement
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.errors import AudioError, DiskFull, InputError, Interrupted, RunLocked
from asr_adapt.model import base as base_model
from asr_adapt.model import ctc_model, forward, mixed_precision
from asr_adapt.model.mixed_precision import Precision
from asr_adapt.recipe import Source, read_recipe
from asr_adapt.records import SPLITS, read_jsonl
from asr_adapt.scoring.error_rates import rate, word_errors
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.training import checkpoint, depth, state
from asr_adapt.workflows import run as stages
from asr_adapt.workflows.model_folder import evaluate_folder
from asr_adapt.workflows.plan import RunPlan
from asr_adapt.workflows.run import run

STEPS = 30


@pytest.fixture(scope="module")
def finished(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    run(tone_recipe(tones, steps=STEPS), out, Console(quiet=True))
    return out


def times(out: Path) -> dict[str, int]:
    return {str(p.relative_to(out)): p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}


def test_the_run_folder_holds_what_the_design_says(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {"recipe.toml", "environment.json", "data", "checkpoints", "model", "metrics.json", "hypotheses.jsonl",
            "train_log.jsonl"} <= names  # fmt: skip
    assert len(list(finished.rglob("metrics.json"))) == 1
    assert not list(finished.rglob("*.partial"))
    versions = json.loads((finished / "environment.json").read_text())
    assert versions["threads"] >= 1 and versions["versions"]["torch"]


def test_a_run_folder_is_on_this_machine(tones: Path, console: Console) -> None:
    with pytest.raises(InputError, match=r"^s3:/bucket/run: is a URL, and must be a path on this machine"):
        run(tone_recipe(tones), Path("s3://bucket/run"), console)
    assert not Path("s3:").exists()


def test_where_a_corpus_is_decoded_does_not_change_what_a_run_is(tones: Path) -> None:
    recipe = tone_recipe(tones)
    there = recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update={"ray": "auto", "workers": 9})})
    assert RunPlan.of(there).prepare_inputs == RunPlan.of(recipe).prepare_inputs


def test_metrics_are_those_of_the_hypotheses(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    assert list(metrics) == [
        "split", "utterances", "words", "audio_s", "wer", "wer_ci95", "cer", "cer_ci95", "substitutions", "deletions",
        "insertions", "excluded", "normaliser", "decoding", "transcribe_rtfx", "trained_on",
    ]  # fmt: skip
    utterances = [utterance for _, utterance in read_jsonl(finished / "hypotheses.jsonl")]
    normalise = Normaliser(read_recipe(finished / "recipe.toml").text, "art")
    errors = [word_errors(normalise(u.text or ""), normalise(u.hypothesis or "")) for u in utterances]
    assert metrics["wer"] == pytest.approx(rate(errors))
    assert metrics["utterances"] == len(utterances) == 6
    assert metrics["wer_ci95"][0] <= metrics["wer"] <= metrics["wer_ci95"][1]
    assert metrics["substitutions"] + metrics["deletions"] + metrics["insertions"] == sum(e.total for e in errors)
    assert all(u.text and u.text.endswith(".") for u in utterances), "the corpus's own string, unchanged"


def test_finished_stages_are_not_done_twice(finished: Path, tones: Path) -> None:
    before = times(finished)
    metrics = run(tone_recipe(tones, steps=STEPS), finished, Console(quiet=True))
    after = times(finished)
    touched = {name for name in after if after[name] != before.get(name)}
    assert touched <= {"recipe.toml", ".lock"}
    assert metrics.wer == json.loads((finished / "metrics.json").read_text())["wer"]


def test_a_run_that_was_trained_on_a_machine_of_another_precision_is_still_done(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages.train, "resolve_precision", lambda conf: conf.precision or "fp32")
    run(tone_recipe(tones, steps=2, precision=None), tmp_path, Console(quiet=True))
    before = times(tmp_path)
    monkeypatch.setattr(stages.train, "resolve_precision", lambda conf: conf.precision or "bf16")
    run(tone_recipe(tones, steps=2, precision=None), tmp_path, Console(quiet=True))
    after = times(tmp_path)
    assert {name for name in after if after[name] != before.get(name)} <= {"recipe.toml", ".lock"}
    assert read_recipe(tmp_path / "recipe.toml").train.precision == "fp32"


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_run_that_goes_on_keeps_its_precision_where_the_machine_has_it(
    has_bf16: bool,
    tones: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    recipe = tone_recipe(tones, steps=4, eval_steps=2, precision=None)
    validate, validated = state.Journal.validate, []

    def validate_once(self: object, dev: object) -> None:
        validate(self, dev)  # type: ignore[arg-type]
        validated.append(dev)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(mixed_precision, "has_bf16", lambda device: True)
    monkeypatch.setattr(mixed_precision, "fastest", lambda device: "bf16")
    with monkeypatch.context() as told:
        told.setattr(state.Journal, "validate", validate_once)
        with pytest.raises(Interrupted):
            run(recipe, tmp_path, Console(quiet=True))
    assert len(validated) == 1 and not (tmp_path / "metrics.json").exists()
    monkeypatch.setattr(mixed_precision, "has_bf16", lambda device: has_bf16)
    monkeypatch.setattr(mixed_precision, "fastest", lambda device: "fp32")  # a second measurement says something else
    run(recipe, tmp_path, Console())
    assert "resuming from the checkpoint after step 2" in "".join(capsys.readouterr())
    assert read_recipe(tmp_path / "recipe.toml").train.precision == ("bf16" if has_bf16 else "fp32")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_in_training_is_an_interruption_that_is_neither_exit_nor_failure(
    name: str, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGINT)
    log = state.Journal.log
    number = signal.Signals[name]
    monkeypatch.setattr(
        state.Journal, "log", lambda self, record: (log(self, record), os.kill(os.getpid(), number))[0]
    )
    with pytest.raises(Interrupted, match=f"stopped by {name} and saved after step 10; the same command") as stopped:
        run(tone_recipe(tones, steps=20), tmp_path, Console(quiet=True))
    assert stopped.value.exit_code == 128 + number
    assert [path.name for path in (tmp_path / "checkpoints").glob("step-*")] == ["step-00000010"]
    assert (signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGINT)) == before


def test_a_second_ctrl_c_ends_training_at_once_and_the_last_checkpoint_is_whole(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(self: object, record: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(state.Journal, "log", twice)
    with pytest.raises(KeyboardInterrupt):
        run(tone_recipe(tones, steps=20, eval_steps=5), tmp_path, Console(quiet=True))
    found, problems = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None and found.step == 5 and not problems


def test_a_hangup_that_nohup_ignores_stays_ignored(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = state.Journal.log
    monkeypatch.setattr(
        state.Journal, "log", lambda self, record: (log(self, record), os.kill(os.getpid(), signal.SIGHUP))[0]
    )
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(tone_recipe(tones, steps=10), tmp_path, Console(quiet=True)).utterances == 6
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_is_evaluated_in_the_precision_that_it_was_trained_in(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed_precision, "has_bf16", lambda device: True)
    taken = []
    log_probs = forward.log_probs

    def noted(adapted: ctc_model.CTCModel, waveforms: list, precision: Precision) -> list[np.ndarray]:
        taken.append(precision)
        return log_probs(adapted, waveforms, precision)

    monkeypatch.setattr(forward, "log_probs", noted)
    run(tone_recipe(tones, steps=2, precision="bf16"), tmp_path, Console(quiet=True))
    assert set(taken) == {"bf16"}
    (tmp_path / "metrics.json").unlink()
    taken.clear()
    monkeypatch.setattr(mixed_precision, "has_bf16", lambda device: False)
    run(tone_recipe(tones, steps=2, precision="bf16"), tmp_path, Console(quiet=True))
    assert set(taken) == {"fp32"}, "emulated, bf16 would take hours"


def test_a_precision_that_is_asked_for_is_another_training(tones: Path, tmp_path: Path) -> None:
    run(tone_recipe(tones, steps=2), tmp_path, Console(quiet=True))
    before = times(tmp_path)
    run(tone_recipe(tones, steps=2, precision="bf16"), tmp_path, Console(quiet=True))
    assert times(tmp_path)["model/model.safetensors"] != before["model/model.safetensors"]


def test_the_depth_to_freeze_at_is_measured_once_and_kept_as_what_it_is(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def best(model: object, train: object, dev: object, inputs: str, console: Console) -> DepthMeasurement:
        measured.append(inputs)
        return DepthMeasurement(inputs=inputs, depth=1, reason="auto: it is best")

    monkeypatch.setattr(depth, "best", best)
    base = str(write_base(tmp_path / "base", "layer"))

    def done(steps: int) -> None:
        recipe = tone_recipe(tones, base, steps=steps, batch_s=20)
        recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"freeze": "auto"})})
        run(recipe, tmp_path / "run", Console(quiet=True))

    done(2)
    assert read_recipe(tmp_path / "run" / "recipe.toml").model.freeze == "below:1"
    before = times(tmp_path / "run" / "model")
    done(2)
    assert times(tmp_path / "run" / "model") == before
    done(3)
    assert times(tmp_path / "run" / "model") != before and len(measured) == 1
    (tmp_path / "run" / "data" / "depth.json").write_text("{")
    with pytest.raises(InputError, match=r"depth\.json.*Delete it; the depth is measured again"):
        done(3)


def test_a_field_of_training_redoes_training_and_not_preparation(tones: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(tone_recipe(tones, steps=2), out, Console(quiet=True))
    before = times(out)
    run(tone_recipe(tones, steps=3), out, Console(quiet=True))
    after = times(out)
    assert after["data/train.arrow"] == before["data/train.arrow"]
    assert after["model/model.safetensors"] != before["model/model.safetensors"]
    assert after["metrics.json"] != before["metrics.json"]
    assert read_recipe(out / "recipe.toml").train.steps == 3


def test_a_field_of_the_text_redoes_everything(tones: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    recipe = tone_recipe(tones, steps=2)
    run(recipe, out, Console(quiet=True))
    before = times(out)
    other = recipe.model_copy(update={"text": recipe.text.model_copy(update={"keep": "."})})
    run(other, out, Console(quiet=True))
    assert times(out)["data/train.arrow"] != before["data/train.arrow"]
    assert "." in json.loads((out / "model" / "asr_adapt.json").read_text())["alphabet"]


def test_the_same_corpus_by_another_spelling_of_its_path_is_the_same_run(
    finished: Path, tones: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = times(finished)
    monkeypatch.chdir(tones.parent)
    run(tone_recipe(Path(tones.name), steps=STEPS), finished, Console(quiet=True))
    assert times(finished)["model/model.safetensors"] == before["model/model.safetensors"]


@pytest.mark.parametrize("lost", ["data/train.arrow", "data/doctor.json", "model/model.safetensors", "metrics.json"])
def test_what_was_deleted_is_made_again(tones: Path, tmp_path: Path, lost: str) -> None:
    out, recipe = tmp_path / "run", tone_recipe(tones, steps=1)
    run(recipe, out, Console(quiet=True))
    (out / lost).unlink()
    run(recipe, out, Console(quiet=True))
    assert (out / lost).is_file() and (out / "metrics.json").is_file()


def test_a_recording_that_is_added_does_not_change_the_split_of_others(tmp_path: Path) -> None:
    root, out = write_corpus(tmp_path / "corpus", train=30), tmp_path / "run"
    header, *rows = (root / "train.tsv").read_text(encoding="utf-8").splitlines()
    for name in ("train", "dev", "test"):
        (root / f"{name}.tsv").unlink()

    def sides(count: int) -> dict[str, str | None]:
        (root / "validated.tsv").write_text("\n".join((header, *rows[:count])), encoding="utf-8")
        run(tone_recipe(root, steps=1), out, Console(quiet=True))
        return {u.id: u.split for s in SPLITS for u in prepared.load(out / "data", s).utterances}

    first = sides(20)
    assert (out / "splits.tsv").is_file()
    second = sides(30)
    assert second.items() >= first.items() and len(second) == 30
    assert sides(20) == first

    rows = [row for row in rows if first.get(row.split("\t")[1]) != "test"]
    with pytest.raises(InputError, match=r"the test split is empty.*delete \S+splits\.tsv to split anew"):
        sides(10)
    (out / "splits.tsv").unlink()
    assert set(sides(10).values()) == {*SPLITS}


def test_an_empty_split_leaves_nothing_behind(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "corpus", train=0)
    with pytest.raises(InputError, match="the train split is empty"):
        run(tone_recipe(root), tmp_path / "run", Console(quiet=True))
    assert not (tmp_path / "run").exists()


def test_a_clip_that_was_mended_is_prepared_again(tmp_path: Path) -> None:
    root, out = write_corpus(tmp_path / "corpus"), tmp_path / "run"
    clip = root / "clips" / "test0.wav"
    sound = clip.read_bytes()
    clip.write_bytes(b"")
    assert run(tone_recipe(root, steps=1), out, Console(quiet=True)).utterances == 5
    clip.write_bytes(sound)
    assert run(tone_recipe(root, steps=1), out, Console(quiet=True)).utterances == 6


def test_a_corpus_that_was_copied_anew_is_the_same_corpus(tmp_path: Path) -> None:
    root, out = write_corpus(tmp_path / "corpus"), tmp_path / "run"
    run(tone_recipe(root, steps=1), out, Console(quiet=True))
    before = times(out)
    for clip in (root / "clips").iterdir():
        os.utime(clip, (1_000_000_000, 1_000_000_000))
    run(tone_recipe(root, steps=1), out, Console(quiet=True))
    assert times(out)["model/model.safetensors"] == before["model/model.safetensors"]


def test_a_model_that_goes_is_not_removed_in_silence(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tone_recipe(tones, steps=1), tmp_path / "run", Console())
    assert "restarting" not in capsys.readouterr().err
    run(tone_recipe(tones, steps=2), tmp_path / "run", Console())
    assert (
        "training settings changed: restarting training; the existing model will be deleted"
        in capsys.readouterr().err
    )


def test_a_change_that_was_broken_off_and_taken_back_redoes_what_it_removed(tones: Path, tmp_path: Path) -> None:
    out, recipe = tmp_path / "run", tone_recipe(tones, steps=1)
    run(recipe, out, Console(quiet=True))
    broken = recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update={"max_duration_s": 0.2})})
    with pytest.raises(InputError, match="no utterance of the train split can be used"):
        run(broken, out, Console(quiet=True))
    assert not (out / "model").exists()
    run(recipe, out, Console(quiet=True))
    assert (out / "model" / "model.safetensors").is_file()


def test_a_folder_of_another_corpus_or_language_is_refused_untouched(finished: Path, tmp_path: Path) -> None:
    before = times(finished)
    other = write_corpus(tmp_path / "other")
    with pytest.raises(InputError, match=r"belongs to another run: its corpus\.root"):
        run(tone_recipe(other, steps=STEPS), finished, Console(quiet=True))
    recipe = read_recipe(finished / "recipe.toml")
    for field in ("subset", "revision"):
        named = recipe.corpus.model_copy(update={field: "de_de"})
        with pytest.raises(InputError, match=rf"its corpus\.{field} is None, not de_de"):
            run(recipe.model_copy(update={"corpus": named}), finished, Console(quiet=True))
    with pytest.raises(InputError, match="its language is art, not mdw"):
        run(recipe.model_copy(update={"language": "mdw"}), finished, Console(quiet=True))
    assert {k: v for k, v in times(finished).items() if k != ".lock"} == {
        k: v for k, v in before.items() if k != ".lock"
    }


def test_a_folder_with_other_things_in_it_is_refused(tones: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="no run folder"):
        run(tone_recipe(tones), tmp_path, Console(quiet=True))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_second_run_in_the_same_folder_is_refused(finished: Path, tones: Path) -> None:
    with FileLock(finished / ".lock"), pytest.raises(RunLocked, match="another process"):
        run(tone_recipe(tones, steps=STEPS), finished, Console(quiet=True))


def test_a_missing_corpus_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such corpus"):
        run(tone_recipe(tmp_path / "nowhere"), tmp_path / "run", Console(quiet=True))
    assert not (tmp_path / "run").exists()


def test_one_bad_clip_never_ends_a_run(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "corpus")
    (root / "clips" / "train0.wav").write_bytes(b"no audio")
    (root / "clips" / "test0.wav").write_bytes(b"")
    metrics = run(tone_recipe(root, steps=2), tmp_path / "run", Console(quiet=True))
    assert metrics.excluded == {"unreadable_audio": 1} and metrics.utterances == 5


def test_evaluate_scores_a_model_on_a_corpus_as_the_run_did(finished: Path, tones: Path, tmp_path: Path) -> None:
    metrics = evaluate_folder(
        finished / "model", Source(root=tones), "test", tmp_path / "scores", Console(quiet=True)
    )
    kept = json.loads((finished / "metrics.json").read_text())
    again = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert metrics.wer == kept["wer"]
    assert again | {"transcribe_rtfx": 0} == kept | {"transcribe_rtfx": 0}


def test_evaluate_refuses_a_split_that_is_empty(finished: Path, tones: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the nosuch split is empty"):
        evaluate_folder(finished / "model", Source(root=tones), "nosuch", tmp_path, Console(quiet=True))


def test_evaluate_refuses_a_place_that_is_a_file_before_it_hears_anything(
    finished: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scores").touch()
    monkeypatch.delattr(stages.Transcriber, "transcribe_segments")
    with pytest.raises(InputError, match="scores: cannot be created"):
        evaluate_folder(finished / "model", Source(root=tones), "test", tmp_path / "scores", Console(quiet=True))


def test_an_archive_is_read_once_to_know_its_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, read = tmp_path / "clips.tar", []
    archive.write_bytes(b"clips")
    digest = storage._digest
    monkeypatch.setattr(storage, "_digest", lambda path: read.append(path) or digest(path))
    found = storage.content_digests(
        [f"{archive}#{number}.wav" for number in range(100)] + [str(tmp_path / "gone.wav")]
    )
    assert read == [str(archive), str(tmp_path / "gone.wav")]
    assert len(found) == 101 and len(set(found.values())) == 2 and found[str(tmp_path / "gone.wav")] is None


def test_a_recording_of_noise_that_cannot_be_read_is_said_before_anything_is_done(
    tones: Path, tmp_path: Path
) -> None:
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "x.wav").touch()
    with pytest.raises(AudioError, match=r"x\.wav"):
        run(tone_recipe(tones, noise=tmp_path / "noise", noise_share=0.5), tmp_path / "out", Console(quiet=True))
    assert not (tmp_path / "out").exists()


def test_a_short_recording_of_noise_is_as_good_as_a_long_one(tones: Path, tmp_path: Path) -> None:
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "x.wav", np.random.default_rng(0).normal(0, 0.1, 800), 16_000)
    recipe = tone_recipe(tones, steps=2, noise=tmp_path / "noise", noise_share=0.5)
    assert run(recipe, tmp_path / "out", Console(quiet=True)).utterances


@pytest.mark.parametrize("stage", ["prepare", "log"])
def test_a_disk_that_fills_in_any_stage_is_one_line_and_the_same_command_goes_on(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    recipe = tone_recipe(tones, steps=2)
    with monkeypatch.context() as full:
        full.setattr(*{"prepare": (prepared, "write"), "log": (state.Journal, "_write")}[stage], no_room)
        with pytest.raises(DiskFull, match=r"cannot be written: the disk is full\. Make room"):
            run(recipe, tmp_path / "out", Console(quiet=True))
    assert run(recipe, tmp_path / "out", Console(quiet=True)).utterances


def test_the_base_model_is_read_once_and_the_corpus_once(
    tones: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(module: object, name: str) -> None:
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, **kwargs: calls.append(name) or function(*args, **kwargs))

    counted(base_model, "configuration")
    counted(corpora, "read_all")
    run(tone_recipe(tones, str(base), steps=1), tmp_path / "run", Console(quiet=True))
    assert calls == ["configuration", "read_all"]


def test_a_plan_is_made_before_anything_is_written(tones: Path, tmp_path: Path) -> None:
    monitored = tmp_path / "corpus"
    shutil.copytree(tones, monitored)
    before = times(tmp_path)
    plan = RunPlan.of(tone_recipe(monitored))
    assert times(tmp_path) == before
    assert plan == RunPlan.of(tone_recipe(monitored))
    assert plan.prepare_inputs != RunPlan.of(tone_recipe(tones).model_copy(update={"language": "mi"})).prepare_inputs
    with pytest.raises(FrozenInstanceError):
        plan.noise = []  # type: ignore[misc]
