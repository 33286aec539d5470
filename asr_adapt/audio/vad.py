"""Where a long recording is cut: at pauses, which silero-vad hears (its weights are in its wheel)."""

import functools
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from asr_adapt.audio import SAMPLE_RATE_HZ

WINDOW = 512  # samples; silero-vad's own at 16 kHz, 32 ms
_CONTEXT = 64  # samples before a window that it sees too
# A pause that is missed costs a cut at the quietest place, speech that is missed costs words; what is taken for
# speech and is none costs invented ones. Of .3, .45 and .5 (silero's own), .45 was best on Mboshi (docs/log.md).
_SPEECH = 0.45
# A model that learned from clips of a sentence each writes ends and beginnings in one where a piece holds two: of an
# hour made of clips, the demo's model had a WER of .49 in pieces of up to 30 s, .26 when each pause was a cut.
_PAUSE_S = 0.3
_MARGIN_S = 0.2  # of silence that stays on either side of speech
_QUIET_S = 0.2


class VoiceActivity:
    """Says how likely speech is, window by window, while a recording comes in (silero-vad 6, MIT licence)."""

    def __init__(self) -> None:
        self._hidden = np.zeros((1, 1, 128), np.float32)
        self._cell = np.zeros((1, 1, 128), np.float32)
        self._left = np.zeros(_CONTEXT, np.float32)

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
        inputs = {"input": np.ascontiguousarray(frames), "h": self._hidden, "c": self._cell}
        values, self._hidden, self._cell = _session().run(["speech_probs", "hn", "cn"], inputs)
        return values.reshape(-1)


def pieces(blocks: Iterable[np.ndarray], limit_s: float = 30.0) -> Iterator[tuple[int, np.ndarray]]:
    """Yield `(first sample, waveform)` of the pieces of a recording in which somebody speaks, in order.

    A recording of at most `limit_s` is one piece, as it is. A longer one is cut inside its pauses, and at the
    quietest place where speech goes on for `limit_s`; silence of more than 0.4 s is left out. No sample is in two
    pieces.

    Args:
        blocks: float32 (num_samples,) each, 16 kHz, one after the other; memory is that of a block and a piece.
        limit_s: Seconds in the longest piece.
    """
    limit = int(limit_s * SAMPLE_RATE_HZ) // WINDOW * WINDOW
    start, held = 0, np.zeros(0, np.float32)
    voice: VoiceActivity | None = None
    speech = np.zeros(0, bool)  # of the windows in `held`
    for block in blocks:
        held = np.concatenate([held, block])
        if voice is None and len(held) <= limit_s * SAMPLE_RATE_HZ:
            continue
        heard = VoiceActivity() if voice is None else voice
        speech = np.concatenate([speech, heard.probabilities(held if voice is None else block) >= _SPEECH])
        voice = heard
        while len(held) > limit:
            first, end, following = _first_piece(held[:limit], speech[: limit // WINDOW], is_last=False)
            if end > first:
                yield start + first, held[first:end]
            start, held, speech = start + following, held[following:], speech[following // WINDOW :]
    if voice is None:
        yield start, held
        return
    while len(held):
        rest = np.append(speech, np.ones(len(held) // WINDOW - len(speech), bool))
        first, end, following = _first_piece(held, rest, is_last=True)
        if end > first:
            yield start + first, held[first:end]
        start, held, speech = start + following, held[following:], speech[following // WINDOW :]


def _first_piece(waveform: np.ndarray, speech: np.ndarray, *, is_last: bool) -> tuple[int, int, int]:
    """Return where the first piece begins and ends, and where the search for the next goes on; in samples.

    Args:
        waveform: float32 (num_samples,), at most the limit.
        speech: bool (windows,) of its whole windows.
        is_last: Whether the recording ends here.
    """
    margin = int(_MARGIN_S * SAMPLE_RATE_HZ) // WINDOW * WINDOW
    pauses = [(a * WINDOW, b * WINDOW) for a, b in _runs(~speech) if (b - a) * WINDOW >= _PAUSE_S * SAMPLE_RATE_HZ]
    first, whole = 0, len(speech) * WINDOW
    if pauses and pauses[0][0] == 0:
        _, end_of_silence = pauses.pop(0)
        if end_of_silence == whole:
            return 0, 0, len(waveform) if is_last else max(WINDOW, whole - margin)
        first = max(0, end_of_silence - margin)
    if not pauses:
        cut = len(waveform) if is_last else _quietest(waveform)
        return first, cut, cut
    begin, end = pauses[0]
    if end - begin > 2 * margin:
        return first, begin + margin, end - margin
    middle = (begin + end) // 2 // WINDOW * WINDOW
    return first, middle, middle


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return `(first, end)` of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _quietest(waveform: np.ndarray) -> int:
    """Return a sample near the middle of the quietest 200 ms of the last third, on the grid of windows."""
    begin, width = len(waveform) * 2 // 3, int(_QUIET_S * SAMPLE_RATE_HZ)
    energy = np.cumsum(np.square(waveform[begin:], dtype=np.float64))
    middle = begin + int(np.argmin(energy[width:] - energy[:-width])) + width // 2
    return middle // WINDOW * WINDOW


@functools.cache
def _session() -> Any:
    """Return silero-vad's network for many windows at once, on one thread: some 400 times real time."""
    import onnxruntime

    # Importing the package would set torch to one thread for the whole process.
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("silero-vad is not installed")
    path = Path(spec.submodule_search_locations[0]) / "data" / "silero_vad_16k_sequence.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
