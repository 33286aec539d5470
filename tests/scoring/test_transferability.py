"""LogME: features that tell letters apart have more evidence, whatever their scale."""

import numpy as np
import pytest

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
