"""Prefetching: order, errors and the end of the thread."""

import threading
import time
from collections.abc import Iterator

import pytest

from asr_adapt.background import prefetch


def test_items_come_in_order_from_another_thread() -> None:
    threads = set()

    def items() -> Iterator[int]:
        for number in range(100):
            threads.add(threading.get_ident())
            yield number

    assert list(prefetch(items(), 3)) == list(range(100))
    assert len(threads) == 1 and threading.get_ident() not in threads


def test_no_more_are_made_than_were_asked_for() -> None:
    made = 0

    def endless() -> Iterator[int]:
        nonlocal made
        while True:
            made += 1
            yield made

    before = threading.active_count()
    ahead = prefetch(endless(), 2)
    assert next(ahead) == 1
    time.sleep(0.3)
    assert made <= 5
    ahead.close()
    assert threading.active_count() == before, "the thread ended"


def test_an_error_is_raised_after_what_came_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    ahead = prefetch(items(), 5)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="broken"):
        next(ahead)
