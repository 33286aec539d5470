"""Inputs of training: augmented waveforms, or cached outputs of frozen layers."""

import functools
import json
import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_adapt import audio
from asr_adapt.audio import augment
from asr_adapt.audio.decoded_cache import ordered_map
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.decoding import ctc
from asr_adapt.model import freezing
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Resolved, fingerprint_fields
from asr_adapt.storage import content_digests
from asr_adapt.training import feature_cache, schedule
from asr_adapt.training.feature_cache import Features

_NOISE_S = 60.0  # of each recording of noise; the memory it takes is bounded by this and the next
_NOISES_IN_MEMORY = 64
_MAX_WORKERS, _STEPS_WAITING = 8, 2  # the steps that are made ahead take 5 MB for each 80 s of audio


def cached_copies(recipe: Resolved) -> int:
    """Return how many copies of the frozen layers' output are cached, if that saves work."""
    copies = recipe.train.cached_copies
    return int(not recipe.augment.changes_clips) if copies is None else copies


@dataclass(frozen=True)
class Batch:
    """What one process trains on of a batch."""

    depth: int | None
    """of `arrays`: how many layers they have been through; None: they are waveforms"""
    arrays: list[np.ndarray]
    """fp16 (frames, channels) or float32 (num_samples,) of each clip"""
    labels: list[list[int]]
    """label ids of each clip"""
    weights: list[float]
    """of each clip's loss"""


@dataclass(frozen=True)
class Step:
    """The batches of a step."""

    batches: list[Batch]
    num_labels: int
    """over all processes"""
    audio_s: float
    """seconds of audio, over all processes"""


class Inputs:
    """The train split as model inputs: augmented, and cached as far as layers are frozen.

    Args:
        recipe: A recipe with every choice made.
        model: What is trained.
        data: The train split.
        folder: Where outputs of frozen layers are cached.
    """

    def __init__(self, recipe: Resolved, model: CTCModel, data: SpeechSplit, folder: Path) -> None:
        self._conf, self._copies = recipe.train, cached_copies(recipe)
        self._depth = freezing.frozen_depth(recipe.model.freeze, model.net.config)
        self._last = int(model.net.config.num_hidden_layers)
        self._model, self._data, self._folder = model, data, folder
        self._workers = min(recipe.corpus.workers or os.cpu_count() or 1, _MAX_WORKERS)
        self._cached: dict[int, list[Features]] = {}
        conf = self._augment = recipe.augment
        self._noise = augment.recordings(conf.noise, "augment.noise") if conf.noise and conf.noise_share else []
        self._rooms = augment.recordings(conf.rooms, "augment.rooms") if conf.rooms and conf.room_share else []
        self._recording = functools.lru_cache(_NOISES_IN_MEMORY)(functools.partial(audio.load, end_s=_NOISE_S))

    def fill_cache(self, console: Console) -> None:
        """Compute outputs of frozen layers, or open them from disk, as far as that saves work.

        At the depth that is frozen all along, while `train.cached_copies` allows it; the transformer's, while only
        the head is trained. Neither where a clip would be used less than once.
        """
        conf, steps = self._conf, self._conf.steps
        head_steps = steps if self._depth == self._last else conf.head_steps
        step_s = conf.batch_s * conf.accumulate
        whole_s = self._copies * float(self._data.durations_s.sum())
        if head_steps * step_s > whole_s:
            self._cache(self._last, console)
        if self._depth is not None and (steps - head_steps) * step_s > whole_s:
            self._cache(self._depth, console)

    def ahead(
        self, plan: Iterable[list[list[int]]], first: int, process: int, processes: int
    ) -> Generator[Step, None, None]:
        """Yield what a process trains on in step after step; the next ones are made meanwhile, on other threads.

        Args:
            plan: The clips of each batch of each step (`schedule.plan`).
            first: The number of the first step.
            process: Which of several processes this is.
            processes: How many there are.
        """

        def made(numbered: tuple[int, list[list[int]]]) -> Step:
            step, batches = numbered
            labels = {i: self._model.alphabet.encode(self._data.references[i]) for batch in batches for i in batch}
            mine = []
            for number, batch in enumerate(batches):
                clips, weights = zip(*schedule.share(batch, process, processes), strict=True)
                depth, arrays = self.of(clips, step, number, process)
                mine.append(Batch(depth, arrays, [labels[i] for i in clips], list(weights)))
            num_labels = sum(len(labels[i]) for batch in batches for i in batch)
            audio_s = sum(float(self._data.durations_s[batch].sum()) for batch in batches)
            return Step(mine, num_labels, audio_s)

        return ordered_map(made, enumerate(plan, start=first), self._workers, self._workers + _STEPS_WAITING)

    def of(self, clips: Sequence[int], step: int, batch: int, process: int) -> tuple[int | None, list[np.ndarray]]:
        """Return a batch: fp16 (frames, channels) each and their depth, or float32 (num_samples,) each and None.

        A function of the recipe's seed and the arguments, like everything that training does.
        """
        rng = np.random.default_rng([self._conf.seed, step, batch, process, 1])  # another stream than the masks'
        for depth in (self._last, self._depth) if step < self._conf.head_steps else (self._depth,):
            if depth in self._cached:
                copies = self._cached[depth]
                return depth, [copies[rng.integers(len(copies))][i] for i in clips]
        return None, [self._augmented(i, rng) for i in clips]

    def _cache(self, depth: int, console: Console) -> None:
        features = []
        # A folder's name does not identify its contents.
        recordings = content_digests(map(str, [*self._noise, *self._rooms]))
        key = fingerprint_fields(self._augment) | {"seed": self._conf.seed, "recordings": recordings}
        how = json.dumps(key, sort_keys=True)
        for copy in range(self._copies):
            waveform = functools.partial(self._copy, copy)
            lengths = self._data.lengths
            if self._augment.speed:
                played = functools.partial(self._length_at_random_speed, copy)
                clips = range(len(self._data))
                lengths = np.fromiter(ordered_map(played, clips, self._workers), np.int64, len(clips))
            folder = self._folder / f"copy{copy}"
            output = feature_cache.cached(self._model, depth, waveform, lengths, how, folder, console)
            if output is None:
                return
            features.append(output)
        if features:
            self._cached[depth] = features

    def _copy(self, copy: int, index: int) -> np.ndarray:
        return self._augmented(index, self._rng_of_copy(index, copy))

    def _length_at_random_speed(self, copy: int, index: int) -> int:
        return len(self._at_random_speed(index, self._rng_of_copy(index, copy)))

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
        if self._augment.speed:
            needed = ctc.frames_needed(self._model.alphabet.encode(self._data.references[index]))
            if self._model.grid.num_frames(len(waveform)) > factor * needed + 1:
                return augment.speed(waveform, factor)
        return waveform
