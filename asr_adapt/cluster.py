"""Work on a Ray cluster, or on this machine's cores as one: chunks go to workers, and come back as they are done.

A worker is a process with a GPU, or with some cores, that is set up once. What was sent to one that dies goes to
another one; what kills one again and again is given up, alone.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.telemetry import import_ray

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[list[Item]], list[Result]]
"""what a worker makes of a chunk: a result for each of its items, in order"""

LOCAL = "local"
"""the address of this machine's own cores, for as long as the work takes"""
# While a worker's model is busy with one chunk, another thread of it decodes the next.
_CHUNKS_OF_ONE = 2
_AHEAD = 4  # chunks for each worker that may wait for an earlier one, where results are wanted in order
_MOST_DEATHS, _MOST_STILLBORN = 2, 3
_OBJECTS_BYTES = 256 * 2**20  # shared memory of this machine's own cluster
_WAITED_S = 30.0
_MOST_REASON = 500
_MEMORY = "Ask for fewer workers, or use machines with more memory."


@dataclass(frozen=True)
class Cluster:
    """Where work is done.

    `local`, or the address of a running cluster: `auto`, `HOST:PORT` or `ray://HOST:PORT`.
    """

    address: str
    workers: int | None = None
    """None: one for each GPU, or where there is none, for each `cores` cores"""
    cores: int = 1
    """of each worker"""
    gpus: bool = True
    """whether a worker takes a GPU, where there are some"""
    named_by: str = "--ray"
    """the option or field that holds the address, for errors"""


class WorkerDied(InputError):
    """Its worker died each time that an item was done, alone."""


@dataclass(eq=False)
class _Chunk(Generic[Item, Result]):
    number: int
    items: list[Item]
    results: "list[Result | WorkerDied]" = field(default_factory=list)
    is_suspect: bool = False
    """a worker died with it: it is done by a worker that has nothing else to do"""
    one_by_one: bool = False
    """that died, too"""
    deaths: int = 0
    """of workers with the item that is due, alone"""

    @property
    def due(self) -> list[Item]:
        """What a worker is given next."""
        done = len(self.results)
        return self.items[done : done + 1] if self.one_by_one else self.items[done:]

    def survived(self, *, was_alone: bool, reason: str) -> None:
        """Note that the worker that it was given to has died."""
        if self.one_by_one:
            self.deaths += 1
            if self.deaths >= _MOST_DEATHS:
                self.results.append(WorkerDied(f"{self.deaths} workers died of it, one after the other ({reason})"))
                self.deaths = 0
        self.one_by_one = self.one_by_one or (self.is_suspect and was_alone) or (was_alone and len(self.items) == 1)
        self.is_suspect = True


@dataclass(eq=False)
class _Actor(Generic[Item, Result]):
    handle: Any
    is_ready: bool = False
    chunks: list[_Chunk[Item, Result]] = field(default_factory=list)


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Stay connected to a cluster, and give the module `ray`: a local one lives as long.

    Raises:
        InputError: there is no such cluster, or Ray is not installed.
    """
    try:
        ray = import_ray()
    except ImportError as error:
        raise InputError(
            f"Ray is not installed ({error})",
            place=cluster.named_by,
            remedy="Install it: pip install 'asr-adapt[ray]'.",
        ) from error
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": True, "logging_level": "ERROR"}
    is_local = cluster.address == LOCAL
    if is_local:
        options |= {"include_dashboard": False, "object_store_memory": _OBJECTS_BYTES}
    try:
        ray.init(cluster.address, **options)
    except Exception as error:  # Ray raises plain ones
        place = f"{cluster.named_by} {cluster.address}"
        if _asks_for_token(error):
            raise InputError(
                "the cluster asks for a token, and was given none or another",
                place=place,
                remedy="Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to its token (there: ray get-auth-token).",
            ) from error
        raise InputError(
            f"Ray does not {'start' if is_local else 'answer'} ({' '.join(str(error).split())})",
            place=place,
            remedy="Try again when the machine is less busy." if is_local else "Start it (ray start --head).",
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _asks_for_token(error: BaseException | None) -> bool:
    while error is not None:
        if "InvalidAuthToken" in str(error):
            return True
        error = error.__cause__
    return False


def results(
    cluster: Cluster,
    make: Callable[[], Work],
    chunks: Iterable[Sequence[Item]],
    console: Console,
    *,
    in_order: bool = False,
) -> Iterator[tuple[Item, Result | WorkerDied]]:
    """Yield every item of the chunks with its result; chunks as they are done, or in their order.

    Chunks are taken as workers are free, so that an endless iterator is as good as a list.

    Args:
        cluster: Where the work is done.
        make: Makes a worker's work, once; it can be pickled. An `InputError` that it raises ends everything.
        chunks: Of items that can be pickled.
        console: Told how many workers there are, and which were lost.
        in_order: Whether results come in the order of the items.

    Raises:
        InputError: there is no such cluster, `make` or its work raised it, or no worker lives long enough to begin.
    """
    with connected(cluster) as ray:
        pool: _Pool[Item, Result] = _Pool(ray, cluster, make, chunks, console, in_order=in_order)
        try:
            yield from pool.results()
        finally:
            pool.end()


class _Worker:
    """What runs in a worker's process; a mistake in the input is a value there, to be raised here."""

    def __init__(self, make: Callable[[], Work]) -> None:
        self._work: Work | InputError
        try:
            self._work = make()
        except InputError as error:
            self._work = error

    def ready(self) -> InputError | None:
        return self._work if isinstance(self._work, InputError) else None

    def work(self, items: list) -> "list | InputError":
        assert not isinstance(self._work, InputError)
        try:
            return self._work(items)
        except InputError as error:
            return error


class _Pool(Generic[Item, Result]):
    def __init__(
        self,
        ray: Any,
        cluster: Cluster,
        make: Callable[[], Work],
        chunks: Iterable[Sequence[Item]],
        console: Console,
        *,
        in_order: bool,
    ) -> None:
        self._ray, self._console, self._in_order = ray, console, in_order
        self._named_by = cluster.named_by
        found = ray.cluster_resources()
        gpus, cores = int(found.get("GPU", 0)) * cluster.gpus, int(found.get("CPU", 1))
        count = cluster.workers or gpus or max(1, cores // cluster.cores)
        options = {"num_cpus": cluster.cores, "num_gpus": 1 if gpus else 0, "max_concurrency": _CHUNKS_OF_ONE}
        self._new = ray.remote(**options)(_Worker).remote
        self._make = ray.put(make)
        self._actors: list[_Actor[Item, Result]] = []
        # None: the actor is being made.
        self._flying: dict[Any, tuple[_Actor[Item, Result], _Chunk[Item, Result] | None]] = {}
        self._chunks, self._number, self._have_ended = iter(chunks), 0, False
        self._again: deque[_Chunk[Item, Result]] = deque()
        self._early: dict[int, _Chunk[Item, Result]] = {}
        self._following = 0
        self._stillborn = 0
        device = "a GPU" if gpus else f"{cluster.cores} of {cores} cores"
        console.say(f"{count} workers on {len(ray.nodes())} machines, each with {device}")
        for _ in range(count):
            self._start()

    def _start(self) -> None:
        actor: _Actor[Item, Result] = _Actor(self._new(self._make))
        self._actors.append(actor)
        self._flying[actor.handle.ready.remote()] = actor, None

    def end(self) -> None:
        """End the workers, whatever they are at."""
        for actor in self._actors:
            self._ray.kill(actor.handle)

    def results(self) -> Iterator[tuple[Item, Result | WorkerDied]]:
        """Yield items and results; see the function of that name."""
        while self._hand_out() or any(chunk for _, chunk in self._flying.values()):
            done, _ = self._ray.wait(list(self._flying), num_returns=1, timeout=_WAITED_S)
            if not done and not any(actor.is_ready for actor in self._actors):
                self._console.warn("no worker is ready yet: they load, or lack free cores, GPUs or memory")
            for reference in done:
                yield from self._received(reference)

    def _hand_out(self) -> bool:
        """Give chunks to workers that are free for one, and return whether any is left."""
        for turn in range(_CHUNKS_OF_ONE):
            for actor in self._actors:
                if actor.is_ready and len(actor.chunks) == turn and not any(c.is_suspect for c in actor.chunks):
                    chunk = self._next(is_idle=not actor.chunks)
                    if chunk is not None:
                        actor.chunks.append(chunk)
                        self._flying[actor.handle.work.remote(chunk.due)] = actor, chunk
        return bool(self._again) or not self._have_ended

    def _next(self, *, is_idle: bool) -> _Chunk[Item, Result] | None:
        if self._again and is_idle:
            return self._again.popleft()
        is_too_far = self._in_order and self._number - self._following >= _AHEAD * len(self._actors)
        if self._have_ended or is_too_far:
            return None
        items = next(self._chunks, None)
        if items is None:
            self._have_ended = True
            return None
        self._number += 1
        return _Chunk(self._number - 1, list(items))

    def _received(self, reference: Any) -> Iterator[tuple[Item, Result | WorkerDied]]:
        actor, chunk = self._flying.pop(reference)
        exceptions = self._ray.exceptions
        try:
            value = self._ray.get(reference)
        except exceptions.RayTaskError:  # a bug, with its traceback
            raise
        except exceptions.RayError as error:
            yield from self._lost(actor, " ".join(str(error).split())[:_MOST_REASON])
            return
        if isinstance(value, InputError):
            raise value
        if chunk is None:
            actor.is_ready, self._stillborn = True, 0
            return
        actor.chunks.remove(chunk)
        chunk.results += value
        chunk.deaths = 0
        yield from self._finished(chunk)

    def _lost(self, actor: _Actor[Item, Result], reason: str) -> Iterator[tuple[Item, Result | WorkerDied]]:
        """Replace a worker that died, or cannot be reached, and do again what it had."""
        self._ray.kill(actor.handle)
        self._actors.remove(actor)
        self._flying = {r: (of, chunk) for r, (of, chunk) in self._flying.items() if of is not actor}
        if not actor.is_ready:
            self._stillborn += 1
            if self._stillborn >= _MOST_STILLBORN:
                raise InputError(f"workers die before they begin ({reason})", place=self._named_by, remedy=_MEMORY)
        again = sum(len(chunk.due) for chunk in actor.chunks)
        self._console.warn(f"a worker was lost; what it had, {again} items, is done again")
        self._start()
        for chunk in actor.chunks:
            chunk.survived(was_alone=len(actor.chunks) == 1, reason=reason)
            yield from self._finished(chunk)

    def _finished(self, chunk: _Chunk[Item, Result]) -> Iterator[tuple[Item, Result | WorkerDied]]:
        """Yield the results of a chunk, once it has them all and is due; else let it be done again."""
        if len(chunk.results) < len(chunk.items):
            self._again.append(chunk)
            return
        self._early[chunk.number if self._in_order else self._following] = chunk
        while (following := self._early.pop(self._following, None)) is not None:
            self._following += 1
            yield from zip(following.items, following.results, strict=True)
