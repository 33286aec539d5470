"""Augmentation: speed, noise, rooms, levels, codecs and SpecAugment masks, as their parameters say."""

import os
from pathlib import Path

import numpy as np
import pytest

from asr_adapt.audio import augment, media
from asr_adapt.errors import InputError


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


def hum(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(16_000 * seconds)) / 16_000)).astype(np.float32)


def level_db(waveform: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(waveform**2)))


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_noise_stands_as_far_below_the_speech_as_was_asked_for(snr_db: float) -> None:
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    noisy = augment.add_noise(hum(440), noise, snr_db)
    assert noisy.dtype == np.float32
    assert level_db(hum(440)) - level_db(noisy - hum(440)) == pytest.approx(snr_db, abs=0.01)


def test_noise_that_is_silent_adds_nothing() -> None:
    np.testing.assert_array_equal(augment.add_noise(hum(440), np.zeros(16_000, np.float32), 0), hum(440))


def test_a_piece_of_short_noise_goes_round() -> None:
    found = augment.random_segment(np.arange(5.0), 12, np.random.default_rng(0))
    assert len(found) == 12 and set(np.diff(found) % 5) == {1}


def test_a_room_prolongs_sounds_and_keeps_length_level_and_onset() -> None:
    burst = np.concatenate([np.zeros(1600), hum(1000, 0.1), np.zeros(16_000)]).astype(np.float32)
    for seed in range(5):
        heard = augment.in_room(burst, augment.room_response(np.random.default_rng(seed)))
        assert len(heard) == len(burst) and heard.dtype == np.float32
        assert level_db(heard) == pytest.approx(level_db(burst), abs=0.01)
        assert np.abs(heard[:1590]).max() < 1e-6 < 1e-4 < np.abs(heard[3300:4000]).max()


def test_a_room_from_a_file_starts_at_its_direct_sound() -> None:
    response = np.zeros(400, np.float32)
    response[[90, 390]] = 0.5, 0.1
    heard = augment.in_room(hum(440), response)
    assert np.corrcoef(heard, hum(440))[0, 1] > 0.9, "90 samples later it would be -.98"


def test_what_is_too_loud_is_clipped() -> None:
    assert np.abs(augment.at_level(hum(440), 20)).max() == 1
    assert level_db(augment.at_level(hum(440), -20)) == pytest.approx(level_db(hum(440)) - 20, abs=0.01)


@pytest.mark.parametrize("codec", augment.CODECS)
def test_a_codec_keeps_length_and_time_and_speech_is_still_there(codec: str) -> None:
    rng = np.random.default_rng(0)
    for samples in (500, 16_001, 48_000):
        sound = np.convolve(rng.standard_normal(samples), np.hanning(40), "same").astype(np.float32)
        sound *= 0.3 / np.abs(sound).max()
        heard = augment.coded(sound, codec)
        assert len(heard) == samples and heard.dtype == np.float32 and not np.array_equal(heard, sound)
        if samples > 1000:
            lags = np.correlate(heard[1000:9000], sound[1000 + 200 : 9000 - 200], "valid")
            assert abs(int(lags.argmax()) - 200) <= 8, "half a millisecond"
    assert np.array_equal(augment.coded(sound, codec), augment.coded(sound, codec))


def test_nothing_is_left_above_4_khz_on_the_telephone() -> None:
    assert level_db(augment.coded(hum(6000), "mu-law")[800:-800]) < level_db(hum(6000)) - 25


def test_what_macos_puts_beside_a_recording_of_noise_is_none(tmp_path: Path) -> None:
    for name in ("rain.wav", "._rain.wav"):
        (tmp_path / name).write_bytes(b"-")
    assert augment.recordings(tmp_path, "augment.noise") == [tmp_path / "rain.wav"]


def test_noise_may_be_in_any_format_that_is_read(tmp_path: Path) -> None:
    for suffix in media.SUFFIXES:
        (tmp_path / f"rain{suffix}").touch()
    (tmp_path / "README.md").touch()
    os.mkfifo(tmp_path / "pipe.wav")
    found = augment.recordings(tmp_path, "augment.noise")
    assert sorted(path.name for path in found) == sorted(f"rain{suffix}" for suffix in media.SUFFIXES)


def test_a_folder_without_recordings_is_refused_by_the_fields_name(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("no noise yet")
    with pytest.raises(InputError, match=r"augment\.noise: no recording in"):
        augment.recordings(tmp_path, "augment.noise")
