import numpy as np
import pytest
from conftest import RATE_HZ

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


@pytest.mark.parametrize("seconds", [0.01, 1, 30])
def test_up_to_the_limit_a_recording_is_one_piece_as_it_is(seconds: float) -> None:
    recording = np.zeros(int(seconds * RATE_HZ), np.float32)
    ((first, piece),) = vad.pieces(blocks(recording, 100_000))
    assert first == 0 and len(piece) == len(recording)


@pytest.mark.parametrize("size", [16_000, 480_000, 10_000_000])
def test_pieces_are_the_recording_s_own_samples_and_all_that_is_spoken(clips: list[np.ndarray], size: int) -> None:
    rng = np.random.default_rng(1)
    pauses = [np.zeros(int(rng.uniform(0.2, 3) * RATE_HZ), np.float32) for _ in clips]
    recording = np.concatenate([part for pair in zip(clips, pauses, strict=True) for part in pair])
    end = 0
    left_out = np.ones(len(recording), bool)
    for first, piece in vad.pieces(blocks(recording, size)):
        assert first >= end, "no sample is in two pieces"
        end = first + len(piece)
        assert len(piece) <= 30 * RATE_HZ
        np.testing.assert_array_equal(piece, recording[first:end])
        left_out[first:end] = False
    energy = np.square(recording, dtype=np.float64)
    assert energy[left_out].sum() < 1e-3 * energy.sum()
    assert left_out.mean() > 0.1


def test_speech_that_goes_on_is_cut_where_it_is_quietest(clips: list[np.ndarray]) -> None:
    speech = np.concatenate([clip[np.abs(clip) > 0.005] for clip in clips * 4])[: 50 * RATE_HZ]
    quiet = 25 * RATE_HZ
    speech[quiet : quiet + RATE_HZ // 4] *= 0.01
    pieces = list(vad.pieces([speech]))
    assert any(abs(first - quiet - RATE_HZ // 8) < RATE_HZ // 8 for first, _ in pieces)
    assert sum(len(piece) for _, piece in pieces) == len(speech)


def test_a_long_silence_has_no_piece() -> None:
    assert list(vad.pieces(blocks(np.zeros(100 * RATE_HZ, np.float32), 480_000))) == []
