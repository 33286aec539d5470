"""False-alarm rate of `compare` and coverage of its interval, by simulation.

    python benchmarks/comparison.py

Two systems are simulated on utterances of 1 to 15 words whose error rates vary by utterance (and, in some rows, by
speaker); under the null hypothesis both systems have the same error rates. Expected: 5 % false alarms at the 5 %
level, and 95 % of intervals cover the true difference.
"""

import argparse

import numpy as np

from asr_adapt.scoring.comparison import block_labels, mapsswe, paired_difference


def simulated(
    rng: np.random.Generator, utterances: int, speakers: int, gain: float, spread: float
) -> tuple[list[list[int]], list[list[int]], list[int], list[int]]:
    """Return the errors at each word of two systems, the reference lengths and the speakers."""
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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--draws", type=int, default=2_000)
    arguments = parser.parse_args()
    print(f"{'utterances':>10} {'speakers':>8} {'speaker effect':>14} {'drawn':>10} {'false alarms':>12} "
          f"{'coverage':>8} {'MAPSSWE false alarms':>20}")  # fmt: skip
    for utterances, speakers, spread in (
        (100, 1, 0.0),
        (250, 3, 0.0),
        (1000, 10, 0.0),
        (500, 25, 0.1),
        (1000, 60, 0.1),
    ):
        rng = np.random.default_rng([utterances, speakers])
        alarms = covered = matched = 0
        kind = ""
        for trial in range(arguments.trials):
            ours, theirs, lengths, who = simulated(rng, utterances, speakers, 0.0, spread)
            kind, blocks = block_labels(who, list(range(utterances)))
            found = paired_difference(
                [sum(e) for e in ours], [sum(e) for e in theirs], lengths, blocks, draws=arguments.draws, seed=trial
            )
            alarms += found.is_significant
            covered += found.low <= 0 <= found.high
            matched += mapsswe(ours, theirs).p < 0.05
        print(f"{utterances:>10} {speakers:>8} {spread:>14} {kind:>10} {alarms / arguments.trials:>12.1%} "
              f"{covered / arguments.trials:>8.1%} {matched / arguments.trials:>20.1%}")  # fmt: skip


if __name__ == "__main__":
    main()
