"""The batcher: who runs with whom, and whose turn it is."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from conftest import RATE_HZ

from asr_adapt.records import Segment
from asr_adapt.serve.batcher import Batcher
from asr_adapt.serve.limits import Limits
from asr_adapt.serve.metrics import Metrics


class Recorder:
    """Stands for a transcriber; keeps which batches it was given, and fails on a waveform of NaN."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def read(self, pieces: Sequence[tuple[int, np.ndarray]], decodes: Sequence[Any]) -> list[Segment]:
        self.batches.append([first for first, _ in pieces])
        if any(np.isnan(waveform).any() for _, waveform in pieces):
            raise ValueError("a bad item")
        return [Segment(str(first), 0.0, 1.0, ()) for first, _ in pieces]


def seconds(length_s: float, value: float = 0.0) -> np.ndarray:
    return np.full(int(length_s * RATE_HZ), value, np.float32)


def ran(lines: Sequence[Sequence[tuple[int, np.ndarray]]], limits: Limits) -> tuple[Recorder, list[list[Any]]]:
    """Put each line's pieces in, and return what the transcriber was given, and what came of each piece."""
    recorder = Recorder()

    async def main() -> list[list[Any]]:
        with ThreadPoolExecutor(1) as thread:
            batcher = Batcher(recorder, limits, Metrics(), thread)  # type: ignore[arg-type]
            batcher.start()
            opened = [batcher.queue() for _ in lines]
            futures = [
                [line.put(*piece, None) for piece in pieces] for line, pieces in zip(opened, lines, strict=True)
            ]
            results = [await asyncio.gather(*of_line, return_exceptions=True) for of_line in futures]
            assert batcher.is_healthy and batcher.queued_s == 0
            await batcher.stop()
        return results

    return recorder, asyncio.run(main())


def test_what_is_there_together_runs_together() -> None:
    recorder, results = ran([[(number, seconds(2))] for number in range(5)], Limits(batch_s=30))
    assert recorder.batches == [[0, 1, 2, 3, 4]]
    assert [of_line[0].text for of_line in results] == ["0", "1", "2", "3", "4"]


def test_a_batch_stays_within_its_seconds_with_padding() -> None:
    recorder, _ = ran([[(number, seconds(4))] for number in range(8)], Limits(batch_s=10))
    assert [len(batch) for batch in recorder.batches] == [2, 2, 2, 2]
    longer, _ = ran([[(0, seconds(20))]], Limits(batch_s=10))
    assert longer.batches == [[0]], "what is longer than a batch runs alone"


def test_a_long_recording_and_short_ones_take_turns() -> None:
    long = [(number, seconds(5)) for number in range(10)]
    recorder, _ = ran([long, [(100, seconds(5))], [(101, seconds(5))]], Limits(batch_s=10))
    assert recorder.batches[0] == [0, 100], "the first of each, in turn"
    assert 101 in recorder.batches[1]
    assert sorted(first for batch in recorder.batches for first in batch) == [*range(10), 100, 101]


def test_short_ones_are_not_padded_to_a_long_piece_and_nobody_starves() -> None:
    recorder, _ = ran([[(0, seconds(30))], *([(number, seconds(2))] for number in range(1, 6))], Limits(batch_s=60))
    assert recorder.batches == [[0], [1, 2, 3, 4, 5]]


def test_one_bad_item_fails_alone() -> None:
    lines = [[(0, seconds(1))], [(1, seconds(1, np.nan))], [(2, seconds(1))]]
    recorder, results = ran(lines, Limits())
    assert recorder.batches == [[0, 1, 2], [0], [1], [2]]
    assert results[0][0].text == "0" and results[2][0].text == "2"
    with pytest.raises(ValueError, match="a bad item"):
        raise results[1][0]


def test_what_waits_in_a_line_that_is_left_is_not_read() -> None:
    recorder = Recorder()

    async def main() -> None:
        with ThreadPoolExecutor(1) as thread:
            batcher = Batcher(recorder, Limits(), Metrics(), thread)  # type: ignore[arg-type]
            batcher.start()
            with batcher.queue() as left:
                left.put(0, seconds(1), None)
            with batcher.queue() as stays:
                assert (await stays.put(1, seconds(1), None)).text == "1"
            await batcher.stop()

    asyncio.run(main())
    assert recorder.batches == [[1]]
