import numpy as np
import pytest

from asr_adapt.corpora import checks
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.records import Exclusion, Utterance
from asr_adapt.text.alphabet import Alphabet

ALPHABET = Alphabet.from_texts(["ab"])
GRID = FrameGrid()


def loud(samples: int) -> np.ndarray:
    return np.full(samples, 0.5, np.float32)


def reason(waveform: np.ndarray, text: str, **limits: float) -> str | None:
    within = {"min_duration_s": 0.1, "max_duration_s": 2.0} | limits
    problem = checks.untrainable(waveform, text, ALPHABET, GRID, **within)
    return problem[0] if problem else None


@pytest.mark.parametrize(
    ("waveform", "text", "expected"),
    [
        (loud(16_000), "ab ba", None),
        (loud(16_000), "", "empty_text"),
        (loud(0), "a", "too_short"),
        (loud(1_599), "a", "too_short"),
        (loud(1_600), "a", None),
        (loud(32_000), "a", None),
        (loud(32_001), "a", "too_long"),
        (loud(16_000) * 0, "a", "silent"),
        (loud(16_000) * 1e-3, "a", "silent"),
        (loud(16_000) * -1e-2, "a", None),
        (loud(16_000), "aɓ", "unknown_letter"),
        (loud(16_000), "a\u0301", "unknown_letter"),
        (loud(16_000), "ab" * 25, "text_too_long"),
    ],
)
def test_a_clip_is_left_out_for_its_reason_and_a_good_one_stays(
    waveform: np.ndarray, text: str, expected: str | None
) -> None:
    assert reason(waveform, text) == expected


def test_a_transcript_fits_as_long_as_each_label_has_a_frame() -> None:
    text = "ab" * 10 + "aa"  # 22 labels, one blank between the last two
    limits = {"min_duration_s": 0.03, "max_duration_s": 9.0}
    samples = next(n for n in range(400, 9000) if GRID.num_frames(n) == 23)
    assert checks.untrainable(loud(samples), text, ALPHABET, GRID, **limits) is None
    assert checks.untrainable(loud(samples - 1), text, ALPHABET, GRID, **limits) == (
        "text_too_long",
        "the text needs 23 frames, the clip has 22",
    )


def test_fewer_frames_a_second_hold_less_text() -> None:
    sparse = FrameGrid((240, 3, 3), (160, 2, 2))
    limits = {"min_duration_s": 0.03, "max_duration_s": 9.0}
    assert checks.untrainable(loud(16_000), "ab" * 15, ALPHABET, GRID, **limits) is None
    problem = checks.untrainable(loud(16_000), "ab" * 15, ALPHABET, sparse, **limits)
    assert problem == ("text_too_long", "the text needs 30 frames, the clip has 24")


def test_less_than_one_frame_is_too_short_whatever_the_recipe_allows() -> None:
    assert reason(loud(399), "a", min_duration_s=0.001) == "too_short"
    assert reason(loud(400), "a", min_duration_s=0.001) is None


def test_unknown_letters_are_told_with_their_counts() -> None:
    found = checks.untrainable(loud(16_000), "aɓ ɓc", ALPHABET, GRID, min_duration_s=0.1, max_duration_s=2.0)
    assert found == ("unknown_letter", "'ɓ' × 2, 'c' × 1")


def test_an_exclusion_says_which_clip_of_which_split() -> None:
    utterance = Utterance(id="u1", audio="clips/u1.wav", split="train")
    assert Exclusion.of(utterance, "silent", "peak 0") == Exclusion("u1", "clips/u1.wav", "train", "silent", "peak 0")
