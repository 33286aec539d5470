"""What batches are made of: waveforms, each at a speed of its own, or what frozen layers said of them."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from asr_adapt import augment, ctc, features
from asr_adapt.features import Features
from asr_adapt.model import CTCModel
from asr_adapt.prepared import Prepared
from asr_adapt.recipe import Resolved
from asr_adapt.report import Console

Level = Literal["waveform", "encoder", "transformer"]


class Inputs:
    """The train split as a run hears it.

    Args:
        recipe: A recipe with every choice made.
        model: What is trained.
        data: The train split.
        folder: Where the output of frozen layers is kept.
    """

    def __init__(self, recipe: Resolved, model: CTCModel, data: Prepared, folder: Path) -> None:
        self._conf, self._policy = recipe.train, recipe.model.freeze
        self._model, self._data, self._folder = model, data, folder
        self._needed = [ctc.frames_needed(model.alphabet.encode(text)) for text in data.texts]
        self._kept: dict[Level, list[Features]] = {}

    def keep(self, console: Console) -> None:
        """Compute what frozen layers say, or open it where it was kept, as far as that saves work.

        The encoder's, while it is frozen and `train.cached_copies` allows it; the transformer's, while the head is
        trained alone. Neither where a clip would be heard less than once.
        """
        conf, steps = self._conf, self._conf.steps
        head_steps = steps if self._policy == "all_but_head" else conf.head_steps
        step_s = conf.batch_s * conf.accumulate
        whole_s = sum(u.duration_s or 0.0 for u in self._data.utterances)
        copies = conf.cached_copies if conf.cached_copies is not None else int(conf.speed == 0)
        if head_steps * step_s > copies * whole_s:
            self._keep("transformer", copies, console)
        if self._policy == "feature_encoder" and (steps - head_steps) * step_s > copies * whole_s:
            self._keep("encoder", copies, console)

    def of(self, clips: Sequence[int], step: int, batch: int, process: int) -> tuple[Level, list[np.ndarray]]:
        """Return a batch: waveforms, float32 (num_samples,), or fp16 (frames, channels) of the level named.

        A function of the recipe's seed and the arguments, as everything that training does.
        """
        rng = np.random.default_rng([self._conf.seed, step, batch, process, 1])  # another stream than the masks'
        alone = self._policy == "all_but_head" or step < self._conf.head_steps
        levels: tuple[Level, ...] = ("transformer", "encoder") if alone else ("encoder",)
        for level in levels:
            if level in self._kept:
                copies = self._kept[level]
                return level, [copies[rng.integers(len(copies))][i] for i in clips]
        return "waveform", [self._spoken(i, rng) for i in clips]

    def _keep(self, level: features.Level, copies: int, console: Console) -> None:
        kept = []
        for copy in range(copies):
            waveforms = [functools.partial(self._copy, i, copy) for i in range(len(self._data))]
            lengths = [len(w()) for w in waveforms] if self._conf.speed else self._data.num_samples()
            said = features.cached(self._model, level, waveforms, lengths, self._folder / f"copy{copy}", console)
            if said is None:
                return
            kept.append(said)
        if kept:
            self._kept[level] = kept

    def _copy(self, index: int, copy: int) -> np.ndarray:
        return self._spoken(index, np.random.default_rng([self._conf.seed, copy, index, 2]))

    def _spoken(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """Return a clip at a speed of its own; as it is where its text would no longer fit."""
        waveform = self._data.waveform(index).copy()
        factor = rng.uniform(1 - self._conf.speed, 1 + self._conf.speed)
        frames = self._model.grid.num_frames(len(waveform))
        if self._conf.speed and frames > factor * self._needed[index] + 1:
            return augment.speed(waveform, factor)
        return waveform
