"""Voice activity: recordings and live audio are split at pauses by silero-vad (its weights are in its wheel)."""

import functools
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.telemetry import import_onnxruntime

WINDOW = 512  # samples; silero-vad's own at 16 kHz, 32 ms
_CONTEXT = 64  # samples before a window that it sees too

# Speech that is missed costs words; what is taken for speech and is none costs invented ones. Of .3, .45 and .5
# (silero's own), .45 was best on Mboshi (docs/log.md). Breathy onsets and whispered ends belong to the speech beside
# them.
SPEECH_THRESHOLD = 0.45
_EDGE_THRESHOLD = 0.15
_MIN_SPEECH = 3  # windows above the threshold; fewer are a click or the onset of a chord

# silero-vad misses speech below -60 dBFS, so quieter audio is amplified, by what the loudest window so far needs;
# that is forgotten at 1 dB a second, so that a slammed door does not hide a distant voice.
_LEVEL = 0.05  # RMS
_MAX_GAIN = 2000.0
_LEVEL_DECAY_DB = WINDOW / SAMPLE_RATE_HZ  # a window
# The feature extractor adds 1e-7 to the variance that it divides by: below this RMS, a segment would reach the
# model quieter than anything in training. The demo's model had a WER of .291 with 60 dB less gain, .014 without.
_FAINT, _AMPLIFIED = 0.001, 0.01

LIMIT_S = 30.0
"""Seconds in the longest segment."""
# A model that learned from clips of a sentence each runs words together where a segment holds two: of an hour made of
# clips, the demo's model had a WER of .49 in segments of up to 30 s, .26 in segments that end at each pause.
_PAUSE = 10  # windows, 0.3 s
_MARGIN = 6  # windows of silence that are kept on either side of speech, 0.2 s
# Windows, 1 s: shorter silence at the ends of a recording is kept, so that a clip of a sentence is read whole, as in
# training. Nine in ten of Mboshi's clips and of the demo's begin and end with less.
_EDGE = 31
_QUIET_S = 0.2


class VoiceActivity:
    """Returns the probability of speech, window by window, as audio arrives (silero-vad 6, MIT licence)."""

    def __init__(self) -> None:
        self._hidden = np.zeros((1, 1, 128), np.float32)
        self._cell = np.zeros((1, 1, 128), np.float32)
        self._left = np.zeros(_CONTEXT, np.float32)
        self._level_db = _decibels(_LEVEL / _MAX_GAIN)

    def probabilities(self, block: np.ndarray) -> np.ndarray:
        """Return float32 (windows,), in [0, 1], of the windows of 512 samples that this block completes.

        Args:
            block: float32 (num_samples,), 16 kHz, which follows the block of the last call.
        """
        samples = np.concatenate([self._left, block])
        windows = (len(samples) - _CONTEXT) // WINDOW
        self._left = samples[windows * WINDOW :]
        if not windows:
            return np.zeros(0, np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(samples, _CONTEXT + WINDOW)[::WINDOW][:windows]
        inputs = {"input": frames * self._gains(frames)[:, None], "h": self._hidden, "c": self._cell}
        values, self._hidden, self._cell = _session().run(["speech_probs", "hn", "cn"], inputs)
        return values.reshape(-1)

    def _gains(self, frames: np.ndarray) -> np.ndarray:
        """Return the gain of each window, float32 (windows,), at least 1; frames: float32 (windows, samples)."""
        rms = np.sqrt(np.mean(np.square(frames[:, _CONTEXT:], dtype=np.float64), axis=1))
        floor_db = _decibels(_LEVEL / _MAX_GAIN)
        # level[i] = max(rms[i], level[i - 1] - decay), for all windows at once
        decay_db = _LEVEL_DECAY_DB * np.arange(len(rms) + 1)
        levels_db = np.append(self._level_db, _decibels(np.maximum(rms, 1e-9))) + decay_db
        levels_db = np.maximum(np.maximum.accumulate(levels_db) - decay_db, floor_db)[1:]
        self._level_db = float(levels_db[-1])
        return np.maximum(1.0, 10 ** ((_decibels(_LEVEL) - levels_db) / 20)).astype(np.float32)


class Segmenter:
    """Splits audio, as it arrives, into the segments in which somebody speaks.

    A segment ends at each pause of 0.3 s, with at most 0.2 s of it, and at the quietest place where speech continues
    for 30 s. Silence of up to 1 s at the ends of the recording is kept. Audio without speech is in no segment.
    Segments fainter than -60 dBFS are amplified. At most a segment and a block are held.

    Args:
        is_live: Return segments as early as possible: 0.4 s after the speech, even where it may be the end of the
            recording.
    """

    def __init__(self, *, is_live: bool = False) -> None:
        self._latest_end = 2 * _MARGIN if is_live else _EDGE
        self._restart(0)

    def _restart(self, first_sample: int) -> None:
        self._voice = VoiceActivity()
        self._first_sample = first_sample  # of what is held
        self._held = np.zeros(0, np.float32)
        self._probabilities = np.zeros(0, np.float32)  # of the whole windows in it
        self._is_start = True

    def feed(self, block: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Return `(first sample, waveform)` of the segments that end in a block, float32 (num_samples,), 16 kHz."""
        self._held = np.concatenate([self._held, block])
        self._probabilities = np.concatenate([self._probabilities, self._voice.probabilities(block)])
        return self._ended(is_last=False)

    def flush(self) -> list[tuple[int, np.ndarray]]:
        """Return the segments that are not ended yet; what is fed next is a new recording, its samples counted on."""
        ended = self._ended(is_last=True)
        self._restart(self._first_sample + len(self._held))
        return ended

    def _ended(self, *, is_last: bool) -> list[tuple[int, np.ndarray]]:
        found = []
        while (segment := self._next(is_last=is_last)) is not None:
            found.append(segment)
        return found

    def _next(self, *, is_last: bool) -> tuple[int, np.ndarray] | None:
        """Remove and return the first segment, if its end is known."""
        stretches, known = _speech(self._probabilities, is_last=is_last)
        if not stretches:
            if not self._is_start or known > _EDGE:
                self._drop(max(0, known - _MARGIN) * WINDOW)
            return None
        first, end = stretches.pop(0)
        while stretches and stretches[0][0] - end < _PAUSE:
            _, end = stretches.pop(0)
        begin = 0 if self._is_start and first <= _EDGE else max(0, first - _MARGIN)
        limit = begin * WINDOW + int(LIMIT_S * SAMPLE_RATE_HZ)
        if end * WINDOW > limit:
            cut = begin * WINDOW + _quietest(self._held[begin * WINDOW : limit])
            return self._take(begin * WINDOW, cut, cut)
        if stretches:
            following = stretches[0][0]
            cut = end + min(_MARGIN, (following - end) // 2)
            return self._take(begin * WINDOW, min(limit, cut * WINDOW), cut * WINDOW)
        if known - end > self._latest_end:
            cut = end + _MARGIN
            return self._take(begin * WINDOW, min(limit, cut * WINDOW), cut * WINDOW)
        if is_last:
            return self._take(begin * WINDOW, min(limit, len(self._held)), len(self._held))
        return None

    def _take(self, begin: int, end: int, following: int) -> tuple[int, np.ndarray]:
        """Return samples `begin` to `end` of what is held, and drop those before `following`."""
        segment = (self._first_sample + begin, _audible(self._held[begin:end]))
        self._drop(following)
        return segment

    def _drop(self, samples: int) -> None:
        self._is_start = self._is_start and not samples
        self._first_sample += samples
        self._held, self._probabilities = self._held[samples:], self._probabilities[-(-samples // WINDOW) :]


def segments(blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield `(first sample, waveform)` of the segments of a recording, as `Segmenter` splits it.

    Args:
        blocks: float32 (num_samples,) each, 16 kHz, one after the other.
    """
    segmenter = Segmenter()
    for block in blocks:
        yield from segmenter.feed(block)
    yield from segmenter.flush()


def _speech(probabilities: np.ndarray, *, is_last: bool) -> tuple[list[tuple[int, int]], int]:
    """Return the stretches of speech as `(first, end)` windows, and up to which window that is known.

    A stretch that has only begun may yet become speech, unless the audio is `is_last`.
    """
    active = np.concatenate([[False], probabilities >= _EDGE_THRESHOLD, [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(active))
    loud = np.append(0, np.cumsum(probabilities >= SPEECH_THRESHOLD))
    runs = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    found = [(first, end) for first, end in runs if loud[end] - loud[first] >= _MIN_SPEECH]
    is_pending = not is_last and runs and runs[-1][1] == len(probabilities) and runs[-1] not in found
    return found, runs[-1][0] if is_pending else len(probabilities)


def _audible(waveform: np.ndarray) -> np.ndarray:
    """Return a copy of float32 (num_samples,), amplified where it is so faint that a model cannot read it."""
    rms = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
    return waveform * np.float32(_AMPLIFIED / rms if 0 < rms < _FAINT else 1)


def _decibels(amplitude: Any) -> Any:
    return 20 * np.log10(amplitude)


def _quietest(waveform: np.ndarray) -> int:
    """Return a sample near the middle of the quietest 200 ms of the last third, on the grid of windows."""
    begin, width = len(waveform) * 2 // 3, int(_QUIET_S * SAMPLE_RATE_HZ)
    energy = np.cumsum(np.square(waveform[begin:], dtype=np.float64))
    middle = begin + int(np.argmin(energy[width:] - energy[:-width])) + width // 2
    return middle // WINDOW * WINDOW


@functools.cache
def _session() -> Any:
    """Return silero-vad's network for many windows at once, on one thread: some 400 times real time."""
    onnxruntime = import_onnxruntime()
    # Importing the package would set torch to one thread for the whole process.
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("silero-vad is not installed")
    path = Path(spec.submodule_search_locations[0]) / "data" / "silero_vad_16k_sequence.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
