"""When training does what: the learning rate of a step, and the clips in its batches.

Functions of the recipe's numbers and the step alone, so that a run that was killed goes on as if it had not been.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, repeat

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


def batches_by_length(
    durations_s: Sequence[float] | np.ndarray, batch_s: float, rng: np.random.Generator
) -> list[list[int]]:
    """Return one epoch: every clip once, clips of like length together, batches in random order.

    A batch is as many clips as fit into `batch_s` at the length of its longest; a longer clip is alone.

    Args:
        durations_s: Length of each clip.
        batch_s: Seconds of audio in a batch, padding included.
        rng: Source of randomness.
    """
    durations = np.asarray(durations_s, np.float64)
    buckets = np.floor(np.log(np.maximum(durations, 1e-3)) / np.log(_BUCKET_RATIO))
    order = np.lexsort((rng.random(len(durations)), buckets))  # random within a bucket
    starts: list[int] = []
    longest = 0.0
    for at, duration in enumerate(durations[order].tolist()):
        longest = max(longest, duration)
        if not starts or (at - starts[-1] + 1) * longest > batch_s:
            starts.append(at)
            longest = duration
    ends = [*starts[1:], len(order)]
    return [order[starts[i] : ends[i]].tolist() for i in rng.permutation(len(starts))]


@dataclass(frozen=True)
class Sampling:
    """From which corpus how much of the training audio is drawn.

    Args:
        corpus: int (clips,) the corpus of each clip, from 0.
        shares: float (corpora,) each one's share of the audio, 1 in sum.
    """

    corpus: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(
        cls,
        durations_s: Sequence[float] | np.ndarray,
        corpus: Sequence[int],
        weights: Sequence[float],
        temperature: float,
    ) -> "Sampling":
        """Return shares that are proportional to weight times hours to the power of 1 / temperature.

        Exponentiated smoothing, as in XLS-R (Babu et al. 2021, arXiv:2111.09296, section 3; its alpha is
        1 / temperature). A corpus without clips has no share.

        Args:
            durations_s: Length of each clip.
            corpus: The corpus of each.
            weights: Of each corpus.
            temperature: At least 1, which draws every clip equally often if the weights are equal.
        """
        hours = np.bincount(corpus, durations_s, len(weights)) / 3600
        wanted = np.where(hours > 0, np.asarray(weights) * hours ** (1 / temperature), 0.0)
        return cls(np.asarray(corpus), wanted / wanted.sum())

    def epochs(self, durations_s: Sequence[float] | np.ndarray, seed: int) -> Iterator[np.ndarray]:
        """Yield the clips of each epoch, int (clips,) in ascending order; none is twice in an epoch.

        An epoch is as long as the corpus that is drawn most often, relative to its length, lasts. Of the others it
        has a part, in random order without replacement: each clip is drawn once before any of them is drawn again.
        """
        durations = np.asarray(durations_s)
        drawn = [number for number, share in enumerate(self.shares) if share > 0]
        members = {number: np.flatnonzero(self.corpus == number) for number in drawn}
        rates = {number: self.shares[number] / durations[members[number]].sum() for number in drawn}
        fastest = max(rates.values())
        parts = [_without_replacement(members[n], rates[n] / fastest, seed, n) for n in drawn]
        while True:
            yield np.sort(np.concatenate([next(part) for part in parts]))


def _without_replacement(members: np.ndarray, fraction: float, seed: int, corpus: int) -> Iterator[np.ndarray]:
    """Yield fraction after fraction (at most 1) of the members, all of them in a new order before any comes again."""
    order, used = members[:0], 0
    passes = (np.random.default_rng([seed, corpus, number, 0, 0, 4]).permutation(members) for number in count())
    for epoch in count(1):
        needed = round(epoch * fraction * len(members)) - used
        used += needed
        taken = order[:needed]
        order = order[needed:]
        if len(taken) < needed:
            # What begins the next pass must not be in this epoch already.
            following = next(passes)
            is_taken = np.isin(following, taken)
            following = np.concatenate([following[~is_taken], following[is_taken]])
            missing = needed - len(taken)
            taken, order = np.concatenate([taken, following[:missing]]), following[missing:]
        yield taken


def plan(
    durations_s: Sequence[float] | np.ndarray,
    conf: ResolvedTrain,
    start: int,
    stop: int,
    sampling: Sampling | None = None,
) -> Iterator[list[list[int]]]:
    """Yield the batches of each step from `start` up to `stop`: a function of the arguments alone.

    Args:
        durations_s: Length of each clip.
        conf: Seed, batches, and how many make a step.
        start: The first step.
        stop: The step after the last.
        sampling: How corpora are mixed; None: an epoch has every clip once.
    """
    durations = np.asarray(durations_s)

    def all_batches() -> Iterator[list[int]]:
        epochs = repeat(np.arange(len(durations))) if sampling is None else sampling.epochs(durations, conf.seed)
        for epoch, clips in enumerate(epochs):
            rng = np.random.default_rng([conf.seed, epoch])
            for batch in batches_by_length(durations[clips], conf.batch_s, rng):
                yield clips[batch].tolist()

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
