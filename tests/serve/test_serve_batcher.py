"""The batcher: who runs with whom, and whose turn it is."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from conftest import RATE_HZ

from asr_adapt.records import Segment
from asr_adapt.serve.api_error import ApiError
from asr_adapt.serve.batcher import Batcher
from asr_adapt.serve.limits import Limits
from asr_adapt.serve.metrics import Metrics

PROBE = [0]  # silence, after a failure


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
    assert recorder.batches == [[0, 1, 2], [0], [1], PROBE, [2]]
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


def test_a_crash_of_the_batcher_is_logged_and_fails_what_is_queued(caplog: pytest.LogCaptureFixture) -> None:
    class TooFew(Recorder):
        def read(self, pieces: Sequence[tuple[int, np.ndarray]], decodes: Sequence[Any]) -> list[Segment]:
            return super().read(pieces, decodes)[1:]

    async def main() -> None:
        with ThreadPoolExecutor(1) as thread:
            batcher = Batcher(TooFew(), Limits(batch_s=1), Metrics(), thread)  # type: ignore[arg-type]
            batcher.start()
            queue = batcher.queue()
            futures = [queue.put(number, seconds(1), None) for number in range(3)]
            results = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 20)
            assert [getattr(result, "status", None) for result in results] == [503, 503, 503]
            assert not batcher.is_healthy
            with pytest.raises(ApiError, match="has failed"):
                queue.put(9, seconds(1), None)
            await batcher.stop()

    asyncio.run(main())
    assert "batching ended: ValueError" in caplog.text and "batcher.py" in caplog.text


def test_a_model_that_fails_on_everything_is_unhealthy_until_it_works_again(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Recorder):
        broken = True

        def read(self, pieces: Sequence[tuple[int, np.ndarray]], decodes: Sequence[Any]) -> list[Segment]:
            if self.broken:
                raise MemoryError
            return super().read(pieces, decodes)

    async def main() -> None:
        with ThreadPoolExecutor(1) as thread:
            model = Broken()
            batcher = Batcher(model, Limits(), Metrics(), thread)  # type: ignore[arg-type]
            batcher.start()
            with batcher.queue() as queue:
                for _ in range(2):
                    with pytest.raises(MemoryError):
                        await queue.put(0, seconds(1), None)
                while batcher.is_healthy:
                    await asyncio.sleep(0.01)
                model.broken = False
                await queue.put(0, seconds(1), None)
                assert batcher.is_healthy
            await batcher.stop()

    asyncio.run(main())
    assert caplog.text.count("the model fails on every input: MemoryError") == 1
