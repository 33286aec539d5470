"""Segments of long recordings: one that cannot be sought is decoded once, not once for each of its segments.

An interview of two hours with a thousand annotations, as MP3, would be decoded for some five hundred hours otherwise.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from asr_adapt import audio
from asr_adapt.audio import decode
from asr_adapt.errors import InputError
from asr_adapt.records import Utterance
from asr_adapt.storage import disk_full_as_error

Item = TypeVar("Item")
Result = TypeVar("Result")
_IN_FLIGHT_PER_WORKER = 4
_SEVERAL = 3  # segments, from which on a copy is worth its disk space: 230 MB an hour, while it is needed
_MAX_COPY_S = 100 * 3_600  # 23 GB; the segments of a longer recording are decoded one by one
_SAMPLE_BYTES = 4


class DecodedCache:
    """Loads utterances, from several threads; decoded copies of compressed recordings are kept in a folder.

    A copy reaches to the end of the last segment that is needed of its recording, and holds float32 samples alone.

    Args:
        utterances: All that will be loaded.
        scratch: A folder for the copies, which its creator removes.
    """

    def __init__(self, utterances: Iterable[Utterance], scratch: Path) -> None:
        segments: dict[str, list[Utterance]] = defaultdict(list)
        for utterance in utterances:
            if utterance.start_s is not None or utterance.end_s is not None:
                segments[utterance.audio].append(utterance)
        copied = [name for name, them in segments.items() if len(them) >= _SEVERAL and not audio.is_seekable(name)]
        self._left = {name: len(segments[name]) for name in copied}
        self._end_s = {name: _last_end_s(segments[name]) for name in copied}
        # Numbered over all recordings, so that a name is never used twice.
        self._copy_of = {name: scratch / f"{number}.f32" for number, name in enumerate(copied)}
        self._copies: dict[str, Path | None] = {}
        self._failed: dict[str, InputError] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def load(self, utterance: Utterance) -> np.ndarray:
        """Return what `audio.load` returns of an utterance, the very same samples.

        Raises:
            AudioError: as `audio.load`.
            DiskFull: there is no room for the copy.
        """
        name = utterance.audio
        if name not in self._left:
            return audio.load(name, start_s=utterance.start_s, end_s=utterance.end_s)
        with self._locks[name]:
            if name in self._failed:
                raise self._failed[name]
            if name not in self._copies:
                self._copies[name] = self._decoded(name)
            copy = self._copies[name]
        try:
            if copy is None:
                return audio.load(name, start_s=utterance.start_s, end_s=utterance.end_s)
            return _segment(copy, utterance)
        finally:
            with self._locks[name]:
                self._left[name] -= 1
                if not self._left[name] and (done := self._copies.pop(name)) is not None:
                    done.unlink()

    def _decoded(self, name: str) -> Path | None:
        """Return the copy of a recording; None, and nothing on the disk, where it would be too large."""
        copy, samples = self._copy_of[name], 0
        try:
            with disk_full_as_error(copy.parent, "Make room, or set TMPDIR to a folder elsewhere."):
                with copy.open("xb") as file:
                    for block in audio.blocks(name, end_s=self._end_s[name]):
                        samples += len(block)
                        if samples > _MAX_COPY_S * audio.SAMPLE_RATE_HZ:
                            break
                        file.write(block.data)
                if samples <= _MAX_COPY_S * audio.SAMPLE_RATE_HZ:
                    return copy
        except InputError as error:
            self._failed[name] = error
            copy.unlink(missing_ok=True)
            raise
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
        copy.unlink()
        return None


def _last_end_s(segments: Iterable[Utterance]) -> float | None:
    ends = [segment.end_s for segment in segments]
    return None if None in ends else max(end for end in ends if end is not None)


def _segment(copy: Path, utterance: Utterance) -> np.ndarray:
    """Return the samples of an utterance from a copy."""
    rate, start_s, end_s = audio.SAMPLE_RATE_HZ, utterance.start_s, utterance.end_s
    decode.check_times(start_s, end_s, utterance.audio)
    first = round((start_s or 0.0) * rate)
    count = -1 if end_s is None else round(end_s * rate) - first
    with copy.open("rb") as file:
        file.seek(first * _SAMPLE_BYTES)
        waveform = np.frombuffer(file.read(count * _SAMPLE_BYTES if count >= 0 else -1), np.float32).copy()
    if not len(waveform):
        raise decode.no_samples(start_s, end_s, utterance.audio)
    return waveform


def ordered_map(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, in_flight: int | None = None
) -> Generator[Result, None, None]:
    """Map on threads, in order: decoders release the interpreter, memory is bounded.

    Args:
        work: Called on the threads.
        items: What to map.
        workers: Number of threads.
        in_flight: Results that are worked at, or wait to be asked for, at most; None: four for each thread.
    """
    most = in_flight or workers * _IN_FLIGHT_PER_WORKER
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # where the consumer stops early, nothing is begun any more
            for future in waiting:
                future.cancel()
