"""`Transcriber`: speech to text, shared by training's validation, the command line, the server and Python."""

import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_adapt import audio
from asr_adapt.audio import vad
from asr_adapt.background import prefetch
from asr_adapt.decoding import ctc
from asr_adapt.decoding.beam_search import BeamSearch
from asr_adapt.errors import AudioError, InputError
from asr_adapt.inference import decoding as decodings
from asr_adapt.inference import engines
from asr_adapt.inference.decoding import Decoding
from asr_adapt.inference.recordings import Selection
from asr_adapt.model import forward, mixed_precision
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.model.device import best_device
from asr_adapt.model.mixed_precision import Precision
from asr_adapt.records import Segment, Transcript, Utterance, Word
from asr_adapt.text.alphabet import DELIMITER_ID

Recording = audio.Audio | Utterance | Selection | tuple[np.ndarray, int] | Mapping[str, Any] | np.ndarray
"""A path or locator, an encoded file's bytes or stream, an utterance, a `Selection` of one of these, or an array.

An array comes as `(array, sampling_rate)` or as transformers' mapping `{"raw": array, "sampling_rate": rate}`
(`array` for `raw`, as in datasets): float (num_samples,), mono, in [-1, 1]. One without a rate, as in a prepared
corpus, is at 16 kHz and only for `transcribe_segments`.
"""

Decode = Callable[[np.ndarray], list[ctc.Run]]
"""How log_probs, float32 (frames, vocab), become labels with their frames: `ctc.greedy`, `BeamSearch.runs`."""

# forced_align keeps two bits in a byte each for every frame and every letter with its blank: four gigabytes.
_ALIGNED_CELLS = 1_000_000_000
# CTC writes a letter as soon as it is sure of it and outputs blanks while it continues: ends of words of eSpeak NG
# were 71 ms early on average, with 80 ms more (as far as nothing else is written) 19 (`benchmarks/word_times.py`).
_TAIL_S = 0.08
_DECODED_AHEAD = 16  # segments that are decoded while the model works
# On one core a model of wav2vec2-base's shape reads 5.1 s a second in batches of 10 to 15 s, 4.7 of 30 s, 4.1 of 60:
# what a layer hands on no longer fits into the caches.
_BATCH_ON_CPU_S, _BATCH_ON_GPU_S = 15.0, 60.0
_BLOCK = 30 * audio.SAMPLE_RATE_HZ


@dataclass(frozen=True)
class _Waiting:
    """A segment of a recording that waits for the model; waveform: float32 (num_samples,)."""

    recording: int
    first_sample: int
    waveform: np.ndarray


@dataclass(frozen=True)
class _ReferenceWord:
    """A word of a known text: its line, its spelling there, and its normalised spelling."""

    line: int
    text: str
    normalised: str


@dataclass(frozen=True)
class _End:
    """A recording of which every segment is decoded, or whose decoding failed."""

    recording: int
    segments: int = 0
    samples: int = 0
    error: InputError | None = None


class Transcriber:
    """Turns recordings into `Transcript`s. Safe to call from several threads: nothing in it changes.

    Args:
        model: An adapted model, in evaluation mode.
        batch_s: Seconds of audio that run together; None: what suits the device.
        look_ahead_s: Seconds of audio that are decoded ahead, so that segments of similar length can share a batch.
        precision: `fp32`, in which a text is the same whatever it shares a batch with, or `bf16`; None: the faster
            (`mixed_precision.fastest`).
        search: Decodes with an n-gram, or towards hotwords; None decodes greedily.
        decoding: How it decodes, for reports; None: what follows from `search` and `hotwords`.
        engine: Runs the model instead of PyTorch (`engines.load`), in a precision of its own (`engines.precision`).
        hotwords: What the search favours: normalised words that the model can write.
    """

    def __init__(
        self,
        model: CTCModel,
        *,
        batch_s: float | None = None,
        look_ahead_s: float = 300.0,
        precision: Precision | None = None,
        search: BeamSearch | None = None,
        decoding: Decoding | None = None,
        engine: engines.LogProbs | None = None,
        hotwords: Sequence[str] = (),
    ) -> None:
        self.model, self.search = model, search
        self.decoding = decoding or Decoding(search.width if search else None, hotwords=tuple(hotwords))
        self._runs: Decode = functools.partial(search.runs, hotwords=hotwords) if search else ctc.greedy
        self._log_probs: engines.LogProbs = engine or functools.partial(
            forward.log_probs, model, precision=precision or mixed_precision.fastest(model.net.device)
        )
        of_model = model.calibrations
        self.calibration = of_model.with_ngram if self.decoding.weights else of_model.greedy
        """of the confidence of words; None: it is the mean probability of their letters"""
        suits_s = _BATCH_ON_CPU_S if engine or model.net.device.type == "cpu" else _BATCH_ON_GPU_S
        self._batch_samples = int((batch_s or suits_s) * audio.SAMPLE_RATE_HZ)
        self._look_ahead_samples = int(look_ahead_s * audio.SAMPLE_RATE_HZ)

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        *,
        device: str | None = None,
        precision: Precision | None = None,
        engine: str = engines.TORCH,
        hotwords: Sequence[str] = (),
        use_ngram: bool = True,
    ) -> "Transcriber":
        """Load a run's `model/` folder onto a device: by default the GPU, where there is one.

        An n-gram beside the model (`asr-adapt lm`) is decoded with where ctc-beam-decoder runs; `decoding` says so,
        and names hotwords and an engine that is not PyTorch.

        Args:
            folder: The model's.
            device: Where PyTorch runs: `cpu`, `cuda`; None: see above. Other engines run on the processor.
            precision: What PyTorch multiplies in; None: see `engines.precision`.
            engine: One of `engines.NAMES`, made beside the model where it is not there; `auto`: the fastest that was
                measured (`asr-adapt export --corpus`) and is no worse, else PyTorch.
            hotwords: Words that are favoured, in any spelling that the model's normaliser knows; those that it cannot
                write are left out, and `decoding` says so.
            use_ngram: Whether an n-gram beside the model is used.

        Raises:
            InputError: the folder is no model, or a newer one; there is no such engine, or it cannot be made.
        """
        model = CTCModel.load(Path(folder))
        name = engines.resolved(Path(folder), engine)
        runner = None
        if name == engines.TORCH:
            model.net.to(device or best_device())  # type: ignore[arg-type]
            if precision is None and model.net.device.type == "cpu":
                precision = engines.precision(name, Path(folder))
        else:
            runner = engines.load(model, Path(folder), name)
            model.net.to("meta")  # type: ignore[arg-type] # the engine has the weights; PyTorch's give their memory back
        search, decoding = decodings.choose(model, Path(folder), hotwords, use_ngram=use_ngram, engine=name)
        return cls(model, precision=precision, search=search, decoding=decoding, engine=runner,
                   hotwords=decoding.hotwords)  # fmt: skip

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

        Each is split at its pauses into segments (`vad.segments`), whatever its length; what is not speech has no
        text.
        Recordings are read as they are needed, so an endless iterator is as good as a list.
        """
        return self._results(_decoded(recordings))

    def transcribe_segments(self, recordings: Iterable[Recording]) -> Iterator[Transcript | InputError]:
        """Yield what `transcribe_all` does, of recordings that are a segment each, such as the clips of a corpus.

        They are read whole, with their pauses and whether they are speech or not; those of more than 30 s as
        recordings are.
        """
        return self._results(_decoded(recordings, are_segments=True))

    def _results(self, decoded: "Iterator[_Waiting | _End]") -> Iterator[Transcript | InputError]:
        waiting: list[_Waiting] = []
        read: dict[int, dict[int, Segment]] = defaultdict(dict)  # of each recording, by first sample
        ended: dict[int, _End] = {}
        following = 0

        def done() -> Iterator[Transcript | InputError]:
            nonlocal following
            while (result := self._result(ended.get(following), read)) is not None:
                del ended[following]
                following += 1
                yield result

        for event in prefetch(decoded, _DECODED_AHEAD):
            if isinstance(event, _Waiting):
                waiting.append(event)
            else:
                ended[event.recording] = event
                if event.error:
                    waiting = [segment for segment in waiting if segment.recording != event.recording]
            if sum(len(segment.waveform) for segment in waiting) >= self._look_ahead_samples:
                self._read(waiting, read)
                waiting = []
            yield from done()
        self._read(waiting, read)
        yield from done()

    def align(self, recording: Recording, lines: Sequence[str]) -> Transcript:
        """Return the times of the words of a known text; each line becomes a segment.

        The words keep the spelling that they have in `lines`; what the model's normaliser drops has no sound, and
        stays with the word before it.

        Args:
            recording: Of any length for which frames times letters fit into memory (some 40 minutes of fast speech).
            lines: The whole text of the recording, in order.

        Raises:
            AudioError: the recording cannot be read as sound.
            UnknownLetter: the text has a letter that the model cannot write.
            TooFewFrames: the recording is too short for the text.
            InputError: there is no word, or the recording is too long.
        """
        if isinstance(recording, np.ndarray):
            raise _without_rate()
        words = [_ReferenceWord(number, *pair) for number, line in enumerate(lines) for pair in self._spoken(line)]
        if not words:
            raise InputError("there is no word in the text", place="TEXT", remedy="Give the text of the recording.")
        labels = [self.model.alphabet.encode(word.normalised) for word in words]
        joined = [label for of_word in labels for label in (*of_word, DELIMITER_ID)][:-1]
        times_s, log_probs, samples = self.frames(recording)
        if len(log_probs) * len(joined) > _ALIGNED_CELLS:
            minutes = samples / audio.SAMPLE_RATE_HZ / 60
            raise InputError(
                f"{minutes:.0f} minutes with {len(joined):,} letters are too much to align at once",
                place="AUDIO",
                remedy="Split the recording and the text in two.",
            )
        runs = iter(ctc.align(log_probs, joined))
        aligned: list[list[Word]] = [[] for _ in lines]
        for word, of_word in zip(words, labels, strict=True):
            letters = list(itertools.islice(runs, len(of_word)))
            following = next(runs, None)  # the delimiter
            # The text is known: confidence is how well it fits the sound, not how likely it was recognised rightly.
            aligned[word.line].append(self._word(word.text, letters, following, times_s, _mean_probability(letters)))
        segments = tuple(
            Segment(" ".join(w.text for w in line), line[0].start_s, line[-1].end_s, tuple(line))
            for line in aligned
            if line
        )
        return Transcript(
            text=" ".join(segment.text for segment in segments),
            language=self.model.language,
            duration_s=samples / audio.SAMPLE_RATE_HZ,
            segments=segments,
        )

    def _spoken(self, line: str) -> list[tuple[str, str]]:
        """Return `(spelling, normalised spelling)` of a line's words."""
        found: list[tuple[str, str]] = []
        for text in line.split():
            normalised = self.model.normaliser(text)
            if normalised:
                found.append((text, normalised))
            elif found:
                found[-1] = (f"{found[-1][0]} {text}", found[-1][1])
        return found

    def frames(self, recording: Recording) -> tuple[np.ndarray, np.ndarray, int]:
        """Return a model's output before decoding: times, log-probs, and the recording's number of samples.

        Split as by `transcribe_segments`. Times are seconds, float64 (frames,); log-probs float32 (frames, vocab),
        none where the recording is shorter than a frame.

        Raises:
            AudioError: it cannot be read as sound.
        """
        times_s: list[np.ndarray] = [np.zeros(0)]
        scores = [np.zeros((0, len(self.model.alphabet)), np.float32)]
        samples = 0
        for event in prefetch(_decoded([recording], are_segments=True), _DECODED_AHEAD):
            if isinstance(event, _End):
                if event.error:
                    raise event.error
                samples = event.samples
            elif len(event.waveform) >= self.model.shortest_clip:
                (log_probs,) = self._outputs([event.waveform])
                offset_s = event.first_sample / audio.SAMPLE_RATE_HZ
                times_s.append(offset_s + self.model.grid.times_s(len(log_probs)))
                scores.append(log_probs)
        return np.concatenate(times_s), np.concatenate(scores), samples

    def _confidence(self, letters: Sequence[ctc.Run]) -> float:
        """Return how likely a word is right: calibrated, else the mean probability of its letters."""
        if self.calibration is not None:
            return self.calibration.of(ctc.word_probability(letters, self.calibration.evidence))
        return _mean_probability(letters)

    def _word(
        self,
        text: str,
        letters: list[ctc.Run],
        following: ctc.Run | None,
        times_s: np.ndarray,
        confidence: float,
    ) -> Word:
        """Return a word with its times; `following` is the delimiter or letter after it, if there is one."""
        last_frame_end_s = float(times_s[letters[-1].end - 1]) + self.model.frame_s
        limit_s = float(times_s[following.start]) if following else float(times_s[-1]) + self.model.frame_s
        return Word(
            text=text,
            start_s=float(times_s[letters[0].start]),
            end_s=max(last_frame_end_s, min(last_frame_end_s + _TAIL_S, limit_s)),
            confidence=confidence,
        )

    def _result(self, end: _End | None, read: dict[int, dict[int, Segment]]) -> Transcript | InputError | None:
        """Return the result of a recording; None as long as a segment of it has not been read."""
        if end is None or (not end.error and len(read[end.recording]) < end.segments):
            return None
        segments = sorted(read.pop(end.recording, {}).items())
        return end.error or self.whole([segment for _, segment in segments], end.samples)

    def _read(self, waiting: list[_Waiting], read: dict[int, dict[int, Segment]]) -> None:
        """Run segments through the model, those of similar length together."""
        by_length = sorted(waiting, key=lambda segment: len(segment.waveform))
        while by_length:
            batch = [by_length.pop()]  # the longest
            while by_length and (len(batch) + 1) * len(batch[0].waveform) <= self._batch_samples:
                batch.append(by_length.pop())
            results = self.read([(segment.first_sample, segment.waveform) for segment in batch])
            for segment, result in zip(batch, results, strict=True):
                read[segment.recording][segment.first_sample] = result

    def read(
        self, segments: Sequence[tuple[int, np.ndarray]], decodes: Sequence[Decode | None] | None = None
    ) -> list[Segment]:
        """Run segments of recordings through the model as one batch; one without words has no text.

        Args:
            segments: `(first sample in its recording, waveform)`, of `vad.segments`.
            decodes: How each is decoded; None is the transcriber's own way.
        """
        long_enough = [waveform for _, waveform in segments if len(waveform) >= self.model.shortest_clip]
        scores = iter(self._outputs(long_enough) if long_enough else [])
        nothing = np.zeros((0, len(self.model.alphabet)), np.float32)
        ways = decodes or [None] * len(segments)
        return [
            self._segment(next(scores) if len(waveform) >= self.model.shortest_clip else nothing,
                          first_sample, len(waveform), decode or self._runs)
            for (first_sample, waveform), decode in zip(segments, ways, strict=True)
        ]  # fmt: skip

    def _outputs(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return log-probs, float32 (frames, vocab) each.

        Raises:
            InputError: they are NaN, or of another alphabet than the model's.
        """
        found = self._log_probs(waveforms)
        for log_probs in found:
            if log_probs.ndim != 2 or log_probs.shape[1] != len(self.model.alphabet):
                raise InputError(
                    f"the output has shape {log_probs.shape}, the alphabet {len(self.model.alphabet)} letters",
                    place=f"engine {self.decoding.engine}",
                    remedy="Delete the folder engines/ beside the model, and export it again.",
                )
            if np.isnan(log_probs).any() or (log_probs == np.inf).any():
                raise InputError(
                    "the model's output is NaN or infinite",
                    place=f"engine {self.decoding.engine}",
                    remedy="Its weights are damaged: copy the model again, or export the engine again.",
                )
        return found

    def whole(self, segments: Sequence[Segment], num_samples: int) -> Transcript:
        """Return the transcript of a recording of `num_samples` at 16 kHz, from its segments in order."""
        spoken = tuple(segment for segment in segments if segment.text)
        return Transcript(
            text=" ".join(segment.text for segment in spoken),
            language=self.model.language,
            duration_s=num_samples / audio.SAMPLE_RATE_HZ,
            segments=spoken,
        )

    def _segment(self, log_probs: np.ndarray, first_sample: int, num_samples: int, decode: Decode) -> Segment:
        """Decode one segment: log_probs float32 (frames, vocab)."""
        offset_s = first_sample / audio.SAMPLE_RATE_HZ
        times_s = offset_s + self.model.grid.times_s(len(log_probs))
        runs = decode(log_probs)
        words = [
            self._word(
                self.model.alphabet.decode(run.label for run in letters),
                letters,
                following,
                times_s,
                self._confidence(letters),
            )
            for letters, following in words_of(runs)
        ]
        return Segment(
            text=self.model.alphabet.decode(run.label for run in runs),
            start_s=words[0].start_s if words else offset_s,
            end_s=words[-1].end_s if words else offset_s + num_samples / audio.SAMPLE_RATE_HZ,
            words=tuple(words),
        )


def words_of(runs: Sequence[ctc.Run]) -> Iterator[tuple[list[ctc.Run], ctc.Run | None]]:
    """Yield the letters of each word of decoded labels, and the label after it, if there is one."""
    after = 0
    for is_gap, group in itertools.groupby(runs, key=lambda run: run.label == DELIMITER_ID):
        letters = list(group)
        after += len(letters)
        if not is_gap:
            yield letters, runs[after] if after < len(runs) else None


def _mean_probability(letters: Sequence[ctc.Run]) -> float:
    return float(np.mean([run.confidence for run in letters]))


def _decoded(recordings: Iterable[Recording], *, are_segments: bool = False) -> Iterator[_Waiting | _End]:
    """Yield the segments of one recording after the other, and its end after each."""
    split = _whole if are_segments else vad.segments
    for number, recording in enumerate(recordings):
        segments = samples = 0

        def counted(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
            nonlocal samples
            for block in blocks:
                samples += len(block)
                yield block

        try:
            if isinstance(recording, np.ndarray) and not are_segments:
                raise _without_rate()
            for first_sample, waveform in split(counted(_blocks(recording))):
                segments += 1
                yield _Waiting(number, first_sample, waveform)
        except InputError as error:
            yield _End(number, error=error)
        else:
            yield _End(number, segments, samples)


def _whole(blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield a recording as one segment; one that is longer than a segment may be, as `vad.segments` splits it."""
    held: list[np.ndarray] = []
    rest = iter(blocks)
    for block in rest:
        held.append(block)
        if sum(map(len, held)) > vad.LIMIT_S * audio.SAMPLE_RATE_HZ:
            yield from vad.segments(itertools.chain(held, rest))
            return
    yield 0, np.concatenate(held) if held else np.zeros(0, np.float32)


def _blocks(recording: Recording) -> Iterable[np.ndarray]:
    """Return a recording's samples, float32 (num_samples,) each, 16 kHz."""
    if isinstance(recording, np.ndarray | tuple | Mapping):
        waveform = _at_16_khz(recording)
        return (waveform[i : i + _BLOCK] for i in range(0, max(1, len(waveform)), _BLOCK))
    chosen = recording if isinstance(recording, Selection) else Selection(recording)
    if isinstance(chosen.source, AudioError):
        raise chosen.source
    read = functools.partial(audio.blocks, channel=chosen.channel, track=chosen.track)
    if isinstance(chosen.source, Utterance):
        utterance = chosen.source
        return read(utterance.audio, start_s=utterance.start_s, end_s=utterance.end_s)
    return read(chosen.source)


def _at_16_khz(recording: np.ndarray | tuple[np.ndarray, int] | Mapping[str, Any]) -> np.ndarray:
    if isinstance(recording, np.ndarray):
        return _checked(recording)
    pair: object = recording
    if isinstance(recording, Mapping):
        pair = (recording.get("raw", recording.get("array")), recording.get("sampling_rate"))
    match pair:
        case (np.ndarray() as waveform, int() | np.integer() | float() as rate) if rate == int(rate):
            waveform = _checked(waveform)
            is_ready = rate == audio.SAMPLE_RATE_HZ or not len(waveform)
            return waveform if is_ready else audio.resample(waveform, int(rate))
    raise AudioError(
        "not an array with its sampling rate",
        place="<array>",
        remedy='Give (array, sampling_rate) or {"raw": array, "sampling_rate": rate}.',
    )


def _without_rate() -> AudioError:
    return AudioError(
        "an array without its sampling rate",
        place="<array>",
        remedy="Give (array, sampling_rate): (waveform, 16_000).",
    )


def _checked(waveform: np.ndarray) -> np.ndarray:
    if waveform.ndim != 1 or not np.issubdtype(waveform.dtype, np.floating):
        raise AudioError(
            f"an array of shape {waveform.shape} and type {waveform.dtype} is no waveform",
            place="<array>",
            remedy="Give float32 (num_samples,): one channel, in [-1, 1].",
        )
    if not np.isfinite(waveform).all():
        raise AudioError("holds a sample that is NaN or infinite", place="<array>")
    return waveform.astype(np.float32, copy=False)
