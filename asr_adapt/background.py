"""Prefetching: a thread that works ahead of its consumer."""

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")
_POLL_S = 0.1


def prefetch(items: Iterator[Item], depth: int) -> Iterator[Item]:
    """Yield the items of an iterator that a background thread advances, at most `depth` items ahead.

    An exception of the iterator is raised here, after the items before it. The thread ends when the generator is
    closed.
    """
    ready: queue.Queue[tuple[Item | None, BaseException | None, bool]] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Item | None, error: BaseException | None, is_last: bool) -> None:
        while not stop.is_set():
            try:
                return ready.put((item, error, is_last), timeout=_POLL_S)
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                put(item, None, False)
                if stop.is_set():
                    return
            put(None, None, True)
        except BaseException as error:
            put(None, error, True)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            item, error, is_last = ready.get()
            if error is not None:
                raise error
            if is_last:
                return
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
