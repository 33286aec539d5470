"""Work that goes on in the background while what it made is used."""

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")
_LOOK_S = 0.1


def in_background(items: Iterator[Item], depth: int) -> Iterator[Item]:
    """Yield items that another thread takes from an iterator, at most `depth` of them ahead.

    What the iterator raises is raised here, after the items before it. When nobody wants more, the thread ends.
    """
    made: queue.Queue[tuple[Item | None, BaseException | None, bool]] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Item | None, error: BaseException | None, is_last: bool) -> None:
        while not stop.is_set():
            try:
                return made.put((item, error, is_last), timeout=_LOOK_S)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item, None, False)
                if stop.is_set():
                    return
            put(None, None, True)
        except BaseException as error:
            put(None, error, True)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error, is_last = made.get()
            if error is not None:
                raise error
            if is_last:
                return
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
