"""The CTC loss: the sum over all alignments, each clip for itself, padding ignored."""

import itertools
import math

import pytest
import torch

from asr_adapt.decoding import ctc
from asr_adapt.training.ctc_loss import blank_rate, ctc_loss


def collapsed(path: tuple[int, ...]) -> list[int]:
    """Return the labels of an alignment: repeats merged, then blanks (0) removed."""
    return [label for label, _ in itertools.groupby(path) if label != 0]


def test_it_is_the_negative_log_of_the_sum_over_all_alignments() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 3)
    probs = logits[0].softmax(-1)
    for labels in ([1], [1, 2], [1, 1], [2, 1, 2], []):
        total = sum(
            math.prod(float(probs[t, label]) for t, label in enumerate(path))
            for path in itertools.product(range(3), repeat=4)
            if collapsed(path) == labels
        )
        assert math.isclose(float(ctc_loss(logits, [4], [labels])[0]), -math.log(total), rel_tol=1e-5)


def test_a_clip_has_in_a_padded_batch_the_loss_that_it_has_alone() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 6, 5)
    together = ctc_loss(logits, [6, 3], [[1, 2, 3], [4]])
    assert torch.allclose(together[1:], ctc_loss(logits[1:, :3], [3], [[4]]))
    changed = logits.clone()
    changed[1, 3:] = 100.0
    assert torch.equal(together, ctc_loss(changed, [6, 3], [[1, 2, 3], [4]]))


def test_it_is_infinite_exactly_where_the_labels_need_more_frames() -> None:
    labels = [1, 1, 2]
    needed = ctc.frames_needed(labels)
    for frames in range(1, needed + 2):
        assert bool(torch.isinf(ctc_loss(torch.zeros(1, frames, 3), [frames], [labels]))) == (frames < needed)


def test_logits_in_bf16_give_a_loss_in_float32() -> None:
    loss = ctc_loss(torch.zeros(1, 4, 3, dtype=torch.bfloat16), [4], [[1]])
    assert loss.dtype == torch.float32


def test_the_blank_rate_leaves_padding_out() -> None:
    logits = torch.zeros(2, 4, 3)
    logits[0, :, 1] = 1  # a label in all four frames
    logits[1, 0, 0] = 1  # a blank, then a label, then padding whose best label is the blank
    logits[1, 1, 2] = 1
    logits[1, 2:, 0] = 1
    assert float(blank_rate(logits, [4, 2])) == pytest.approx(1 / 6)
