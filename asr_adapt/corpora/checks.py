"""What makes an utterance untrainable. Each check has a name, under which exclusions are counted."""

from typing import Literal

import numpy as np

from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.decoding import ctc
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import AudioTooShort
from asr_adapt.text.alphabet import Alphabet

# Full scale is 1; -60 dB below it no speech can be made out, and 16-bit dither stands at about -98 dB.
SILENCE_PEAK = 1e-3

Reason = Literal["empty_text", "too_short", "too_long", "silent", "unknown_letter", "text_too_long"]


def untrainable(
    waveform: np.ndarray,
    text: str,
    alphabet: Alphabet,
    grid: FrameGrid,
    *,
    min_duration_s: float,
    max_duration_s: float,
) -> tuple[Reason, str] | None:
    """Return `(reason, detail)` where the pair cannot be trained on, else None.

    Args:
        waveform: float32 (num_samples,), 16 kHz, in [-1, 1].
        text: The normalised transcript.
        alphabet: What the head will be able to write.
        grid: The frames of the model to be trained.
        min_duration_s: Shorter clips are `too_short`.
        max_duration_s: Longer clips are `too_long`.
    """
    if not text:
        return "empty_text", "the transcript is empty after normalisation"
    duration_s = len(waveform) / SAMPLE_RATE_HZ
    if duration_s < min_duration_s:
        return "too_short", f"{duration_s:.3f} s, less than {min_duration_s:g} s"
    if duration_s > max_duration_s:
        return "too_long", f"{duration_s:.1f} s, more than {max_duration_s:g} s"
    peak = float(np.abs(waveform).max())
    if peak < SILENCE_PEAK:
        return "silent", f"peak {peak:.1e} of full scale, less than {SILENCE_PEAK:g}"
    if unknown := alphabet.unknown(text):
        return "unknown_letter", ", ".join(f"{unit!r} × {count}" for unit, count in unknown.items())
    needed = ctc.frames_needed(alphabet.encode(text))
    try:
        frames = grid.num_frames(len(waveform))
    except AudioTooShort as error:
        return "too_short", error.problem
    if frames < needed:
        return "text_too_long", f"the text needs {needed} frames, the clip has {frames}"
    return None
