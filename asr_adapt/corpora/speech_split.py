"""`SpeechSplit`: one split of a corpus, the form in which stages hand speech to one another."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from asr_adapt import audio
from asr_adapt.audio.decoded_cache import ordered_map
from asr_adapt.records import Utterance

_DECODING_THREADS, _DECODED_AHEAD = min(8, os.cpu_count() or 1), 16


@dataclass(frozen=True)
class SpeechSplit:
    """Utterances with their normalised references, and audio that is decoded when it is asked for."""

    name: str
    """`train`, `dev` or `test`"""
    utterances: Sequence[Utterance]
    references: Sequence[str]
    """normalised transcripts, one for each utterance; empty where the corpus has none"""
    waveforms: Callable[[int], np.ndarray] | None = None
    """returns the waveform of an index where the split is prepared; None where it is read from the corpus"""
    known_lengths: np.ndarray | None = None
    """int64 (utterances,): samples of each waveform at 16 kHz, where the split is prepared"""

    @classmethod
    def on_disk(cls, name: str, utterances: Sequence[Utterance], normalise: Callable[[str], str]) -> "SpeechSplit":
        """Return a split whose audio is read from the corpus, each time it is asked for."""
        return cls(name, utterances, [normalise(utterance.text or "") for utterance in utterances])

    def __len__(self) -> int:
        return len(self.utterances)

    def waveform(self, index: int) -> np.ndarray:
        """Return float32 (num_samples,), 16 kHz: where the split is prepared, a read-only view of its copy, if any.

        Raises:
            AudioError: the recording cannot be decoded.
            InputError: the split is prepared without a copy, and the recording is not what it was.
        """
        if self.waveforms is not None:
            return self.waveforms(index)
        utterance = self.utterances[index]
        return audio.load(utterance.audio, start_s=utterance.start_s, end_s=utterance.end_s)

    def recording(self, index: int) -> np.ndarray | Utterance:
        """Return what `Transcriber` takes: the decoded waveform, or the utterance, whose audio is streamed."""
        return self.utterances[index] if self.waveforms is None else self.waveforms(index)

    def recordings(self) -> Iterator[np.ndarray | Utterance]:
        """Yield the `recording` of every utterance, in order; what may have to be decoded is, ahead."""
        if self.waveforms is None:
            return iter(self.utterances)
        return ordered_map(self.waveforms, range(len(self)), _DECODING_THREADS, _DECODED_AHEAD)

    @cached_property
    def lengths(self) -> np.ndarray:
        """The number of samples of each waveform, int64 (utterances,); an unprepared split is decoded for it."""
        if self.known_lengths is not None:
            return self.known_lengths
        return np.array([len(self.waveform(index)) for index in range(len(self))], np.int64)

    @cached_property
    def durations_s(self) -> np.ndarray:
        """Durations, float64 (utterances,), as they are known without decoding; 0 where they are not."""
        if self.known_lengths is not None:
            return self.known_lengths / audio.SAMPLE_RATE_HZ
        return np.array([utterance.duration_s or 0.0 for utterance in self.utterances], np.float64)

    def __add__(self, other: "SpeechSplit") -> "SpeechSplit":
        """Return the utterances of two prepared splits, those of the first before the others, under its name."""
        own = len(self)
        return SpeechSplit(
            self.name,
            [*self.utterances, *other.utterances],
            [*self.references, *other.references],
            lambda index: self.waveform(index) if index < own else other.waveform(index - own),
            np.concatenate([self.lengths, other.lengths]),
        )

    def with_references(self, references: Sequence[str]) -> "SpeechSplit":
        """Return the same speech with other normalised texts."""
        return replace(self, references=references)

    def evenly(self, count: int) -> "SpeechSplit":
        """Return at most so many utterances, evenly spaced."""
        return self.select(np.unique(np.linspace(0, len(self) - 1, min(len(self), count)).astype(int)).tolist())

    def select(self, indices: Sequence[int]) -> "SpeechSplit":
        """Return the utterances at these indices, in that order."""
        waveforms = self.waveforms
        return SpeechSplit(
            self.name,
            [self.utterances[i] for i in indices],
            [self.references[i] for i in indices],
            None if waveforms is None else lambda index: waveforms(indices[index]),
            None if self.known_lengths is None else self.known_lengths[np.asarray(indices, np.int64)],
        )
