"""The checks that exclude a clip from training, each at its limit, and the pipeline that decodes and checks."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_adapt.corpora import checks
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.recipe import Text
from asr_adapt.records import Exclusion, Utterance
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.text.normaliser import Normaliser

ALPHABET = Alphabet.from_texts(["ab"])
GRID = FrameGrid()


def loud(samples: int) -> np.ndarray:
    return np.full(samples, 0.5, np.float32)


def problem(
    waveform: np.ndarray, text: str, grid: FrameGrid = GRID, min_duration_s: float = 0.1, max_duration_s: float = 2.0
) -> tuple[str, str] | None:
    return checks.Trainability(ALPHABET, grid, min_duration_s, max_duration_s).problem(waveform, text)


def reason(waveform: np.ndarray, text: str, **limits: float) -> str | None:
    found = problem(waveform, text, **limits)
    return found[0] if found else None


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
    assert problem(loud(samples), text, **limits) is None
    assert problem(loud(samples - 1), text, **limits) == (
        "text_too_long",
        "the text needs 23 frames, the clip has 22",
    )


def test_fewer_frames_a_second_hold_less_text() -> None:
    sparse = FrameGrid((240, 3, 3), (160, 2, 2))
    limits = {"min_duration_s": 0.03, "max_duration_s": 9.0}
    assert problem(loud(16_000), "ab" * 15, **limits) is None
    assert problem(loud(16_000), "ab" * 15, sparse, **limits) == (
        "text_too_long",
        "the text needs 30 frames, the clip has 24",
    )


def test_less_than_one_frame_is_too_short_whatever_the_recipe_allows() -> None:
    assert reason(loud(399), "a", min_duration_s=0.001) == "too_short"
    assert reason(loud(400), "a", min_duration_s=0.001) is None


def test_unknown_letters_are_told_with_their_counts() -> None:
    assert problem(loud(16_000), "aɓ ɓc") == ("unknown_letter", "'ɓ' × 2, 'c' × 1")


def test_an_exclusion_says_which_clip_of_which_split() -> None:
    utterance = Utterance(id="u1", audio="clips/u1.wav", split="train")
    assert Exclusion.of(utterance, "silent", "peak 0") == Exclusion(
        id="u1", audio="clips/u1.wav", split="train", reason="silent", detail="peak 0"
    )


def test_decoding_reports_unreadable_audio_and_keeps_the_order(tmp_path: Path) -> None:
    utterances = [Utterance(id=str(n), audio=str(tmp_path / f"{n}.wav"), text="ab") for n in range(3)]
    soundfile.write(tmp_path / "0.wav", loud(16_000), 16_000)
    soundfile.write(tmp_path / "2.wav", loud(800), 16_000)
    limits = checks.Trainability(ALPHABET, GRID, 0.1, 2.0)

    def outcome(checked: checks.Checked) -> tuple[str, str | None, bool]:
        return checked.utterance.id, checked.problem and checked.problem[0], checked.waveform is None

    found = list(checks.decode_and_check(utterances, ["ab"] * 3, limits, tmp_path, 2, outcome))
    assert found == [("0", None, False), ("1", "unreadable_audio", True), ("2", "too_short", False)]
    unchecked = list(checks.decode_and_check(utterances, ["ab"] * 3, None, tmp_path, 2, outcome))
    assert [reason for _, reason, _ in unchecked] == [None, "unreadable_audio", None]


def test_utterances_that_nobody_understood_are_excluded_and_counted_by_reason() -> None:
    normalise = Normaliser(Text(unclear=("xxx", "[unclear]")), "und")
    utterances = [
        Utterance(id=f"u{n}", audio="a.wav", text=text) for n, text in enumerate(["a", "b XXX", "[unclear]"])
    ]
    kept, excluded = checks.understood(utterances, normalise)
    assert [u.id for u in kept] == ["u0"]
    assert [(e.id, e.reason, e.detail) for e in excluded] == [
        ("u1", "unclear", "the transcript has 'XXX'"),
        ("u2", "unclear", "the transcript has '[unclear]'"),
    ]
