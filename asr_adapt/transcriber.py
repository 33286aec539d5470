"""`Transcriber`: speech to text, one path for training's dev evaluation, the command line and Python."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from asr_adapt import audio, ctc
from asr_adapt import model as models
from asr_adapt.errors import AudioError, InputError
from asr_adapt.model import CTCModel
from asr_adapt.text import DELIMITER_ID
from asr_adapt.transcript import Segment, Transcript, Word
from asr_adapt.utterance import Utterance

Recording = audio.Audio | Utterance | np.ndarray
"""A path or locator, an encoded file's bytes or stream, an utterance, or float32 (num_samples,) at 16 kHz."""

_PIECE_S = 30.0
# The quietest place is looked for in the last ten seconds of a piece, over windows of 200 ms.
_CUT_WITHIN_S = 10.0
_CUT_WINDOW_S = 0.2


@dataclass(frozen=True)
class _Piece:
    """A piece of a recording that waits for the model; waveform: float32 (num_samples,)."""

    recording: int
    first_sample: int
    waveform: np.ndarray


@dataclass
class _Open:
    """A recording of which not every piece is read; segments by first sample."""

    pieces: int = 0
    samples: int = 0
    is_whole: bool = False
    segments: dict[int, Segment] = field(default_factory=dict)


class Transcriber:
    """Turns recordings into `Transcript`s. Safe to call from several threads: nothing in it changes.

    Args:
        model: An adapted model, in evaluation mode.
        batch_s: Seconds of audio that run together.
        look_ahead_s: Seconds of audio that are decoded ahead, so that pieces of like length can share a batch.
    """

    def __init__(self, model: CTCModel, *, batch_s: float = 60.0, look_ahead_s: float = 300.0) -> None:
        self.model = model
        self._batch_samples = int(batch_s * audio.SAMPLE_RATE_HZ)
        self._look_ahead_samples = int(look_ahead_s * audio.SAMPLE_RATE_HZ)

    @classmethod
    def from_folder(cls, folder: str | Path, *, device: str | None = None) -> "Transcriber":
        """Load a run's `model/` folder onto a device: the GPU where there is one, unless told.

        Raises:
            InputError: the folder is no model, or a newer one.
        """
        model = CTCModel.load(Path(folder))
        model.net.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))  # type: ignore[arg-type]
        return cls(model)

    def transcribe(self, recording: Recording) -> Transcript:
        """Return the transcript of one recording of any length.

        Raises:
            AudioError: it cannot be read as sound.
        """
        (result,) = self.transcribe_all([recording])
        if isinstance(result, InputError):
            raise result
        return result

    def transcribe_all(self, recordings: Iterable[Recording]) -> Iterator[Transcript | InputError]:
        """Yield one result for each recording, in order; one that cannot be read yields its error instead.

        Recordings are read as they are wanted, so an endless iterator is as good as a list.
        """
        results: dict[int, Transcript | InputError] = {}
        open_: dict[int, _Open] = {}
        waiting: list[_Piece] = []
        following = 0
        for number, recording in enumerate(recordings):
            open_[number] = _Open()
            try:
                for first_sample, waveform in _pieces(recording):
                    waiting.append(_Piece(number, first_sample, waveform))
                    open_[number].pieces += 1
                    open_[number].samples = first_sample + len(waveform)
                    if sum(len(piece.waveform) for piece in waiting) >= self._look_ahead_samples:
                        self._read(waiting, open_)
                        waiting = []
                open_[number].is_whole = True
            except InputError as error:
                results[number] = error
                waiting = [piece for piece in waiting if piece.recording != number]
                del open_[number]
            self._close(open_, results)
            while following in results:
                yield results.pop(following)
                following += 1
        self._read(waiting, open_)
        self._close(open_, results)
        while following in results:
            yield results.pop(following)
            following += 1

    def _close(self, open_: dict[int, _Open], results: dict[int, Transcript | InputError]) -> None:
        """Move recordings whose every piece was read to the results."""
        for number, recording in list(open_.items()):
            if recording.is_whole and len(recording.segments) == recording.pieces:
                segments = sorted(recording.segments.items())
                spoken = tuple(segment for _, segment in segments if segment.text)
                results[number] = Transcript(
                    text=" ".join(segment.text for segment in spoken),
                    language=self.model.language,
                    duration_s=recording.samples / audio.SAMPLE_RATE_HZ,
                    segments=spoken,
                )
                del open_[number]

    def _read(self, waiting: list[_Piece], open_: dict[int, _Open]) -> None:
        """Run pieces through the model, those of like length together."""
        by_length = sorted(waiting, key=lambda piece: len(piece.waveform))
        while by_length:
            batch = [by_length.pop()]  # the longest
            while by_length and (len(batch) + 1) * len(batch[0].waveform) <= self._batch_samples:
                batch.append(by_length.pop())
            long_enough = [piece for piece in batch if len(piece.waveform) >= self.model.shortest_clip]
            scores = models.log_probs(self.model, [piece.waveform for piece in long_enough]) if long_enough else []
            nothing = [np.zeros((0, len(self.model.alphabet)), np.float32)] * (len(batch) - len(long_enough))
            for piece, frames in zip(batch, [*scores, *nothing], strict=True):  # too short ones are at the end
                segment = self._segment(frames, piece.first_sample, len(piece.waveform))
                open_[piece.recording].segments[piece.first_sample] = segment

    def _segment(self, log_probs: np.ndarray, first_sample: int, num_samples: int) -> Segment:
        """Decode one piece: log_probs float32 (frames, vocab)."""
        offset_s = first_sample / audio.SAMPLE_RATE_HZ
        words = []
        runs = ctc.greedy(log_probs)
        for is_gap, group in groupby(runs, key=lambda run: run.label == DELIMITER_ID):
            if is_gap:
                continue
            letters = list(group)
            words.append(
                Word(
                    text=self.model.alphabet.decode(run.label for run in letters),
                    start_s=offset_s + letters[0].start * self.model.frame_s,
                    end_s=offset_s + letters[-1].end * self.model.frame_s,
                    confidence=float(np.mean([run.confidence for run in letters])),
                )
            )
        return Segment(
            text=self.model.alphabet.decode(run.label for run in runs),
            start_s=words[0].start_s if words else offset_s,
            end_s=words[-1].end_s if words else offset_s + num_samples / audio.SAMPLE_RATE_HZ,
            words=tuple(words),
        )


def _pieces(recording: Recording) -> Iterator[tuple[int, np.ndarray]]:
    """Yield `(first sample, waveform)` of pieces of at most 30 s; a shorter recording is one piece."""
    limit = int(_PIECE_S * audio.SAMPLE_RATE_HZ)
    if isinstance(recording, np.ndarray):
        blocks = iter([_checked(recording)])
    elif isinstance(recording, Utterance):
        blocks = audio.blocks(recording.audio, start_s=recording.start_s, end_s=recording.end_s)
    else:
        blocks = audio.blocks(recording)
    start, held = 0, np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > limit:
            cut = _quietest(held[:limit])
            yield start, held[:cut]
            start, held = start + cut, held[cut:]
    yield start, held


def _quietest(waveform: np.ndarray) -> int:
    """Return the sample in the middle of the quietest window of the last ten seconds."""
    first = len(waveform) - int(_CUT_WITHIN_S * audio.SAMPLE_RATE_HZ)
    window = int(_CUT_WINDOW_S * audio.SAMPLE_RATE_HZ)
    energy = np.cumsum(np.square(waveform[first:], dtype=np.float64))
    return first + int(np.argmin(energy[window:] - energy[:-window])) + window // 2


def _checked(waveform: np.ndarray) -> np.ndarray:
    if waveform.ndim != 1 or not np.issubdtype(waveform.dtype, np.floating):
        raise AudioError(
            f"an array of shape {waveform.shape} and type {waveform.dtype} is no waveform",
            place="<array>",
            remedy="Give float32 (num_samples,), mono, 16 kHz.",
        )
    if not np.isfinite(waveform).all():
        raise AudioError("holds a sample that is NaN or infinite", place="<array>")
    return waveform.astype(np.float32, copy=False)
