"""The probe: it learns what features hold, needs context where the features spread it, and repeats itself."""

import numpy as np
import pytest

from asr_adapt.training import probe

LABELS = 4


def clips(count: int, seed: int, spread: bool = False) -> tuple[list[np.ndarray], list[list[int]]]:
    """Return clips whose labels are three frames each; `spread`: a frame holds what the one before it is."""
    rng = np.random.default_rng(seed)
    features, written = [], []
    for _ in range(count):
        ids = rng.integers(1, LABELS, size=rng.integers(3, 8)).tolist()
        frames = np.concatenate([np.eye(LABELS)[[i, i, 0]] for i in ids])
        frames = np.roll(frames, 5, axis=0) if spread else frames
        features.append((frames + 0.05 * rng.standard_normal(frames.shape)).astype(np.float16))
        written.append(ids)
    return features, written


@pytest.mark.parametrize("spread", [False, True])
def test_a_probe_writes_what_the_features_hold(spread: bool) -> None:
    trained = probe.train(*clips(60, 0, spread), LABELS, 0.02, steps=120, batch_s=5, width=32)
    features, written = clips(20, 1, spread)
    found = trained.labels(features)
    right = np.mean([ours == theirs for ours, theirs in zip(found, written, strict=True)])
    assert right > (0.9 if not spread else 0.3)
    assert trained.log_probs(features[0]).shape == (len(features[0]), LABELS)


def test_the_same_seed_trains_the_same_probe() -> None:
    features, written = clips(20, 0)
    one, other = (probe.train(features, written, LABELS, 0.02, steps=5, seed=3) for _ in range(2))
    assert np.array_equal(one.log_probs(features[0]), other.log_probs(features[0]))


def test_clips_that_are_too_short_for_their_labels_are_left_out_and_some_must_be_left() -> None:
    features, written = clips(5, 0)
    short = ([*features, features[0][:1]], [*written, [1, 1, 1]])
    one = probe.train(*short, LABELS, 0.02, steps=3)
    other = probe.train(features, written, LABELS, 0.02, steps=3)
    assert np.array_equal(one.mean, other.mean)
    with pytest.raises(ValueError, match="no clip has frames"):
        probe.train([features[0][:1]], [[1, 1, 1]], LABELS, 0.02, steps=3)
