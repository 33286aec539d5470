import numpy as np
import pytest

from asr_adapt import augment


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("frames", range(1, 12))
def test_the_shortest_clips_are_never_wholly_hidden(frames: int, share: float) -> None:
    rng = np.random.default_rng(0)
    hidden = [augment.time_mask([frames], share, 10, rng).mean() for _ in range(400)]
    assert max(hidden) < 1
    assert np.mean(hidden) <= share * 1.1


@pytest.mark.parametrize("frames", [4, 9, 40, 200])
@pytest.mark.parametrize("span", [1, 10, 500])
def test_a_span_holds_a_frame_at_least_and_a_quarter_of_the_clip_at_most(frames: int, span: int) -> None:
    width = max(1, min(span, frames // 4))
    masks = [augment.time_mask([frames], 0.9 * width / frames, span, np.random.default_rng(i)) for i in range(100)]
    assert {int(mask.sum()) for mask in masks} == {0, width}, "one span or none, each whole"


def test_the_hidden_share_is_at_most_what_was_asked_for_on_average_and_padding_is_not_hidden() -> None:
    rng = np.random.default_rng(0)
    masks = [augment.time_mask([200, 100], 0.4, 10, rng) for _ in range(300)]
    share = np.mean([mask[0].mean() for mask in masks])
    assert 0.28 < share <= 0.4
    assert not any(mask[1, 100:].any() for mask in masks)


def test_the_same_seed_hides_the_same() -> None:
    first, second = (augment.time_mask([90, 40], 0.3, 10, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_nothing_is_hidden_where_nothing_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    assert not augment.time_mask([100], 0.0, 10, rng).any() and not augment.feature_mask(3, 64, 0.0, rng).any()


def test_features_are_hidden_for_the_whole_clip_in_the_share_asked_for() -> None:
    assert augment.feature_mask(200, 256, 0.1, np.random.default_rng(0)).mean() == pytest.approx(0.1, abs=0.01)


def test_faster_is_shorter_and_higher_and_slower_the_reverse() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    for factor in (0.9, 1.0, 1.1):
        played = augment.speed(tone, factor)
        assert played.dtype == np.float32 and len(played) == pytest.approx(16_000 / factor, abs=2)
        peak_hz = np.abs(np.fft.rfft(played)).argmax() * 16_000 / len(played)
        assert peak_hz == pytest.approx(1000 * factor, abs=2)
