"""CTC: frames needed, greedy decoding and forced alignment on hand-built log-probs."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from asr_adapt.artifacts import NGramWeights
from asr_adapt.decoding import ctc, ngram
from asr_adapt.decoding.beam_search import BeamSearch, Spelling
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import AudioTooShort, TooFewFrames
from asr_adapt.text.alphabet import Alphabet


def test_a_second_gives_49_frames_and_400_samples_one() -> None:
    grid = FrameGrid()
    assert grid.num_frames(16_000) == 49
    assert grid.num_frames(400) == 1 == grid.num_frames(719)
    assert grid.num_frames(720) == 2
    assert grid.stride == 320


def test_the_share_of_a_frame_lies_in_the_middle_of_what_it_sees() -> None:
    assert FrameGrid().times_s(2).tolist() == [40 / 16_000, 360 / 16_000]  # 400 samples seen, a share of 320
    grid = FrameGrid((1200,), (640,))
    assert grid.times_s(3) == pytest.approx([0.0175, 0.0575, 0.0975])


def test_less_than_the_receptive_field_is_too_short() -> None:
    assert FrameGrid().receptive_field == 400
    with pytest.raises(AudioTooShort, match="399 samples"):
        FrameGrid().num_frames(399)


@pytest.mark.parametrize("grid", [FrameGrid(), FrameGrid((240, 3, 3), (160, 2, 2)), FrameGrid((3,), (5,))])
def test_frames_are_those_of_the_convolutions(grid: FrameGrid) -> None:
    layers = [torch.nn.Conv1d(1, 1, k, s) for k, s in zip(grid.kernels, grid.strides, strict=True)]
    for samples in range(grid.receptive_field, grid.receptive_field + 3000, 37):
        x = torch.zeros(1, 1, samples)
        for layer in layers:
            x = layer(x)
        assert grid.num_frames(samples) == x.shape[-1]


def test_adjacent_repeats_need_a_blank_between_them() -> None:
    assert ctc.frames_needed([1, 1, 2]) == 4
    assert ctc.frames_needed([1, 2, 1]) == 3
    assert ctc.frames_needed([]) == 0


def test_an_infinite_loss_is_what_too_few_frames_give() -> None:
    labels = torch.tensor([[1, 1, 2]])
    for frames, finite in ((3, False), (4, True)):
        scores = torch.zeros(frames, 1, 3).log_softmax(-1)
        loss = torch.nn.functional.ctc_loss(scores, labels, torch.tensor([frames]), torch.tensor([3]))
        assert bool(torch.isfinite(loss)) is finite is (frames >= ctc.frames_needed([1, 1, 2]))


def scores(best: list[int], vocab: int = 3) -> np.ndarray:
    probabilities = np.full((len(best), vocab), 0.1)
    probabilities[np.arange(len(best)), best] = 0.8
    return np.log(probabilities).astype(np.float32)


def test_greedy_decoding_of_a_a_blank_a_b_gives_aab_with_its_frames() -> None:
    runs = ctc.greedy(scores([1, 1, 0, 1, 2]))
    assert [(run.label, run.start, run.end) for run in runs] == [(1, 0, 2), (1, 3, 4), (2, 4, 5)]
    assert [run.confidence for run in runs] == pytest.approx([0.8] * 3)


def test_blanks_alone_and_no_frames_decode_to_nothing() -> None:
    assert ctc.greedy(scores([0, 0])) == []
    assert ctc.greedy(np.zeros((0, 3), np.float32)) == []


def frames(text: str, units: str, sure: float = 0.9) -> np.ndarray:
    """Return log-probs, float32 (frames, vocab), that give each frame's letter `sure`, the others the rest."""
    probabilities = np.full((len(text), len(units)), (1 - sure) / (len(units) - 1), np.float32)
    for row, letter in zip(probabilities, text, strict=True):
        row[units.index(letter)] = sure
    return np.log(probabilities)


def test_alignment_of_the_greedy_text_is_the_greedy_path() -> None:
    scores = frames("∅∅aa∅a∅bb∅", "∅|ab")
    runs = ctc.greedy(scores)
    assert [(run.label, run.start, run.end) for run in runs] == [(2, 2, 4), (2, 5, 6), (3, 7, 9)]
    for ours, aligned in zip(runs, ctc.align(scores, [2, 2, 3]), strict=True):
        assert (ours.label, ours.start, ours.end) == (aligned.label, aligned.start, aligned.end)
        assert ours.confidence == pytest.approx(aligned.confidence, abs=1e-6)


def test_alignment_finds_the_likeliest_of_all_paths() -> None:
    rng = np.random.default_rng(0)
    scores = np.log(rng.dirichlet(np.ones(3), size=6)).astype(np.float32)
    labels = [1, 1, 2]
    best = max(
        (path for path in itertools.product(range(3), repeat=6)
         if [label for label, _ in itertools.groupby(path) if label] == labels),
        key=lambda path: sum(scores[t, label] for t, label in enumerate(path)),
    )  # fmt: skip
    written = np.zeros(6, int)
    for run in ctc.align(scores, labels):
        written[run.start : run.end] = run.label
    assert tuple(written) == best


def test_alignment_of_nothing_is_nothing_and_of_too_much_is_refused() -> None:
    assert ctc.align(frames("∅a", "∅|a"), []) == []
    with pytest.raises(TooFewFrames, match="2 frames cannot write 2 labels, which need 3"):
        ctc.align(frames("aa", "∅|a"), [2, 2])


LETTERS = Alphabet(("<pad>", "|", *"abcdefghijklmnopqrstuvwxyz"))
COLUMNS = "∅|abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def bunny_arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    path.write_text("\n".join(ngram.estimate(["bugs bunny"] * 3 + ["a bunny"], 2).arpa()) + "\n", encoding="utf-8")
    return path


def test_the_n_gram_flips_what_sounds_alike(bunny_arpa: Path) -> None:
    """The frames say "bunny bunny", a little louder than "bugs bunny"."""
    scores = frames("bu∅n∅ny∅|∅bu∅n∅ny∅", COLUMNS, 0.9)
    for frame, letter in ((3, "g"), (5, "s")):
        scores[frame, COLUMNS.index(letter)] = np.log(0.3)
    for frame in (5, 6):
        scores[frame, 0] = np.log(0.3)
    without = BeamSearch(LETTERS, bunny_arpa, NGramWeights(alpha=0, beta=0, unknown=0))
    with_it = BeamSearch(LETTERS, bunny_arpa, NGramWeights(alpha=2.0, beta=0, unknown=-10))
    assert without.text(scores) == "bunny bunny"
    assert with_it.text(scores) == "bugs bunny"


def test_an_unknown_word_is_chosen_by_its_letters(tmp_path: Path) -> None:
    """`ban`, and a little louder `bgn`: the n-gram knows neither, but words like the former."""
    path = tmp_path / "lm.arpa"
    path.write_text("\n".join(ngram.estimate(["can fan man", "tan van bat bad"], 2).arpa()) + "\n")
    scores = frames("b∅g∅n∅", COLUMNS, 0.5)
    scores[2, COLUMNS.index("a")] = np.log(0.4)
    alike = NGramWeights(unknown=0)
    by_letters = alike.model_copy(update={"letters": 0.5})
    assert BeamSearch(LETTERS, path, alike).text(scores) == "bgn"
    assert BeamSearch(LETTERS, path, by_letters).text(scores) == "ban"
    assert [run.label for run in BeamSearch(LETTERS, path, by_letters).runs(scores)] == LETTERS.encode("ban")
    assert BeamSearch(LETTERS, path, by_letters).text(scores[:0]) == ""


def test_spelling_scores_unknown_words_alone() -> None:
    spelling = Spelling(["can", "fan", "man"])
    weights = NGramWeights(letters=0.5, letter_bonus=2.0)
    assert spelling.unknown("can ban fan") == ["ban"]
    assert spelling.score("can fan", weights) == 0.0
    letters = ngram.estimate(["c a n", "f a n", "m a n"], 6).sentence_log10("b a n") * np.log(10)
    assert spelling.score("can ban", weights) == pytest.approx(0.5 * (letters + 2.0 * 4))
    assert spelling.of_word("man") > spelling.of_word("nam") > spelling.of_word("nnnnnn")


def test_an_arpa_files_words_are_read(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    made = ngram.estimate(["ä b", "b c d"], 3)
    path.write_text("\n".join(made.arpa()) + "\n", encoding="utf-8")
    assert sorted(ngram.vocabulary(path)) == sorted(made.vocabulary) == ["b", "c", "d", "ä"]


def test_beam_search_without_an_n_gram_and_greedy_agree_where_the_model_is_sure() -> None:
    scores = frames("c∅aa∅tt∅|∅s∅e∅e∅n∅", COLUMNS, 0.98)
    search = BeamSearch(LETTERS, None, NGramWeights())
    assert search.text(scores) == "cat seen" == LETTERS.decode(run.label for run in ctc.greedy(scores))
    assert [(r.label, r.start, r.end) for r in search.runs(scores)] == [
        (r.label, r.start, r.end) for r in ctc.greedy(scores)
    ]


def test_a_hotword_wins_over_what_sounds_like_it() -> None:
    scores = frames("r∅a∅v∅y∅", COLUMNS, 0.6)
    scores[6, COLUMNS.index("i")] = np.log(0.35)
    search = BeamSearch(LETTERS, None, NGramWeights())
    assert search.text(scores) == "ravy"
    assert search.text(scores, hotwords=["ravi"]) == "ravi"


def test_silence_is_the_empty_text() -> None:
    search = BeamSearch(LETTERS, None, NGramWeights())
    assert search.text(np.zeros((0, len(LETTERS)), np.float32)) == ""
    assert search.runs(frames("∅∅∅∅", COLUMNS)) == []


def test_units_of_several_code_points_are_searched_as_one() -> None:
    alphabet = Alphabet(("<pad>", "|", "ɛ\u0301", "gb", "a"))
    labels = [alphabet.units.index(unit) for unit in ("ɛ\u0301", "gb", "a")]
    scores = np.log(np.full((5, 5), 0.01, np.float32))
    for frame, label in zip((0, 2, 4), labels, strict=True):
        scores[frame, label] = np.log(0.95)
    scores[[1, 3], 0] = np.log(0.95)
    assert BeamSearch(alphabet, None, NGramWeights()).text(scores) == "ɛ\u0301gba"


def test_nothing_is_said_on_standard_error(bunny_arpa: Path, capfd: pytest.CaptureFixture) -> None:
    BeamSearch(LETTERS, bunny_arpa, NGramWeights())
    assert capfd.readouterr().err == ""
