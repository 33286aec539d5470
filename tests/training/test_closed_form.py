"""A CTC head from few clips by ridge regressions."""

import pytest
import torch

from asr_adapt.training import closed_form
from asr_adapt.training.ctc_loss import ctc_loss

HIDDEN, LABELS = 12, 5


def clips(count: int, seed: int = 0) -> tuple[list[torch.Tensor], list[list[int]]]:
    """Return clips in which each label has a direction of its own, three frames long, with blanks between."""
    draw = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(HIDDEN, HIDDEN, generator=torch.Generator().manual_seed(9)))[0] * 6
    features, labels = [], []
    for _ in range(count):
        text = torch.randint(1, LABELS, (4,), generator=draw).tolist()
        path = torch.tensor([label for each in text for label in (0, each, each, each)] + [0])
        features.append(directions[path] + torch.randn(len(path), HIDDEN, generator=draw))
        labels.append(text)
    return features, labels


def loss(head: torch.nn.Linear, features: list[torch.Tensor], labels: list[list[int]]) -> float:
    with torch.no_grad():
        logits = torch.nn.utils.rnn.pad_sequence([head(clip) for clip in features], batch_first=True)
    return float(ctc_loss(logits, [len(clip) for clip in features], labels).sum())


def test_it_writes_unseen_clips_of_the_same_voice_from_a_random_head() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(HIDDEN, LABELS)
    better = closed_form.corrected(head, *clips(20), ridge=1.0, rounds=40)
    for clip, text in zip(*clips(10, seed=1), strict=True):
        best = better(clip).argmax(-1)
        assert [int(label) for label in torch.unique_consecutive(best) if label] == text


def test_the_penalised_loss_falls_in_every_round() -> None:
    torch.manual_seed(0)
    head, ridge = torch.nn.Linear(HIDDEN, LABELS), 5.0
    features, labels = clips(3)

    def penalised(other: torch.nn.Linear) -> float:
        moved = (other.weight - head.weight).square().sum() + (other.bias - head.bias).square().sum()
        return loss(other, features, labels) + 0.5 * ridge * float(moved.detach())

    values = [penalised(head)]
    values += [penalised(closed_form.corrected(head, features, labels, ridge=ridge, rounds=n)) for n in (1, 2, 4, 8)]
    assert values == sorted(values, reverse=True) and values[-1] < 0.5 * values[0]


def test_a_stronger_ridge_stays_nearer_to_the_start_which_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(HIDDEN, LABELS)
    kept = head.weight.clone()
    near, far = (closed_form.corrected(head, *clips(3), ridge=ridge) for ridge in (1e4, 1.0))
    assert torch.equal(head.weight, kept)
    assert 0 < (near.weight - kept).norm() < 0.1 * (far.weight - kept).norm()


def test_it_needs_a_clip_and_a_penalty() -> None:
    head = torch.nn.Linear(HIDDEN, LABELS)
    with pytest.raises(ValueError, match="at least one clip"):
        closed_form.corrected(head, [], [])
    with pytest.raises(ValueError, match="ridge above 0"):
        closed_form.corrected(head, *clips(1), ridge=0.0)
