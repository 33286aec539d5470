"""False alarms of `compare`, its power, and the coverage of its interval, by simulation.

    python benchmarks/comparison.py

Two systems are simulated on utterances of 1 to 15 words whose error rates vary by utterance (and, in some rows, by
speaker). Where both have the same error rates (difference 0), 5 % of the differences should be significant; in the
other rows the share that is significant is the power. Everywhere 95 % of the intervals should cover the difference.
"""

import argparse
import itertools

import numpy as np

from asr_adapt.scoring.comparison import block_labels, mapsswe, paired_difference

_SETS = ((20, 1, 0.0), (100, 1, 0.0), (250, 3, 0.0), (1000, 10, 0.0), (500, 25, 0.1), (1000, 60, 0.1))
"""utterances, speakers, standard deviation of the speakers' error rates"""


def simulated(
    rng: np.random.Generator, utterances: int, speakers: int, gain: float, spread: float
) -> tuple[list[list[int]], list[list[int]], list[int], list[int]]:
    """Return the errors at each word and at the end, of two systems; the reference lengths and the speakers."""
    lengths = rng.integers(1, 16, utterances)
    who = rng.integers(speakers, size=utterances)
    hard = np.clip(rng.normal(0.3, 0.15, utterances) + rng.normal(0, spread, speakers)[who], 0.02, 0.9)
    # Each system finds other speakers hard, which is what makes utterances of a speaker dependent.
    own = [rng.normal(0, spread / 2, speakers)[who] for _ in range(2)]
    rates = [np.clip(hard + effect - better, 0.01, 0.95) for effect, better in zip(own, (gain, 0.0), strict=True)]
    systems = [
        [(rng.random(n + 1) < p).astype(int).tolist() for n, p in zip(lengths, of, strict=True)] for of in rates
    ]
    return systems[0], systems[1], lengths.tolist(), who.tolist()


def true_difference(speakers: int, gain: float, spread: float) -> float:
    """Return the difference of the error rates on a test set without end: 400,000 utterances, of as many speakers."""
    rng = np.random.default_rng(0)
    of_each = 400_000 if spread else speakers
    ours, theirs, lengths, _ = simulated(rng, 400_000, of_each, gain, spread)
    return (sum(map(sum, ours)) - sum(map(sum, theirs))) / sum(lengths)


def _places(errors: list[int]) -> list[int]:
    """Return what `mapsswe` takes: nothing is inserted but at the end."""
    return [count for word in errors[:-1] for count in (0, word)] + errors[-1:]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--draws", type=int, default=2_000)
    arguments = parser.parse_args()
    print(f"{'utterances':>10} {'speakers':>8} {'speaker effect':>14} {'drawn':>10} {'difference':>10} "
          f"{'significant':>11} {'coverage':>8} {'MAPSSWE significant':>19}")  # fmt: skip
    for gain, (utterances, speakers, spread) in itertools.product((0.0, 0.03), _SETS):
        rng = np.random.default_rng([utterances, speakers, round(1000 * gain)])
        truth = true_difference(speakers, gain, spread) if gain else 0.0
        significant = covered = matched = 0
        kind = ""
        for trial in range(arguments.trials):
            ours, theirs, lengths, who = simulated(rng, utterances, speakers, gain, spread)
            kind, blocks = block_labels(who, list(range(utterances)))
            found = paired_difference(
                [sum(e) for e in ours], [sum(e) for e in theirs], lengths, blocks, draws=arguments.draws, seed=trial
            )
            significant += found.is_significant
            covered += found.low <= truth <= found.high
            matched += mapsswe([*map(_places, ours)], [*map(_places, theirs)]).p < 0.05
        print(f"{utterances:>10} {speakers:>8} {spread:>14} {kind:>10} {truth:>10.4f} "
              f"{significant / arguments.trials:>11.1%} {covered / arguments.trials:>8.1%} "
              f"{matched / arguments.trials:>19.1%}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
