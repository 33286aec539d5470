"""Work on a Ray cluster of this machine's cores: order, deaths of workers, mistakes."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_adapt.cluster import LOCAL, Cluster, WorkerDied, results
from asr_adapt.console import Console
from asr_adapt.errors import InputError

pytestmark = pytest.mark.slow
TWO = Cluster(LOCAL, workers=2)


@pytest.fixture(scope="module", autouse=True)
def ray() -> None:
    pytest.importorskip("ray", reason="ray is not installed")


def test_each_item_has_its_result_once_and_in_order_where_that_is_wanted(console: Console) -> None:
    def squares() -> Callable[[list[int]], list[int]]:
        return lambda numbers: [number**2 for number in numbers]

    chunks = [range(first, first + 7) for first in range(0, 70, 7)]
    expected = [(number, number**2) for number in range(70)]
    assert sorted(results(TWO, squares, chunks, console)) == expected
    assert list(results(TWO, squares, chunks, console, in_order=True)) == expected


def test_what_kills_its_worker_is_given_up_alone(console: Console) -> None:
    def make() -> Callable[[list[int]], list[int]]:
        def work(numbers: list[int]) -> list[int]:
            if 13 in numbers:
                os.kill(os.getpid(), signal.SIGKILL)
            return numbers

        return work

    found = dict(results(TWO, make, [range(0, 10), range(10, 20), range(20, 30)], console))
    assert set(found) == set(range(30))
    assert [number for number, result in found.items() if isinstance(result, WorkerDied)] == [13]


def test_a_killed_worker_loses_nothing_and_does_nothing_twice(console: Console, tmp_path: Path) -> None:
    def make() -> Callable[[list[int]], list[int]]:
        def work(numbers: list[int]) -> list[int]:
            (tmp_path / str(os.getpid())).touch()
            time.sleep(0.2)
            return numbers

        return work

    found: list[int] = []
    for number, _ in results(TWO, make, [[number] for number in range(40)], console):
        found.append(number)
        if len(found) == 10:
            os.kill(int(next(tmp_path.iterdir()).name), signal.SIGKILL)
    assert sorted(found) == list(range(40))


def test_a_mistake_that_a_worker_finds_is_one_line(console: Console) -> None:
    def make() -> Callable[[list[int]], list[int]]:
        raise InputError("damaged", place="model", remedy="Copy it again.")

    with pytest.raises(InputError, match=r"^model: damaged\. Copy it again\.$"):
        list(results(TWO, make, [[1]], console))


def test_a_cluster_that_asks_for_a_token_is_no_cluster_that_is_not_there(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    def init(*_: object, **__: object) -> None:
        try:
            raise RuntimeError("RPC error: InvalidAuthToken: Authentication token is missing or incorrect.")
        except RuntimeError as error:
            raise ConnectionError("Failed to connect to Ray cluster at head:6379") from error

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(InputError, match=r"^--ray head:6379: the cluster asks for a token.* Set RAY_AUTH_MODE=token"):
        list(results(Cluster("head:6379"), lambda: list, [[1]], console))
