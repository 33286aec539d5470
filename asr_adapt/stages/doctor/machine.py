"""What training on this corpus would want of this machine: a step that was timed, and memory by arithmetic."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.model import base, forward, freezing, head
from asr_adapt.model.device import best_device
from asr_adapt.recipe import Recipe
from asr_adapt.records import Utterance
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.training import memory, presets
from asr_adapt.training.data import cached_copies

_Result = TypeVar("_Result")
_TIMED_S = 10.0  # of noise in a step
_STEPS = 2  # after one that is not timed


@dataclass(frozen=True)
class Estimate:
    """About one training run."""

    hours: float
    memory_gb: float
    free_gb: float
    how: str


def grid(recipe: Recipe) -> FrameGrid:
    """Return the frames of the recipe's base model."""
    return base.frame_grid(base.configuration(recipe.model))


def estimate(recipe: Recipe, utterances: Sequence[Utterance], hours: float) -> Estimate:
    """Return what the recipe's training would take here, with `hours` of labelled speech.

    Forward and backward passes of the base model are timed on seconds of noise; evaluation is not counted.
    """
    normalise = Normaliser(recipe.text, recipe.language)
    alphabet = Alphabet.from_texts((normalise(u.text or "") for u in utterances), recipe.text)
    config = base.configuration(recipe.model)
    resolved, _ = presets.resolve(recipe, hours, config.hidden_size)
    train = resolved.train
    model = head.create(resolved.model, alphabet, recipe.language, recipe.text, seed=0)
    freezing.freeze(model.net, resolved.model.freeze, resolved.model.adapter)
    device = best_device()
    model.net.to(device).train()  # type: ignore[arg-type]
    noise = np.random.default_rng(0).standard_normal((1, int(_TIMED_S * SAMPLE_RATE_HZ))).astype(np.float32)
    clip = torch.from_numpy(noise[0] * 0.1).to(device)
    depth = freezing.frozen_depth(resolved.model.freeze, config)

    def frozen_part() -> list[torch.Tensor]:
        with torch.no_grad():
            features = forward.encode(model, [clip])
            return [forward.contextualise(model.net, features, until=depth)[0]] if depth else features

    def trained_part() -> None:
        given = forward.encode(model, [clip]) if depth is None else states
        hidden = forward.contextualise(model.net, given, depth=depth or 0)
        model.net.lm_head(hidden).square().mean().backward()

    states, _ = _timed(frozen_part, device)  # the first is not counted
    frozen_s = [0.0 if depth is None else _timed(frozen_part, device)[1] for _ in range(_STEPS)]
    trained_s = [_timed(trained_part, device)[1] for _ in range(1 + _STEPS)][1:]
    below, above = (float(np.mean(seconds)) / _TIMED_S for seconds in (frozen_s, trained_s))  # s for 1 s of audio
    audio_s = train.steps * train.batch_s * train.accumulate
    cached_s = cached_copies(resolved) * hours * 3600 if depth is not None else 0.0
    work_s = audio_s * above + min(cached_s or audio_s, audio_s) * below
    needed = memory.needed_bytes(resolved, config, train.batch_s)
    how = (
        f"{_STEPS} steps of {recipe.model.base} on {_TIMED_S:g} s of noise ran at {audio_s / work_s:.0f} times real "
        f"time on {device.type}, {torch.get_num_threads()} threads; {train.steps:,} steps of {train.batch_s:g} s, "
        "evaluation not counted; memory by arithmetic"
    )
    return Estimate(work_s / 3600, needed / 1e9, memory.free_bytes(device) / 1e9, how)


def _timed(work: Callable[[], _Result], device: torch.device) -> tuple[_Result, float]:
    """Return what `work` returns, and the seconds that it took."""
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return result, time.perf_counter() - start
