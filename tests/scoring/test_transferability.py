"""Scores of features: more evidence where letters are apart, small distances of alike speech, at any scale."""

from itertools import pairwise

import numpy as np
import pytest

from asr_adapt.scoring import transferability
from asr_adapt.scoring.transferability import logme


def clusters(apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return 600 frames of six letters in 16 dimensions, the letters so far apart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(6, size=600)
    return apart * np.eye(6, 16)[labels] + rng.standard_normal((600, 16)), labels


def test_features_that_tell_letters_apart_have_more_evidence() -> None:
    far, near, none = (logme(*clusters(apart)) for apart in (5.0, 2.0, 0.0))
    assert far > near > none


def test_evidence_does_not_depend_on_the_scale_of_the_features() -> None:
    features, labels = clusters(2.0)
    assert logme(features * 100 + 7, labels) == pytest.approx(logme(features, labels), abs=1e-4)


def test_more_dimensions_than_frames_have_finite_evidence() -> None:
    rng = np.random.default_rng(0)
    assert np.isfinite(logme(rng.standard_normal((30, 64)).astype(np.float16), rng.integers(3, size=30)))


def test_frames_of_the_same_speech_are_near_and_those_of_other_speech_far_whatever_the_scale() -> None:
    rng = np.random.default_rng(0)
    reference, same, other = (rng.normal(shift, 1.0, (3_000, 8)) for shift in (0.0, 0.0, 2.0))
    near, far = (transferability.sliced_wasserstein(x, reference) for x in (same, other))
    assert near < 0.05 and far > 10 * near
    assert transferability.sliced_wasserstein(100 * other, 100 * reference) == pytest.approx(far)
    assert transferability.sliced_wasserstein(reference, reference) == 0


def spoken(habit: np.ndarray, seed: int, clips: int = 60) -> list[np.ndarray]:
    """Return clips of a language whose sounds follow one another by habit; each sound is some frames long."""
    rng = np.random.default_rng(seed)
    sounds = 6 * np.eye(len(habit), 12)
    found = []
    for _ in range(clips):
        sound, frames = 0, []
        for _ in range(40):
            sound = int(rng.choice(len(habit), p=habit[sound]))
            frames += [sounds[sound] + 0.1 * rng.standard_normal(12) for _ in range(rng.integers(1, 4))]
        found.append(np.array(frames))
    return found


def test_languages_whose_sounds_follow_one_another_alike_have_similar_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transferability, "_CLUSTERS", 8)
    one, other = (np.random.default_rng(seed).dirichlet(np.full(8, 0.2), 8) for seed in (1, 2))
    target = spoken(one, 0)
    alike, unlike = (
        transferability.token_similarity(*transferability.acoustic_tokens(target, spoken(habit, 1)))
        for habit in (one, other)
    )
    assert alike > 0.7 and unlike < alike - 0.2
    tokens, _ = transferability.acoustic_tokens(target, target)
    assert all(a != b for clip in tokens for a, b in pairwise(clip)), "repetitions are merged"
    assert transferability.token_similarity(tokens, tokens) == pytest.approx(1)
