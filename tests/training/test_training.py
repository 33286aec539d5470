"""Training: it learns, resumes bit for bit after kills and damage, and stops at divergence."""

import errno
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from conftest import TESTS, resolved, tone_recipe, write_base
from safetensors.torch import load_file
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asr_adapt import corpora
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import DiskFull, InputError, TrainingDiverged
from asr_adapt.model import ctc_model, encoders, forward, head, mixed_precision
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Recipe, Train
from asr_adapt.stages import train
from asr_adapt.stages.prepare import prepare
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.text.normaliser import Text
from asr_adapt.training import checkpoint, schedule, state
from asr_adapt.workflows.run import run

# A run in a process of its own, so that it can be killed.
SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import tone_recipe
from asr_adapt.console import Console
from asr_adapt.workflows.run import run
run(tone_recipe(Path({root!r}), steps=120, eval_steps=30, checkpoint_minutes=1e-6, learning_rate=1e-3,
                mask_time=0.2, mask_features=0.1, speed=0.1), Path({out!r}), Console())
"""

# At random, and the same again with the same seed as far as the machine's speed allows; 20 want some ten minutes.
KILLS = int(os.environ.get("ASR_ADAPT_KILLS", "5"))
KILL_SEED = int(os.environ.get("ASR_ADAPT_KILL_SEED", "1"))


@pytest.fixture(scope="module")
def data(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(tone_recipe(tones), corpora.read(tones, "art"), FrameGrid(), folder, Console(quiet=True))
    return folder


def trained(recipe: Recipe, data: Path, out: Path) -> tuple[CTCModel, state.Outcome]:
    recipe = resolved(recipe)
    train_split, dev_split = prepared.load(data, "train"), prepared.load(data, "dev")
    alphabet = Alphabet.from_texts(train_split.references)
    out.mkdir(exist_ok=True)
    adapted = head.create(recipe.model, alphabet, "art", Text(), recipe.train.seed)
    return adapted, train.train(recipe, adapted, train_split, dev_split, out, Console(quiet=True))


def frozen(recipe: Recipe, policy: str) -> Recipe:
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"freeze": policy})})


def weights(adapted: CTCModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in adapted.net.state_dict().items()}


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


def log(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]


def test_twenty_clips_are_learned_by_heart(tones: Path, data: Path, tmp_path: Path) -> None:
    adapted, _ = trained(tone_recipe(tones, steps=120), data, tmp_path)
    train_split = prepared.load(data, "train")
    assert len(train_split) == 20
    _, cer = state.validation_error_rates(adapted, train_split, "fp32")
    assert cer < 0.05


def test_the_loss_falls_and_the_log_has_what_it_promises(tones: Path, data: Path, tmp_path: Path) -> None:
    trained(tone_recipe(tones, steps=60), data, tmp_path)
    losses = [record["loss"] for record in log(tmp_path) if "loss" in record]
    assert losses[-1] < losses[0] / 2
    assert {"step", "loss", "rate", "blank_rate", "grad_norm"} <= log(tmp_path)[0].keys()
    assert [record["step"] for record in log(tmp_path) if "dev_wer" in record] == [25, 50, 60]


def test_the_seconds_of_training_exclude_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 15.0, 17.0])
    monkeypatch.setattr(state, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    tally = state.Tally()  # at 10 s
    with tally.paused():  # from 12 s to 15 s
        pass
    tally.add(torch.tensor(8.0), torch.tensor(0.5), clips=2)
    tally.close_step(labels=4, audio_s=12.0, norm=1.0)
    record = tally.record(Accelerator(cpu=True))  # at 17 s
    assert record["elapsed_s"] == 4.0 and record["audio_s_per_s"] == 3.0


@pytest.mark.parametrize("line", [b"", b'{"step": 1', b"\xff", b"[1]", b'{"step": null}', b"{}", b"[" * 100_000])
def test_a_damaged_line_of_the_log_is_later_than_every_checkpoint(line: bytes) -> None:
    assert state._step_of(b'{"step": 7, "loss": 0.5}') == 7
    assert state._step_of(line) == float("inf")


def test_the_model_that_is_kept_is_the_best_on_dev(tones: Path, data: Path, tmp_path: Path) -> None:
    adapted, outcome = trained(tone_recipe(tones, steps=75), data, tmp_path)
    looks = {r["step"]: min(r["dev_wer"], 1) + r["dev_cer"] for r in log(tmp_path) if "dev_wer" in r}
    assert looks[outcome.best_step] == min(looks.values())
    assert state.validation_error_rates(adapted, prepared.load(data, "dev"), "fp32") == pytest.approx(
        (outcome.best_wer, outcome.best_cer)
    )


def test_words_that_were_added_do_not_decide_which_early_model_is_the_best() -> None:
    assert state.badness(1.08, 0.65) < state.badness(0.93, 0.75) < state.badness(1.02, 0.69)


def test_the_same_seed_trains_the_same_weights_and_another_seed_others(
    tones: Path, data: Path, tmp_path: Path
) -> None:
    first, _ = trained(tone_recipe(tones, steps=5), data, tmp_path / "a")
    second, _ = trained(tone_recipe(tones, steps=5), data, tmp_path / "b")
    third, _ = trained(tone_recipe(tones, steps=5, seed=2), data, tmp_path / "c")
    assert equal(weights(first), weights(second))
    assert not equal(weights(first), weights(third))


def test_while_the_head_is_trained_alone_the_transformer_stays(base: Path, tones: Path, data: Path, tmp_path: Path):
    recipe = resolved(tone_recipe(tones, str(base), steps=3, head_steps=3))
    start = weights(head.create(recipe.model, Alphabet.from_texts(prepared.load(data, "train").references), "art",
                                 Text(), recipe.train.seed))  # fmt: skip
    adapted, _ = trained(recipe, data, tmp_path)
    moved = {name for name, value in weights(adapted).items() if not torch.equal(value, start[name])}
    assert moved == {"lm_head.weight", "lm_head.bias"}


@pytest.mark.parametrize("policy", ["feature_encoder", "below:1", "all_but_head"])
def test_what_frozen_layers_said_trains_as_the_waveforms_do(
    base: Path, tones: Path, data: Path, tmp_path: Path, policy: str
) -> None:
    losses = []
    for copies in (0, 1):
        recipe = tone_recipe(tones, str(base), steps=20, cached_copies=copies, head_steps=5, batch_s=20)
        trained(frozen(recipe, policy), data, tmp_path / str(copies))
        assert (tmp_path / str(copies) / "data" / "features").exists() is bool(copies)
        losses.append([line["loss"] for line in log(tmp_path / str(copies)) if "loss" in line])
    assert losses[0] == pytest.approx(losses[1], rel=5e-3)


@pytest.mark.parametrize("copies", [0, 1])
@pytest.mark.parametrize("more", [{}, {"gradient_checkpointing": True, "layer_decay": 0.5, "precision": "bf16"}])
def test_below_a_depth_no_weight_changes_and_above_it_all_do(
    base: Path, tones: Path, data: Path, tmp_path: Path, copies: int, more: dict
) -> None:
    settings = {"steps": 20, "batch_s": 20, "mask_time": 0.2, "mask_features": 0.1, "cached_copies": copies} | more
    recipe = frozen(tone_recipe(tones, str(base), **settings), "below:1")
    start = head.create(recipe.model, Alphabet.from_texts(prepared.load(data, "train").references), "art", Text(),
                        recipe.train.seed)  # fmt: skip
    before = weights(start)
    adapted, outcome = trained(recipe, data, tmp_path)
    assert outcome.skipped == 0
    moved = {name for name, value in weights(adapted).items() if not torch.equal(value, before[name])}
    above = {name for name in before if "encoder.layers.1." in name or name.startswith("lm_head")}
    if start.net.config.do_stable_layer_norm:
        above |= {name for name in before if "encoder.layer_norm" in name}
    # A key's bias adds the same to every score of a query: its gradient is zero up to rounding.
    assert moved - {name for name in above if "k_proj.bias" in name} == {n for n in above if "k_proj.bias" not in n}


def test_what_is_frozen_has_no_dropout_so_that_its_cache_is_what_it_says(
    base: Path, tones: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: set[tuple[bool, ...]] = set()
    step = torch.optim.AdamW.step

    def noted(optimiser: torch.optim.AdamW, *given: Any) -> Any:
        modes.add(tuple(layer.training for layer in adapted.net.wav2vec2.encoder.layers))
        return step(optimiser, *given)

    recipe = resolved(frozen(tone_recipe(tones, str(base), steps=2), "below:1"))
    train_split, dev_split = prepared.load(data, "train"), prepared.load(data, "dev")
    adapted = head.create(recipe.model, Alphabet.from_texts(train_split.references), "art", Text(), 1)
    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    train.train(recipe, adapted, train_split, dev_split, tmp_path, Console(quiet=True))
    assert modes == {(False, True)}


@pytest.mark.parametrize("copies", [0, 1])
def test_layers_that_are_not_unfrozen_yet_neither_learn_nor_have_dropout(
    base: Path, tones: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    seen: list[tuple[bool, ...]] = []
    step = torch.optim.AdamW.step

    def noted(optimiser: torch.optim.AdamW, *given: Any) -> Any:
        of_layers = [[p.grad is not None for p in layer.parameters()] for layer in net.wav2vec2.encoder.layers]
        below = [p.grad is not None for p in net.wav2vec2.feature_projection.parameters()]
        assert all(len({*grads}) == 1 for grads in (*of_layers, below))
        assert [layer.training for layer in net.wav2vec2.encoder.layers] == [grads[0] for grads in of_layers] or (
            len(seen) < 2
        )
        seen.append((below[0], *(grads[0] for grads in of_layers)))
        return step(optimiser, *given)

    settings = {"steps": 7, "batch_s": 20, "head_steps": 2, "unfreeze_steps": 3, "cached_copies": copies}
    recipe = resolved(frozen(tone_recipe(tones, str(base), mask_time=0.2, **settings), "feature_encoder"))
    train_split, dev_split = prepared.load(data, "train"), prepared.load(data, "dev")
    adapted = head.create(recipe.model, Alphabet.from_texts(train_split.references), "art", Text(), 1)
    net = adapted.net
    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    train.train(recipe, adapted, train_split, dev_split, tmp_path, Console(quiet=True))
    assert seen == [(False, False, False)] * 2 + [(False, False, True)] * 3 + [(True, True, True)] * 2


@pytest.mark.parametrize(("policy", "unfreeze_steps"), [("below:1", 0), ("feature_encoder", 8)])
def test_a_run_with_frozen_layers_that_is_resumed_ends_with_the_same_weights(
    base: Path,
    tones: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
    unfreeze_steps: int,
) -> None:
    settings = {"steps": 20, "batch_s": 20, "eval_steps": 10, "head_steps": 4, "cached_copies": 2, "speed": 0.1}
    settings["unfreeze_steps"] = unfreeze_steps  # the checkpoint is from before the second layer, at step 12
    recipe = frozen(tone_recipe(tones, str(base), mask_time=0.2, **settings), policy)
    whole, _ = trained(recipe, data, tmp_path / "whole")
    validate = state.Journal.validate

    def stop_at_the_second(journal: state.Journal, dev: SpeechSplit) -> None:
        if journal.step == 20:
            raise KeyboardInterrupt
        validate(journal, dev)

    monkeypatch.setattr(state.Journal, "validate", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, data, tmp_path / "stopped")
    monkeypatch.undo()
    assert steps_saved(tmp_path / "stopped") == [10]
    again, _ = trained(recipe, data, tmp_path / "stopped")
    assert equal(weights(whole), weights(again))


def test_accumulated_batches_have_the_loss_curve_of_large_ones(tones: Path, data: Path, tmp_path: Path) -> None:
    # Batches are cut differently, but a step over the whole corpus is the same sum divided by the same labels.
    split = prepared.load(data, "train")
    durations_s = [u.duration_s for u in split.utterances]
    counts = {
        len(schedule.batches_by_length(durations_s, 8, np.random.default_rng([1, epoch]))) for epoch in range(30)
    }
    (count,) = counts
    assert count > 1
    whole = tone_recipe(tones, steps=30, batch_s=10 * sum(durations_s))
    pieces = tone_recipe(tones, steps=30, batch_s=8, accumulate=count)
    trained(whole, data, tmp_path / "whole")
    trained(pieces, data, tmp_path / "pieces")
    left, right = ([r for r in log(tmp_path / name) if "loss" in r] for name in ("whole", "pieces"))
    assert len(left) == 3 and left[-1]["loss"] < left[0]["loss"] / 1.5
    for field, tolerance in (("loss", 1e-3), ("grad_norm", 5e-3)):
        assert [r[field] for r in left] == pytest.approx([r[field] for r in right], rel=tolerance)


def test_gradients_that_are_not_finite_are_skipped_and_end_the_run_after_a_limit(
    tones: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "clip_grad_norm_", lambda *_: torch.tensor(math.nan))
    with pytest.raises(TrainingDiverged, match=r"20 in all.*Lower train\.learning_rate. There is no model yet"):
        trained(tone_recipe(tones, steps=60), data, tmp_path)
    assert [record["skipped"] for record in log(tmp_path) if "skipped" in record] == list(range(1, 21))


def bad_from(step: int, until: int = 10**9) -> Callable:
    """Return a gradient norm that is not finite from one step up to another."""
    count = iter(range(10**9))
    return lambda *_: torch.tensor(math.nan if step <= next(count) < until else 1.0)


def test_a_run_that_diverges_leaves_the_best_model_so_far(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "clip_grad_norm_", bad_from(12))
    with pytest.raises(TrainingDiverged, match=r"step 31: .*The best, of step (5|10|15), is kept"):
        run(tone_recipe(tones, steps=60, eval_steps=5), tmp_path / "run", Console(quiet=True))
    best = checkpoint.load(tmp_path / "run/checkpoints/best").tensors
    kept = load_file(tmp_path / "run/model/model.safetensors")
    assert all(torch.equal(value, best[name]) and value.isfinite().all() for name, value in kept.items())
    assert not (tmp_path / "run/metrics.json").exists(), "it is not a run that ended"


def test_skipped_steps_are_counted_over_the_run_and_through_a_restart(
    tones: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate import Accelerator

    recipe = tone_recipe(tones, steps=10, eval_steps=5)
    monkeypatch.setattr(Accelerator, "clip_grad_norm_", bad_from(2, until=4))
    assert trained(recipe, data, tmp_path)[1].skipped == 2
    for path in (tmp_path / "checkpoints" / "step-00000010").iterdir():
        path.write_bytes(b"")
    monkeypatch.setattr(Accelerator, "clip_grad_norm_", bad_from(1, until=2))  # step 6, of those from 5 on
    assert trained(recipe, data, tmp_path)[1].skipped == 3
    assert [r["skipped"] for r in log(tmp_path) if "skipped" in r] == [1, 2, 3]


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint_whole(
    tones: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tone_recipe(tones, steps=20, eval_steps=5)
    whole, _ = trained(recipe, data, tmp_path / "whole")
    save, save_file, names = checkpoint.save, checkpoint.save_file, []
    monkeypatch.setattr(
        checkpoint, "save", lambda folder, name, *state: names.append(name) or save(folder, name, *state)
    )
    monkeypatch.setattr(
        checkpoint, "save_file", lambda tensors, path: (no_room if "0010" in names[-1] else save_file)(tensors, path)
    )
    with pytest.raises(DiskFull, match=r"cannot be written: the disk is full\. Make room") as caught:
        trained(recipe, data, tmp_path / "full")
    assert "\n" not in str(caught.value)
    assert steps_saved(tmp_path / "full") == [5] and checkpoint.newest(tmp_path / "full" / "checkpoints")[1] == []
    assert not list((tmp_path / "full" / "checkpoints").glob(".*"))
    monkeypatch.undo()
    again, _ = trained(recipe, data, tmp_path / "full")
    assert equal(weights(whole), weights(again))


def test_a_limit_on_the_size_of_files_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    script = """
import resource, sys, torch
from pathlib import Path
from asr_adapt.training import checkpoint
from asr_adapt.cli import one_line_errors
checkpoint.save_step(Path(sys.argv[1]), 1, {"w": torch.zeros(10)}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
with one_line_errors():
    checkpoint.save_step(Path(sys.argv[1]), 2, {"w": torch.zeros(100_000)}, {})
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "the file exceeds the size limit" in done.stderr and "step-00000002" in done.stderr
    found, problems = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 1 and problems == []


def test_one_bad_gradient_changes_no_weight(
    tones: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate import Accelerator

    recipe = resolved(tone_recipe(tones, steps=1))
    alphabet = Alphabet.from_texts(prepared.load(data, "train").references)
    before = weights(head.create(recipe.model, alphabet, "art", Text(), recipe.train.seed))
    monkeypatch.setattr(Accelerator, "clip_grad_norm_", lambda *_: torch.tensor(math.inf))
    adapted, _ = trained(recipe, data, tmp_path)
    assert equal(before, weights(adapted))


def start(tones: Path, out: Path) -> subprocess.Popen:
    script = SCRIPT.format(tests=str(TESTS), root=str(tones), out=str(out))
    return subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)


def steps_saved(out: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in (out / "checkpoints").glob("step-*"))


def wait_for_step(process: subprocess.Popen, out: Path, step: int) -> None:
    deadline = time.monotonic() + 200
    while max(steps_saved(out), default=0) < step:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_the_weights_of_one_that_was_not(tones: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(tones, whole).wait() == 0
    for step in (3, 40, 95):
        process = start(tones, killed)
        wait_for_step(process, killed, step)
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = start(tones, killed)
    said = last.communicate()[1]
    assert last.returncode == 0
    preparation, _, training = said.partition("\ntrain\n")
    assert preparation.endswith("\nalready done\n") and "resuming from the checkpoint after step" in training
    assert equal(load_file(whole / "model/model.safetensors"), load_file(killed / "model/model.safetensors"))
    looks = [[(r["step"], r.get("dev_wer"), r.get("dev_cer")) for r in log(out)] for out in (whole, killed)]
    assert looks[0] == looks[1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_run_killed_at_random_moments_ends_with_the_same_weights(tones: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    began = time.monotonic()
    assert start(tones, whole).wait() == 0
    takes_s = time.monotonic() - began
    rng, kills = random.Random(KILL_SEED), 0
    while kills < KILLS:
        process = start(tones, killed)
        try:
            process.communicate(timeout=rng.uniform(0, takes_s))
            assert process.returncode == 0
            shutil.rmtree(killed)  # it came to its end before it could be killed
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
    last = start(tones, killed)
    said = last.communicate()[1]
    assert last.returncode == 0, said
    assert equal(load_file(whole / "model/model.safetensors"), load_file(killed / "model/model.safetensors"))
    assert (whole / "hypotheses.jsonl").read_text() == (killed / "hypotheses.jsonl").read_text()
    looks = [[(r["step"], r.get("dev_wer"), r.get("dev_cer")) for r in log(out)] for out in (whole, killed)]
    assert looks[0] == looks[1]


@pytest.mark.slow
def test_sigterm_saves_and_leaves_and_the_run_goes_on(tones: Path, tmp_path: Path) -> None:
    process = start(tones, tmp_path / "run")
    wait_for_step(process, tmp_path / "run", 5)
    os.kill(process.pid, signal.SIGTERM)
    said = process.communicate()[1]
    assert process.returncode == 143
    assert "stopped by SIGTERM and saved after step" in said
    assert start(tones, tmp_path / "run").wait() == 0
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_a_resumed_run_goes_on_where_it_stopped(tones: Path, data: Path, tmp_path: Path) -> None:
    recipe = tone_recipe(tones, steps=60, eval_steps=25)
    whole, _ = trained(recipe, data, tmp_path)
    checkpoints = tmp_path / "checkpoints"
    assert steps_saved(tmp_path) == [50, 60]
    for path in (checkpoints / "step-00000060").iterdir():
        path.write_bytes(path.read_bytes()[:-1])  # the newest is damaged: fall back to the one before
    again, outcome = trained(recipe, data, tmp_path)
    assert outcome.steps == 60
    assert equal(weights(whole), weights(again))
    assert [record["step"] for record in log(tmp_path) if "dev_wer" in record] == [25, 50, 60]


def test_a_damaged_best_model_is_looked_for_again(tones: Path, data: Path, tmp_path: Path) -> None:
    recipe = tone_recipe(tones, steps=30, eval_steps=25)
    trained(recipe, data, tmp_path)
    (tmp_path / "checkpoints" / "best" / "state.safetensors").write_bytes(b"")
    _, outcome = trained(recipe, data, tmp_path)
    assert outcome.best_step == 30


def test_a_checkpoint_being_replaced_when_the_run_was_killed_is_still_found(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, "best", 3, {"w": torch.ones(1)}, {})
    (tmp_path / "best").rename(tmp_path / ".best.old")  # killed between the two renames
    assert checkpoint.load(tmp_path / "best").step == 3


def test_a_checkpoint_that_was_changed_is_passed_over_by_name(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save_step(tmp_path, step, {"w": torch.full((3,), float(step))}, {"best": {}})
    file = tmp_path / "step-00000002" / "state.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    found, problems = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 1 and found.tensors["w"].tolist() == [1, 1, 1]
    assert len(problems) == 1 and "step-00000002" in str(problems[0])


def test_two_step_checkpoints_are_kept_and_nothing_half_written(tmp_path: Path) -> None:
    for step in range(1, 6):
        checkpoint.save_step(tmp_path, step, {"w": torch.zeros(1)}, {})
    (tmp_path / ".asr-adapt-0123456789abcdef.partial").mkdir()  # what a kill in the middle of a save leaves
    assert checkpoint.newest(tmp_path)[0].step == 5
    assert sorted(p.name for p in tmp_path.glob("step-*")) == ["step-00000004", "step-00000005"]
    checkpoint.save_step(tmp_path, 6, {"w": torch.zeros(1)}, {})
    assert checkpoint.newest(tmp_path)[0].step == 6


def test_a_missing_checkpoint_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"meta\.json: cannot be read \(No such file or directory\)"):
        checkpoint.load(tmp_path / "best")


def test_bf16_trains_with_masks_and_keeps_the_weights_in_float32(tones: Path, data: Path, tmp_path: Path) -> None:
    recipe = tone_recipe(tones, steps=2, batch_s=3, warmup=0.0, mask_time=0.3, mask_features=0.1, precision="bf16")
    adapted, _ = trained(recipe, data, tmp_path)
    assert {value.dtype for value in weights(adapted).values()} == {torch.float32}
    assert all(math.isfinite(record["loss"]) for record in log(tmp_path) if "loss" in record)


@pytest.mark.parametrize(
    ("precision", "short_s", "expected"), [("bf16", 8, "eager"), ("bf16", 0.1, "sdpa"), ("fp32", 8, "sdpa")]
)
def test_short_clips_in_bf16_are_trained_without_the_attention_kernel(
    tones: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    short_s: float,
    expected: str,
) -> None:
    used, contextualise = set(), forward.contextualise

    def noting(net: Any, *given: Any, **more: Any) -> torch.Tensor:
        used.add(net.config._attn_implementation)
        return contextualise(net, *given, **more)

    monkeypatch.setattr(train, "_SHORT_S", short_s)
    monkeypatch.setattr(forward, "contextualise", noting)
    adapted, _ = trained(tone_recipe(tones, steps=1, precision=precision), data, tmp_path)
    assert used == {expected}
    assert adapted.net.config._attn_implementation == "sdpa"


def test_the_attention_kernel_and_plain_products_have_the_same_gradients() -> None:
    config = Wav2Vec2Config(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                            hidden_dropout=0, attention_dropout=0, activation_dropout=0, layerdrop=0,
                            do_stable_layer_norm=True)  # fmt: skip
    torch.manual_seed(0)
    net = Wav2Vec2ForCTC(config)
    clips = [torch.randn(frames, 512) for frames in (40, 25)]
    found = []
    for context in (nullcontext(), encoders.plain_attention(net)):
        with context:
            net.zero_grad()
            hidden = forward.contextualise(net, clips)
            (hidden[0].pow(3).sum() + hidden[1, :25].pow(3).sum()).backward()
        found.append(net.wav2vec2.encoder.layers[0].attention.v_proj.weight.grad.clone())
    assert float(found[0].abs().max()) > 1e-3
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_a_precision_that_is_asked_for_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_precision, "fastest", lambda device: "bf16")
    assert train.resolve_precision(Train()) == "bf16"
    assert train.resolve_precision(Train(precision="fp32")) == "fp32"


def test_dev_is_read_in_the_precision_of_training(
    tones: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    class Noting(state.Transcriber):
        def __init__(self, adapted: ctc_model.CTCModel, **settings: Any) -> None:
            taken.append(settings["precision"])
            super().__init__(adapted, **settings)

    monkeypatch.setattr(state, "Transcriber", Noting)
    monkeypatch.setattr(mixed_precision, "fastest", lambda device: "fp32")
    for precision in ("bf16", None):
        trained(tone_recipe(tones, steps=1, precision=precision), data, tmp_path / f"{precision}")
    assert taken == ["bf16", "fp32"]


def test_tensorboard_gets_the_curves_where_they_are_wanted(tones: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    trained(tone_recipe(tones, steps=1, tensorboard=True), data, tmp_path)
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_the_blank_plateau_is_named(tones: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    recipe = resolved(tone_recipe(tones, steps=30, learning_rate=1e-9, head_learning_rate=1e-9))
    alphabet = Alphabet.from_texts(prepared.load(data, "train").references)
    adapted = head.create(recipe.model, alphabet, "art", Text(), recipe.train.seed)
    with torch.no_grad():
        adapted.net.lm_head.bias[0] = 100.0  # writes nothing but blanks
    train.train(recipe, adapted, prepared.load(data, "train"), prepared.load(data, "dev"), tmp_path, Console())
    said = capsys.readouterr().err
    assert "blank plateau: CTC first" in said and "training ended on the blank plateau" in said


def test_without_a_copy_of_the_audio_the_weights_are_the_same_and_a_changed_file_stops_the_run(
    tones: Path, data: Path, tmp_path: Path
) -> None:
    root, decoded, base = tmp_path / "corpus", tmp_path / "decoded", write_base(tmp_path / "base", "layer")
    shutil.copytree(tones, root)
    recipe = tone_recipe(root)
    recipe = recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update={"copy_audio": False})})
    prepare(recipe, corpora.read(root, "art"), FrameGrid(), decoded, Console(quiet=True))
    assert sum(path.stat().st_size for path in decoded.glob("*.arrow")) < 50_000
    fields: dict[str, Any] = {"steps": 8, "eval_steps": 4, "batch_s": 4, "speed": 0.1, "checkpoint_minutes": 1e-6}
    recipe = tone_recipe(root, str(base), **fields)
    whole, _ = trained(recipe, data, tmp_path / "whole")

    split = prepared.load(decoded, "train")
    (((first, *_),),) = schedule.plan(split.durations_s, resolved(recipe).train, 3, 4)  # of the first epoch
    clip = Path(split.utterances[first].audio)
    content = clip.read_bytes()
    clip.write_bytes(content[:-2] + b"\1\1")
    with pytest.raises(InputError, match=rf"{clip.name}: has changed since the corpus was prepared"):
        trained(recipe, decoded, tmp_path / "out")
    clip.write_bytes(content)
    adapted, _ = trained(recipe, decoded, tmp_path / "out")
    assert all(torch.equal(ours, whole.net.state_dict()[name]) for name, ours in adapted.net.state_dict().items())
