"""The processes of one run, as torchrun or accelerate starts them: the first leads, and all share the work.

A process on its own leads itself; nothing is sent then.
"""

import atexit
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist

from asr_adapt.errors import InputError, ProcessLost
from asr_adapt.storage import marker_file

Item = TypeVar("Item")
_VISIBLE_AFTER_S = 10.0  # network file systems may show a new file late


def count() -> int:
    """Return how many processes there are, over all machines."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def index() -> int:
    """Return the number of this process, from 0; that one leads."""
    return dist.get_rank() if count() > 1 else 0


def leads() -> bool:
    """Whether this process is the one that writes and reports."""
    return index() == 0


def leave_at_exit() -> None:
    """Part from the other processes before the interpreter ends, whose threads could abort it otherwise."""
    if count() > 1:
        atexit.register(_leave)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def from_leader(work: Callable[[], Item]) -> Item:
    """Return in every process what `work` returns in the first, which alone does it; it must be picklable.

    Raises:
        InputError: it was raised in the first process; every process raises it.
    """
    if count() == 1:
        return work()
    told: list[Any] = [None, None]
    if leads():
        try:
            told[0] = work()
        except InputError as error:
            told[1] = error
    dist.broadcast_object_list(told, src=0)
    if told[1] is not None:
        raise told[1]
    return told[0]


def share(total: int) -> range:
    """Return which of `total` items are those of this process: each is some process's, and of only one."""
    return range(index(), total, count())


def together(mine: Sequence[Item], total: int) -> list[Item]:
    """Return in every process the results of all, in order, given those of its own `share`."""
    if count() == 1:
        return list(mine)
    whole: list[Any] = [None] * total
    for number, results in enumerate(_gathered(list(mine))):
        whole[number :: count()] = results
    return whole


def restart_problem() -> str | None:
    """Return why torchrun's restarts would fail here, in words; None: they are not asked for, or work.

    With PyTorch 2.14 processes that are started anew look up one another in a store that still has the addresses of
    the dead, and end with "connection refused" (pytorch/pytorch issue 167288).
    """
    uses_shared_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if count() > 1 and uses_shared_store and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        return (
            "torchrun --max-restarts does not work with this PyTorch (its issue 167288): set "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, as deploy/train.sh does"
        )
    return None


def refuse_separate_folders(folder: Path) -> None:
    """Check that every process sees what the first one writes into a folder.

    Raises:
        InputError: one does not: machines have a folder each; every process raises it.
    """
    if count() == 1:
        return
    with marker_file(folder) if leads() else nullcontext() as mark:
        name = from_leader(lambda: mark.name if mark else "")
        found = _gathered((socket.gethostname(), _appears(folder / name)))
    blind = sorted({host for host, sees in found if not sees})
    if blind:
        raise InputError(
            f"{', '.join(blind)} cannot see what {found[0][0]} writes here",
            place=folder,
            remedy="Give --out on a file system that all machines share, under the same path.",
        )


def _appears(path: Path) -> bool:
    deadline = time.monotonic() + _VISIBLE_AFTER_S
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _gathered(mine: Item) -> list[Item]:
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, mine)
    return found


@contextmanager
def lost_as_error(place: Path) -> Iterator[None]:
    """Turn the failure of a collective operation, because another process has died, into a one-line error.

    Raises:
        ProcessLost: another process has ended, or cannot be reached.
    """
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        if count() == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
        raise ProcessLost(
            f"another process of this run has ended, or cannot be reached ({str(error).splitlines()[0]})",
            place=place,
            remedy="torchrun starts all anew, up to --max-restarts times; they resume from the last checkpoint."
            if restarts
            else "The same command resumes from the last checkpoint; with torchrun --max-restarts 3 it is automatic.",
        ) from error
