"""When training does what: the learning rate of a step, and the clips in its batches.

Functions of the recipe's numbers and the step alone, so that a run that was killed goes on as if it had not been.
"""

from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np

from asr_adapt.errors import InputError
from asr_adapt.recipe import ResolvedTrain

_FINAL_SHARE = 0.05  # of the peak rate, at the end of the decay (fairseq's tri-stage schedule)
_BUCKET_RATIO = 1.03  # clips within 3 % of one length share a bucket, so a batch is at most about that much padding


def rate_scale(step: int, conf: ResolvedTrain) -> float:
    """Return the tri-stage share of the peak rate for 0-based `step`: linear rise, hold, exponential decay to 5 %."""
    warm = int(conf.warmup * conf.steps)
    held = warm + int(conf.hold * conf.steps)
    if step < warm:
        return (step + 1) / warm
    if step < held:
        return 1.0
    return float(_FINAL_SHARE ** ((step - held) / max(1, conf.steps - held)))


def frozen_depth(step: int, conf: ResolvedTrain, depth: int | None, layers: int) -> int | None:
    """Return up to which transformer layer nothing is trained in 0-based `step`, after the head-only stage.

    With `train.unfreeze_steps` layers are unfrozen from the top, one each time (gradual unfreezing, Howard and Ruder
    2018, arXiv:1801.06146, section 3.3), down to `depth`; with the lowest, all that is beneath it.

    Args:
        step: 0-based.
        conf: What is trained when.
        depth: That of the freezing policy (`model.freezing.frozen_depth`).
        layers: Of the transformer.
    """
    lowest = depth or 0
    if not conf.unfreeze_steps or lowest == layers:
        return depth
    unfrozen = 1 + max(0, step - conf.head_steps) // conf.unfreeze_steps
    return depth if layers - unfrozen <= lowest else layers - unfrozen


def check_unfreezing(conf: ResolvedTrain, depth: int | None, layers: int) -> None:
    """Refuse gradual unfreezing that would end before its lowest layer is trained.

    Raises:
        InputError: there are too few steps.
    """
    later = layers - (depth or 0) - 1
    if later > 0 and conf.unfreeze_steps and conf.head_steps + later * conf.unfreeze_steps >= conf.steps:
        most = (conf.steps - 1 - conf.head_steps) // later
        raise InputError(
            f"must be at most {most} for {layers - (depth or 0)} layers in {conf.steps} steps, the first "
            f"{conf.head_steps} of them for the head, but is {conf.unfreeze_steps}",
            place="train.unfreeze_steps",
            remedy="Unfreeze faster, or train longer (train.steps)." if most > 0 else "Train longer (train.steps).",
        )


def batches_by_length(durations_s: Sequence[float], batch_s: float, rng: np.random.Generator) -> list[list[int]]:
    """Return one epoch: every clip once, clips of like length together, batches in random order.

    A batch is as many clips as fit into `batch_s` at the length of its longest; a longer clip is alone.

    Args:
        durations_s: Length of each clip.
        batch_s: Seconds of audio in a batch, padding included.
        rng: Source of randomness.
    """
    durations = np.asarray(durations_s)
    buckets = np.floor(np.log(np.maximum(durations, 1e-3)) / np.log(_BUCKET_RATIO))
    order = np.lexsort((rng.random(len(durations)), buckets))  # random within a bucket
    batches: list[list[int]] = []
    longest = 0.0
    for index in order:
        longest = max(longest, durations[index]) if batches else durations[index]
        if not batches or (len(batches[-1]) + 1) * longest > batch_s:
            batches.append([])
            longest = durations[index]
        batches[-1].append(int(index))
    return [batches[i] for i in rng.permutation(len(batches))]


def plan(durations_s: Sequence[float], conf: ResolvedTrain, start: int, stop: int) -> Iterator[list[list[int]]]:
    """Yield the batches of each step from `start` up to `stop`: a function of durations, seed and step alone."""

    def all_batches() -> Iterator[list[int]]:
        for epoch in count():
            yield from batches_by_length(durations_s, conf.batch_s, np.random.default_rng([conf.seed, epoch]))

    batches = all_batches()
    for step in range(stop):
        of_step = [next(batches) for _ in range(conf.accumulate)]
        if step >= start:
            yield of_step


def seed_of(*parts: int) -> int:
    """Return a seed for torch of the run's seed, the step, the batch and the process."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def share(batch: Sequence[int], process: int, processes: int) -> list[tuple[int, float]]:
    """Return the clips of a batch that one of several processes gets, each with the weight of its loss, 1.

    Each clip is one process's. Where none is left for a process, it gets one with weight 0, since all must take part
    in the exchange of gradients.
    """
    return [(i, 1.0) for i in batch[process::processes]] or [(batch[0], 0.0)]
