"""Voice activity: what is speech, at which level and in which noise, and where recordings and streams are split."""

import numpy as np
import pytest
from conftest import RATE_HZ
from noises import noises

from asr_adapt import audio, bundled, corpora
from asr_adapt.audio import vad

MARGIN = int(0.3 * RATE_HZ)


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    return [audio.load(u.audio) for u in corpora.read(bundled.folder("demo"), "mi")[:15]]


def blocks(recording: np.ndarray, size: int) -> list[np.ndarray]:
    return [recording[i : i + size] for i in range(0, len(recording), size)]


def test_speech_is_told_from_silence_and_noise(clips: list[np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    assert (vad.VoiceActivity().probabilities(np.concatenate(clips)) > 0.5).mean() > 0.5
    for level in (0.0, 0.001, 0.05):
        noise = (level * rng.standard_normal(5 * RATE_HZ)).astype(np.float32)
        assert vad.VoiceActivity().probabilities(noise).max() < 0.3


@pytest.mark.parametrize("size", [100, 512, 7777, 160_000])
def test_blocks_of_any_size_give_the_same_probabilities(clips: list[np.ndarray], size: int) -> None:
    recording = np.concatenate(clips[:2])
    whole = vad.VoiceActivity().probabilities(recording)
    assert len(whole) == len(recording) // vad.WINDOW
    voice = vad.VoiceActivity()
    parts = np.concatenate([voice.probabilities(block) for block in blocks(recording, size)])
    np.testing.assert_allclose(parts, whole, atol=1e-5)


@pytest.mark.parametrize("gain_db", [-30, -60])
def test_speech_is_heard_at_any_level(clips: list[np.ndarray], gain_db: float) -> None:
    for clip in clips:
        as_it_is, quiet = (
            vad.VoiceActivity().probabilities(level * clip) for level in (1, np.float32(10 ** (gain_db / 20)))
        )
        assert np.mean((as_it_is > vad.SPEECH_THRESHOLD) == (quiet > vad.SPEECH_THRESHOLD)) > 0.9


def test_a_clip_of_one_sentence_is_one_segment_as_it_is(clips: list[np.ndarray]) -> None:
    for clip in clips:
        ((first, segment),) = vad.segments(blocks(clip, 30_000))
        assert first == 0
        np.testing.assert_array_equal(segment, clip)


def test_a_faint_recording_is_amplified(clips: list[np.ndarray]) -> None:
    clip = clips[0]
    ((_, segment),) = vad.segments([clip * np.float32(1e-3)])
    assert np.sqrt(np.mean(np.square(segment))) == pytest.approx(0.01, rel=1e-3)
    assert np.corrcoef(segment, clip)[0, 1] > 0.999


@pytest.mark.parametrize("seconds", [2, 9, 29])
@pytest.mark.parametrize("name", ["room", "loud room", "hum", "chords", "clicks", "wind", "hiss"])
def test_what_is_not_speech_has_no_segment(name: str, seconds: int) -> None:
    noise = noises(seconds, seed=seconds)[name]
    assert list(vad.segments([noise])) == []
    live = vad.Segmenter(is_live=True)
    assert [s for block in blocks(noise, 1600) for s in live.feed(block)] + live.flush() == []


def test_digital_silence_has_no_segment() -> None:
    assert list(vad.segments([np.zeros(29 * RATE_HZ, np.float32)])) == []


@pytest.mark.parametrize("rest_s", [0, 0.2, 0.5, 1.5, 5])
def test_what_is_left_after_the_last_pause_is_not_a_segment(clips: list[np.ndarray], rest_s: float) -> None:
    pause = np.zeros(RATE_HZ // 2, np.float32)
    spoken = [part for clip in clips for part in (clip, pause)]
    recording = np.concatenate([*spoken, np.zeros(int(rest_s * RATE_HZ), np.float32)])
    assert len(recording) > 30 * RATE_HZ
    for _, segment in vad.segments(blocks(recording, 480_000)):
        assert np.abs(segment).max() > 0.02


def test_a_whispered_end_and_a_breathy_start_belong_to_the_speech(clips: list[np.ndarray]) -> None:
    rng = np.random.default_rng(3)
    fade = int(0.4 * RATE_HZ)
    for clip in clips:
        speech = np.flatnonzero(np.abs(clip) > 0.02)
        first, end = speech[0], speech[-1]
        breathy = clip + 0.0005 * rng.standard_normal(len(clip)).astype(np.float32)
        breathy[first : first + fade] *= np.linspace(0.05, 1, fade, dtype=np.float32)
        breathy[end - fade : end] *= np.linspace(1, 0.05, fade, dtype=np.float32)
        silence = 0.0005 * rng.standard_normal(2 * RATE_HZ).astype(np.float32)
        found = list(vad.segments([np.concatenate([silence, breathy, silence])]))
        assert found[0][0] - len(silence) <= first + 0.05 * RATE_HZ
        assert found[-1][0] + len(found[-1][1]) - len(silence) >= end - 0.05 * RATE_HZ


def test_blocks_of_any_size_give_the_same_segments(clips: list[np.ndarray]) -> None:
    rng = np.random.default_rng(2)
    pauses = [np.zeros(int(rng.uniform(0.2, 1.5) * RATE_HZ), np.float32) for _ in clips]
    recording = np.concatenate([part for pair in zip(pauses, clips, strict=True) for part in pair])
    expected = list(vad.segments([recording]))
    for size in (500, 16_000, 100_001):
        found = list(vad.segments(blocks(recording, size)))
        assert [(first, len(segment)) for first, segment in found] == [(f, len(segment)) for f, segment in expected]
    live = vad.Segmenter(is_live=True)
    for first, segment in [s for block in blocks(recording, 1600) for s in live.feed(block)] + live.flush():
        assert any(first >= f - 1 and first < f + len(whole) for f, whole in expected), (
            "live audio is cut as recordings are"
        )
        np.testing.assert_array_equal(segment, recording[first : first + len(segment)])


@pytest.mark.parametrize("size", [16_000, 480_000, 10_000_000])
def test_segments_are_the_recording_s_own_samples_and_all_that_is_spoken(clips: list[np.ndarray], size: int) -> None:
    rng = np.random.default_rng(1)
    pauses = [np.zeros(int(rng.uniform(0.2, 3) * RATE_HZ), np.float32) for _ in clips]
    recording = np.concatenate([part for pair in zip(clips, pauses, strict=True) for part in pair])
    end = 0
    left_out = np.ones(len(recording), bool)
    for first, segment in vad.segments(blocks(recording, size)):
        assert first >= end, "no sample is in two segments"
        end = first + len(segment)
        assert len(segment) <= 30 * RATE_HZ
        np.testing.assert_array_equal(segment, recording[first:end])
        left_out[first:end] = False
    energy = np.square(recording, dtype=np.float64)
    assert energy[left_out].sum() < 1e-3 * energy.sum()
    assert left_out.mean() > 0.1


def test_speech_that_goes_on_is_cut_where_it_is_quietest(clips: list[np.ndarray]) -> None:
    speech = np.concatenate([clip[np.abs(clip) > 0.005] for clip in clips * 4])[: 50 * RATE_HZ]
    quiet = 25 * RATE_HZ
    speech[quiet : quiet + RATE_HZ // 4] *= 0.01
    segments = list(vad.segments([speech]))
    assert any(abs(first - quiet - RATE_HZ // 8) < RATE_HZ // 8 for first, _ in segments)
    assert sum(len(segment) for _, segment in segments) > 0.95 * len(speech)


def test_a_long_silence_has_no_segment() -> None:
    assert list(vad.segments(blocks(np.zeros(100 * RATE_HZ, np.float32), 480_000))) == []
