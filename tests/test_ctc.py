import numpy as np
import pytest
import torch

from asr_adapt import ctc
from asr_adapt.ctc import FrameGrid
from asr_adapt.errors import AudioTooShort


def test_a_second_gives_49_frames_and_400_samples_one() -> None:
    grid = FrameGrid()
    assert grid.num_frames(16_000) == 49
    assert grid.num_frames(400) == 1 == grid.num_frames(719)
    assert grid.num_frames(720) == 2
    assert grid.stride == 320


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
