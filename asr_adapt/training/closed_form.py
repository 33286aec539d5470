"""A CTC head from a few clips without gradient descent: ridge regressions on frozen features.

The CTC loss of a linear head is that of a multinomial logistic regression whose targets are the occupancies of the
labels: how likely each frame belongs to each label, over all alignments of the transcript (the E step of EM). Its
Hessian is bounded by half of the features' Gram matrix, whatever the weights (Böhning 1992, "Multinomial logistic
regression algorithm"), so that a round is one linear system, the same for all labels and rounds, which lowers the
penalised loss for certain: no learning rate, and no step that fails. Weights are held near those at the start by a
ridge penalty, as with head rows that are phones' (arXiv:2604.18204): what few clips do not show stays as it was.
"""

from collections.abc import Sequence

import torch

from asr_adapt.training.ctc_loss import ctc_loss

RIDGE = 30.0
"""penalty on the distance from the start, in frames of unit features; measured on three languages (docs/log.md)"""
ROUNDS = 20
"""alignments, and linear systems; more change the error rates by less than a point"""


def corrected(
    head: torch.nn.Linear,
    features: Sequence[torch.Tensor],
    labels: Sequence[Sequence[int]],
    *,
    ridge: float = RIDGE,
    rounds: int = ROUNDS,
) -> torch.nn.Linear:
    """Return a head that writes the clips' transcripts better; `head` stays as it is.

    Args:
        head: The CTC head to start from: (labels, hidden) weights and a bias. Labels that it never writes (a bias of
            -1e4) and that no clip has stay unwritten.
        features: The transformer's output of each clip, float32 (frames, hidden), on the head's device.
        labels: Label ids of each clip's transcript, none empty, each with as many frames as it needs
            (`decoding.ctc.frames_needed`).
        ridge: Penalty on the distance from the start; greater than 0.
        rounds: Rounds; at least 1.

    Raises:
        ValueError: there is no clip, or the penalty is not positive.
    """
    if not features or ridge <= 0:
        raise ValueError(f"at least one clip and a ridge above 0 are needed, not {len(features)} and {ridge:g}")
    lengths = [len(clip) for clip in features]
    with torch.no_grad():
        inputs = torch.cat(list(features)).float()
        inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)  # (frames, hidden + 1)
        start = torch.cat([head.weight, head.bias[:, None]], dim=1)  # (labels, hidden + 1)
        penalty = ridge * torch.eye(inputs.shape[1], device=inputs.device)
        factor = torch.linalg.cholesky(0.5 * inputs.T @ inputs + penalty)
    weights = start
    for _ in range(rounds):
        logits = (inputs @ weights.T).requires_grad_()
        padded = torch.nn.utils.rnn.pad_sequence(list(logits.split(lengths)), batch_first=True)  # (B, T, V)
        # The loss's derivative by the logits is probability minus occupancy.
        (excess,) = torch.autograd.grad(ctc_loss(padded, lengths, labels).sum(), logits)
        with torch.no_grad():
            downhill = -inputs.T @ excess - ridge * (weights - start).T  # (hidden + 1, labels)
            weights = weights + torch.cholesky_solve(downhill, factor).T
    better = torch.nn.Linear(head.in_features, head.out_features, device=inputs.device)
    with torch.no_grad():
        better.weight.copy_(weights[:, :-1])
        better.bias.copy_(weights[:, -1])
    return better
