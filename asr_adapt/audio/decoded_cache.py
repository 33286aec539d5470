"""Pieces of long recordings: one that cannot be sought is decoded once, not once for each of its pieces.

An interview of two hours with a thousand annotations, as MP3, would be decoded for some five hundred hours otherwise.
"""

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile

from asr_adapt import audio
from asr_adapt.errors import AudioError
from asr_adapt.records import Utterance

Item = TypeVar("Item")
Result = TypeVar("Result")
_IN_FLIGHT_PER_WORKER = 4
_SEVERAL = 3  # pieces, from which on a copy is worth its room: 230 MB an hour, for as long as it is needed


class DecodedCache:
    """Loads utterances, from several threads; decoded copies of compressed recordings lie in a folder meanwhile.

    Args:
        utterances: All that will be asked for.
        scratch: A folder for the copies, which whoever made it removes.
    """

    def __init__(self, utterances: Iterable[Utterance], scratch: Path) -> None:
        counts = Counter(u.audio for u in utterances if u.start_s is not None or u.end_s is not None)
        self._left = {
            name: count for name, count in counts.items() if count >= _SEVERAL and not audio.is_seekable(name)
        }
        # A name of its own for each recording, whichever copies are gone by then.
        self._copy_of = {name: scratch / f"{number}.wav" for number, name in enumerate(self._left)}
        self._copies: dict[str, Path] = {}
        self._failed: dict[str, AudioError] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def load(self, utterance: Utterance) -> np.ndarray:
        """Return what `audio.load` returns of an utterance, the very same samples; raises what it raises."""
        name = utterance.audio
        if name not in self._left:
            return audio.load(name, start_s=utterance.start_s, end_s=utterance.end_s)
        with self._locks[name]:
            if name in self._failed:
                raise self._failed[name]
            if name not in self._copies:
                self._copies[name] = self._decoded(name)
        try:
            return audio.load(str(self._copies[name]), start_s=utterance.start_s, end_s=utterance.end_s)
        finally:
            with self._locks[name]:
                self._left[name] -= 1
                if not self._left[name]:
                    self._copies.pop(name).unlink()

    def _decoded(self, name: str) -> Path:
        copy = self._copy_of[name]
        try:
            with soundfile.SoundFile(copy, "w", audio.SAMPLE_RATE_HZ, 1, subtype="FLOAT", format="RF64") as file:
                for block in audio.blocks(name):
                    file.write(block)
        except AudioError as error:
            copy.unlink()
            self._failed[name] = error
            raise
        return copy


def ordered_map(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Map on threads, in order, with few results in flight: decoders release the interpreter, memory is bounded."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= workers * _IN_FLIGHT_PER_WORKER:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
