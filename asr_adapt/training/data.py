"""Inputs of training: augmented waveforms, or cached outputs of frozen layers."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from asr_adapt import audio
from asr_adapt.audio import augment
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.decoding import ctc
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Resolved, fingerprint_fields
from asr_adapt.storage import content_digests
from asr_adapt.training import feature_cache
from asr_adapt.training.feature_cache import Features

_NOISE_S = 60.0  # of each recording of noise; the memory it takes is bounded by this and the next
_NOISES_IN_MEMORY = 64
Level = Literal["waveform", "encoder", "transformer"]


class Inputs:
    """The train split as model inputs: augmented, and cached as far as layers are frozen.

    Args:
        recipe: A recipe with every choice made.
        model: What is trained.
        data: The train split.
        folder: Where outputs of frozen layers are cached.
    """

    def __init__(self, recipe: Resolved, model: CTCModel, data: SpeechSplit, folder: Path) -> None:
        self._conf, self._policy = recipe.train, recipe.model.freeze
        self._model, self._data, self._folder = model, data, folder
        self._needed = [ctc.frames_needed(model.alphabet.encode(text)) for text in data.references]
        self._cached: dict[Level, list[Features]] = {}
        conf = self._augment = recipe.augment
        self._noise = augment.recordings(conf.noise, "augment.noise") if conf.noise and conf.noise_share else []
        self._rooms = augment.recordings(conf.rooms, "augment.rooms") if conf.rooms and conf.room_share else []
        self._recording = functools.lru_cache(_NOISES_IN_MEMORY)(functools.partial(audio.load, end_s=_NOISE_S))

    def fill_cache(self, console: Console) -> None:
        """Compute outputs of frozen layers, or open them from disk, as far as that saves work.

        The encoder's, while it is frozen and `train.cached_copies` allows it; the transformer's, while only the head
        is trained. Neither where a clip would be used less than once.
        """
        conf, steps = self._conf, self._conf.steps
        head_steps = steps if self._policy == "all_but_head" else conf.head_steps
        step_s = conf.batch_s * conf.accumulate
        whole_s = sum(u.duration_s or 0.0 for u in self._data.utterances)
        copies = conf.cached_copies if conf.cached_copies is not None else int(not self._augment.changes_clips)
        if head_steps * step_s > copies * whole_s:
            self._cache("transformer", copies, console)
        if self._policy == "feature_encoder" and (steps - head_steps) * step_s > copies * whole_s:
            self._cache("encoder", copies, console)

    def of(self, clips: Sequence[int], step: int, batch: int, process: int) -> tuple[Level, list[np.ndarray]]:
        """Return a batch: waveforms, float32 (num_samples,), or fp16 (frames, channels) of the level named.

        A function of the recipe's seed and the arguments, like everything that training does.
        """
        rng = np.random.default_rng([self._conf.seed, step, batch, process, 1])  # another stream than the masks'
        head_only = self._policy == "all_but_head" or step < self._conf.head_steps
        levels: tuple[Level, ...] = ("transformer", "encoder") if head_only else ("encoder",)
        for level in levels:
            if level in self._cached:
                copies = self._cached[level]
                return level, [copies[rng.integers(len(copies))][i] for i in clips]
        return "waveform", [self._augmented(i, rng) for i in clips]

    def _cache(self, level: feature_cache.Level, copies: int, console: Console) -> None:
        features = []
        # A folder's name does not identify its contents.
        recordings = content_digests(map(str, [*self._noise, *self._rooms]))
        key = fingerprint_fields(self._augment) | {"seed": self._conf.seed, "recordings": recordings}
        how = json.dumps(key, sort_keys=True)
        for copy in range(copies):
            waveforms = [functools.partial(self._copy, i, copy) for i in range(len(self._data))]
            lengths = self._data.num_samples()
            if self._augment.speed:
                lengths = [len(self._at_random_speed(i, self._rng_of_copy(i, copy))) for i in range(len(self._data))]
            folder = self._folder / f"copy{copy}"
            output = feature_cache.cached(self._model, level, waveforms, lengths, how, folder, console)
            if output is None:
                return
            features.append(output)
        if features:
            self._cached[level] = features

    def _copy(self, index: int, copy: int) -> np.ndarray:
        return self._augmented(index, self._rng_of_copy(index, copy))

    def _rng_of_copy(self, index: int, copy: int) -> np.random.Generator:
        return np.random.default_rng([self._conf.seed, copy, index, 2])

    def _augmented(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """Return an augmented clip: float32 (num_samples,), as long as that of `_at_random_speed`."""
        conf, waveform = self._augment, self._at_random_speed(index, rng)
        if conf.room_share and rng.random() < conf.room_share:
            room = (
                self._recording(self._rooms[rng.integers(len(self._rooms))])
                if self._rooms
                else augment.room_response(rng)
            )
            waveform = augment.in_room(waveform, room)
        if conf.noise_share and rng.random() < conf.noise_share:
            noise = augment.random_segment(self._any(self._noise, rng), len(waveform), rng)
            waveform = augment.add_noise(waveform, noise, rng.uniform(*conf.noise_snr_db))
        if conf.gain_share and rng.random() < conf.gain_share:
            waveform = augment.at_level(waveform, rng.uniform(-conf.gain_db, conf.gain_db))
        if conf.codec_share and rng.random() < conf.codec_share:
            waveform = augment.coded(waveform, str(rng.choice(augment.CODECS)))
        return waveform

    def _any(self, recordings: Sequence[Path], rng: np.random.Generator) -> np.ndarray:
        return self._recording(recordings[int(rng.integers(len(recordings)))])

    def _at_random_speed(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """Return a clip at a random speed, or unchanged where its transcript would no longer fit."""
        waveform = self._data.waveform(index).copy()
        factor = rng.uniform(1 - self._augment.speed, 1 + self._augment.speed)
        frames = self._model.grid.num_frames(len(waveform))
        if self._augment.speed and frames > factor * self._needed[index] + 1:
            return augment.speed(waveform, factor)
        return waveform
