"""What the student hears at each step, and what its teacher makes of it.

Clips of one source are put one after another until a window of 5 to 20 s is full; of the last one, what fits. So
positions late in a window are met as often as early ones, and nothing is padding. The teacher hears the window clean,
the student most of the time degraded (`noise.record`); half of the windows are played faster or slower to both.

Clips are decoded once, to `clips.i16` in the run folder.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import noise
import numpy as np
import torch
from teacher import Teacher
from tqdm import tqdm
from way_in import LATE, SHIFT

from asr_adapt import audio
from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.errors import AudioError, InputError
from asr_adapt.records import Utterance

WINDOW_S = (5.0, 8.0, 12.0, 20.0)
SILENCE_S = 1.0  # that the teacher hears after a window: with none, its layer 4 differs far more from 30 s (.85, .97)
SPEED = (0.85, 1.18)
DEGRADED_SHARE = 0.65
GAP_S = (0.05, 0.6)
LAYERS = (2, 4, 6)
# Of `transplant.CONVOLUTIONS`: samples from frame to frame, and what the last frame reaches beyond that.
_FRAME, _EXTENT = 320, 720
_TEACHER_RMS = 0.07
_BABBLE = 8


class Clips:
    """Decoded clips, 16 kHz, int16, in a file that is mapped into memory.

    Args:
        path: The file.
        starts: First sample of each clip, and one past the last.
    """

    def __init__(self, path: Path, starts: np.ndarray) -> None:
        self.starts = starts
        self._samples = np.memmap(path, np.int16, "r")

    @classmethod
    def decode(cls, utterances: Sequence[Utterance], path: Path) -> "Clips":
        """Decode clips, unless `path` is there; one that cannot be read is empty, and named."""
        index = path.with_suffix(".npy")
        if not index.is_file():
            starts = [0]
            with path.open("wb") as file:
                for utterance in tqdm(utterances, desc="decode", unit="clip"):
                    try:
                        samples = np.int16(np.clip(audio.load(utterance.audio), -1, 1) * 32_767)
                    except AudioError as error:
                        tqdm.write(f"left out: {error}")
                        samples = np.zeros(0, np.int16)
                    file.write(samples.tobytes())
                    starts.append(starts[-1] + len(samples))
            np.save(index, np.array(starts))
        return cls(path, np.load(index))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def durations_s(self) -> np.ndarray:
        """Return the length of each."""
        return np.diff(self.starts) / SAMPLE_RATE_HZ

    def __getitem__(self, number: int) -> np.ndarray:
        return self._samples[self.starts[number] : self.starts[number + 1]].astype(np.float32) / 32_767


@dataclass(frozen=True)
class Batch:
    """Windows of one length."""

    heard: torch.Tensor
    """float32 (windows, samples), each at zero mean and unit variance"""
    labels: list[list[int]]
    """of the clips that are whole; none where one of them has none"""
    labelled: list[int]
    """frames of these clips"""
    layers: list[torch.Tensor]
    """float16 (windows, frames, width), after each of `LAYERS`, as `hears` returns them"""


class Windows(torch.utils.data.IterableDataset[Batch]):
    """A batch for each step from `start` on, each a function of the seed and the step.

    Args:
        teacher: Its folder.
        clips: Decoded.
        labels: Of each clip; none where it serves the teacher alone.
        sources: Clips of each source, and its share of the windows.
        batch_s: Seconds in a step.
        start: First step.
        seed: Of everything.
    """

    def __init__(
        self,
        teacher: Path,
        clips: Clips,
        labels: Sequence[Sequence[int]],
        sources: Sequence[tuple[np.ndarray, float]],
        batch_s: float,
        start: int,
        seed: int,
    ) -> None:
        self._teacher, self._clips, self._labels = teacher, clips, labels
        self._batch_s, self._start, self._seed = batch_s, start, seed
        long_enough = (
            np.diff(clips.starts) >= _EXTENT
        )  # else a source of nothing but shorter ones never fills a window
        found = [(members[long_enough[members]], share) for members, share in sources]
        self._sources = [(members, share) for members, share in found if len(members)]
        if not self._sources:
            raise InputError("no clip is long enough", place="manifests", remedy=f"They need {_EXTENT} samples.")

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        teacher = Teacher.load(self._teacher)
        step = self._start + number
        while True:
            yield self.batch(teacher, np.random.default_rng([self._seed, step]))
            step += workers

    def batch(self, teacher: Teacher, rng: np.random.Generator) -> Batch:
        """Return windows drawn at random, with the teacher's hidden states."""
        length_s = rng.choice(WINDOW_S)
        clean, heard, labels, labelled = self.drawn(length_s, max(1, round(self._batch_s / length_s)), rng)
        _, layers = hears(teacher, clean)
        return Batch(torch.from_numpy(heard), labels, labelled, [states.half() for states in layers])

    def drawn(
        self, length_s: float, rows: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, list[list[int]], list[int]]:
        """Return windows: clean and as heard, float32 (rows, samples); labels, and frames of these, as in `Batch`."""
        size = round(length_s * SAMPLE_RATE_HZ) // _FRAME * _FRAME + _EXTENT
        shares = np.array([share for _, share in self._sources])
        clean, heard, labels, labelled = [], [], [], []
        for source in rng.choice(len(shares), rows, p=shares / shares.sum()):
            window, found, until = self._window(self._sources[source][0], size, rng)
            clean.append(window)
            labels.append(found)
            labelled.append(max(0, (until - _EXTENT) // _FRAME) if found else 0)
            others = [self._clips[i] for i in rng.choice(self._sources[source][0], _BABBLE)]
            degraded = noise.record(window, rng, others) if rng.random() < DEGRADED_SHARE else window
            heard.append((degraded - degraded.mean()) / (degraded.std() + 1e-7))
        return np.stack(clean), np.stack(heard).astype(np.float32), labels, labelled

    def _window(self, members: np.ndarray, size: int, rng: np.random.Generator) -> tuple[np.ndarray, list[int], int]:
        """Return samples (size,), the labels of the whole clips in them, and where these end."""
        factor = rng.uniform(*SPEED) if rng.random() < 0.5 else 1.0
        window = np.zeros(size, np.float32)
        labels: list[int] = []
        at = end = 0
        trusted = True
        while at < size:
            number = int(rng.choice(members))
            clip = self._clips[number]
            if factor != 1.0:
                clip = noise.change_speed(clip, factor)
            clip = clip * np.float32(10 ** (rng.uniform(-4, 4) / 20) * 0.05 / (clip.std() + 1e-4))
            taken = clip[: size - at]
            window[at : at + len(taken)] = taken
            at += len(taken)
            if len(taken) == len(clip):
                found = self._labels[number]
                trusted = trusted and bool(found)
                labels += ([1] if labels else []) + list(found)
                end = at
            at += int(rng.uniform(*GAP_S) * SAMPLE_RATE_HZ)
        window += rng.standard_normal(size, dtype=np.float32) * np.float32(10 ** rng.uniform(-5, -3))
        return window, labels if trusted else [], end


def bands(teacher: Teacher, windows: np.ndarray) -> torch.Tensor:
    """Return the log-mel bands, (windows, bands, frames of 10 ms), that the teacher's convolutions are given.

    Args:
        teacher: Frozen.
        windows: float32 (windows, samples), made as loud as the teacher expects.
    """
    waves = torch.from_numpy(windows)
    waves = waves / waves.std(dim=1, keepdim=True) * _TEACHER_RMS
    return teacher.mels(torch.nn.functional.pad(waves, (SHIFT, round(SILENCE_S * SAMPLE_RATE_HZ))))


@torch.inference_mode()
def hears(teacher: Teacher, windows: np.ndarray) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return what the teacher's first layer is given, less the positions, and its states after `LAYERS`, centred.

    Args:
        teacher: Frozen.
        windows: float32 (windows, frames * 320 + 720).
    """
    encoder = teacher.encoder
    frames = (windows.shape[1] - _EXTENT) // _FRAME
    with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_amx_tile_supported()):
        states = torch.nn.functional.gelu(encoder.conv1(bands(teacher, windows)))
        states = torch.nn.functional.gelu(encoder.conv2(states)).transpose(1, 2).float()
        first = states[:, LATE : LATE + frames]
        states = states + encoder.embed_positions.weight[: states.shape[1]]
        found = []
        for number, layer in enumerate(encoder.layers, start=1):
            output = layer(states, None)
            states = (output[0] if isinstance(output, tuple) else output).float()
            if number in LAYERS:
                found.append(states[:, LATE : LATE + frames])
    found = [each - each.mean(-1, keepdim=True) for each in found]
    if len(encoder.layers) in LAYERS:
        found[-1] = torch.nn.functional.layer_norm(found[-1], found[-1].shape[-1:])
    return first - first.mean(-1, keepdim=True), found
