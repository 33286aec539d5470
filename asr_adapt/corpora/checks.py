"""Checks that exclude a clip from training, and the pipeline that decodes clips and applies them.

Each check has a name, under which exclusions are counted.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from asr_adapt import remote
from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.audio.decoded_cache import DecodedCache, ordered_map
from asr_adapt.decoding import ctc
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import AudioError, AudioTooShort
from asr_adapt.records import Exclusion, Utterance
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.text.normaliser import Normaliser

# Full scale is 1. No speech is intelligible 60 dB below it; 16-bit dither is at about -98 dB.
SILENCE_PEAK = 1e-3

WAITING_THREADS = 16
"""for recordings elsewhere: opening one takes some 50 ms"""

Reason = Literal[
    "unreadable_audio", "unclear", "empty_text", "too_short", "too_long", "silent", "unknown_letter", "text_too_long"
]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Trainability:
    """What a clip and its transcript must satisfy to be trained on."""

    alphabet: Alphabet
    """what the head will be able to write"""
    grid: FrameGrid
    """the frames of the model to be trained"""
    min_duration_s: float
    """shorter clips are `too_short`"""
    max_duration_s: float
    """longer clips are `too_long`"""

    def problem(self, waveform: np.ndarray, text: str) -> tuple[Reason, str] | None:
        """Return `(reason, detail)` if the pair cannot be trained on, else None.

        Args:
            waveform: float32 (num_samples,), 16 kHz, in [-1, 1].
            text: The normalised transcript.
        """
        return self.problem_of(len(waveform), float(np.abs(waveform).max(initial=0.0)), text)

    def problem_of(self, num_samples: int, peak: float, text: str) -> tuple[Reason, str] | None:
        """Return what `problem` does, for a waveform of `num_samples` at 16 kHz with the largest magnitude `peak`."""
        if not text:
            return "empty_text", "the transcript is empty after normalisation"
        duration_s = num_samples / SAMPLE_RATE_HZ
        if duration_s < self.min_duration_s:
            return "too_short", f"{duration_s:.3f} s, less than {self.min_duration_s:g} s"
        if duration_s > self.max_duration_s:
            return "too_long", f"{duration_s:.1f} s, more than {self.max_duration_s:g} s"
        if peak < SILENCE_PEAK:
            return "silent", f"peak {peak:.1e} of full scale, less than {SILENCE_PEAK:g}"
        if unknown := self.alphabet.unknown(text):
            return "unknown_letter", ", ".join(f"{unit!r} × {count}" for unit, count in unknown.items())
        needed = ctc.frames_needed(self.alphabet.encode(text))
        try:
            frames = self.grid.num_frames(num_samples)
        except AudioTooShort as error:
            return "too_short", error.problem
        if frames < needed:
            return "text_too_long", f"the text needs {needed} frames, the clip has {frames}"
        return None


def understood(utterances: Iterable[Utterance], normalise: Normaliser) -> tuple[list[Utterance], list[Exclusion]]:
    """Return the utterances without a mark of `text.unclear`, and the exclusions of the others.

    Nobody knows what was said in those, so they can be neither trained on nor scored.
    """
    kept, excluded = [], []
    for utterance in utterances:
        if (mark := normalise.unclear(utterance.text or "")) is None:
            kept.append(utterance)
        else:
            excluded.append(Exclusion.of(utterance, "unclear", f"the transcript has {mark!r}"))
    return kept, excluded


@dataclass(frozen=True)
class Checked:
    """An utterance after decoding: its waveform, or why there is none, or why it cannot be trained on."""

    utterance: Utterance
    text: str
    """the normalised transcript"""
    waveform: np.ndarray | None
    """float32 (num_samples,), 16 kHz, in [-1, 1]; None if the audio cannot be read"""
    problem: tuple[Reason, str] | None
    """`(reason, detail)`"""


def threads(utterances: Iterable[Utterance], wanted: int | None) -> int:
    """Return how many threads decode utterances: as many as are wanted; None: one per core, more where they wait."""
    if wanted is not None:
        return wanted
    cores = os.cpu_count() or 1
    return max(cores, WAITING_THREADS) if any(remote.is_url(u.audio) for u in utterances) else cores


def decode_and_check(
    utterances: Sequence[Utterance],
    texts: Iterable[str],
    trainability: Trainability | None,
    scratch: Path,
    workers: int,
    then: Callable[[Checked], Result],
) -> Iterator[Result]:
    """Decode utterances on several threads and yield what `then` makes of each, in order; memory is bounded.

    Args:
        utterances: What to decode.
        texts: Their normalised transcripts.
        trainability: What to check besides whether the audio can be read; None: nothing.
        scratch: Folder for decoded copies of compressed recordings, removed by the caller.
        workers: Number of threads.
        then: Called on the decoding thread.
    """
    pieces = DecodedCache(utterances, scratch)

    def check(pair: tuple[Utterance, str]) -> Result:
        utterance, text = pair
        try:
            waveform = pieces.load(utterance)
        except AudioError as error:
            return then(Checked(utterance, text, None, ("unreadable_audio", error.problem)))
        problem = trainability.problem(waveform, text) if trainability else None
        return then(Checked(utterance, text, waveform, problem))

    return ordered_map(check, zip(utterances, texts, strict=True), workers)
