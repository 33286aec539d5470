"""A CTC probe: how well frozen features can be transcribed by a small network that is trained for a minute.

The probe sees context. A linear one ranks bases wrongly: what a layer knows of a letter is spread over its neighbours
(on the features of one base, CER .773 from a linear probe, .356 from one with context).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from asr_adapt.decoding import ctc
from asr_adapt.training.ctc_loss import ctc_loss
from asr_adapt.training.schedule import batches_by_length

_WARM_UP = 0.1  # share of the steps; the rate then falls to 0 along a cosine
_STANDARDISED_BY = 50_000  # frames, whose mean and variance stand for all
_KERNEL = 9  # frames: with two layers, 17 frames of context


class _Network(torch.nn.Module):
    """Two residual convolutions over time, and a linear layer."""

    def __init__(self, dimensions: int, width: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(dimensions, width)
        self.convolutions = torch.nn.ModuleList(
            torch.nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2, groups=4) for _ in range(2)
        )
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(width) for _ in range(2))
        self.dropout = torch.nn.Dropout(dropout)
        self.head = torch.nn.Linear(width, labels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, frames, labels) of features (batch, frames, dimensions)."""
        hidden = torch.nn.functional.gelu(self.inner(features))  # (B, T, W)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            around = convolution(self.dropout(norm(hidden)).transpose(1, 2)).transpose(1, 2)  # (B, T, W)
            hidden = hidden + torch.nn.functional.gelu(around)
        return self.head(self.dropout(hidden))


@dataclass(frozen=True)
class Probe:
    """A trained probe."""

    network: torch.nn.Module
    mean: np.ndarray
    """float32 (dimensions,): of the features that it was trained on"""
    scale: np.ndarray
    """float32 (dimensions,): their inverse standard deviation"""

    def labels(self, features: Sequence[np.ndarray]) -> list[list[int]]:
        """Return the labels that it writes for each clip, by best path; features as in `train`."""
        return [[run.label for run in ctc.greedy(self.log_probs(clip))] for clip in features]

    def log_probs(self, clip: np.ndarray) -> np.ndarray:
        """Return float32 (frames, labels) of one clip's features."""
        with torch.inference_mode():
            logits = self.network(torch.from_numpy(self.standardised(clip))[None])[0]  # (T, V)
            return logits.log_softmax(-1).numpy()

    def standardised(self, clip: np.ndarray) -> np.ndarray:
        """Return float32 (frames, dimensions) at the mean and variance of the training features."""
        return (clip.astype(np.float32) - self.mean) * self.scale


def train(
    features: Sequence[np.ndarray],
    labels: Sequence[Sequence[int]],
    vocabulary: int,
    frame_s: float,
    *,
    steps: int = 300,
    batch_s: float = 30.0,
    width: int = 192,
    learning_rate: float = 3e-3,
    dropout: float = 0.1,
    seed: int = 0,
    progress: Callable[[int], None] = lambda step: None,
) -> Probe:
    """Train a probe on frozen features.

    Args:
        features: float (frames, dimensions) of each clip, of one layer.
        labels: Label ids of each clip, without blanks; clips with too few frames are left out of the batches' loss.
        vocabulary: Number of labels, the blank (0) among them.
        frame_s: Seconds from one frame to the next.
        steps: Optimiser steps.
        batch_s: Seconds of speech in a batch.
        width: Of the hidden layers.
        learning_rate: Peak, of AdamW.
        dropout: Before each convolution and before the last layer.
        seed: Of weights, batches and dropout.
        progress: Called with the number of finished steps.
    """
    usable = [i for i, ids in enumerate(labels) if ids and ctc.frames_needed(ids) <= len(features[i])]
    if not usable:
        raise ValueError("no clip has frames for its labels")
    frames = sum(len(features[i]) for i in usable)
    some = np.concatenate([features[i] for i in usable[:: max(1, frames // _STANDARDISED_BY)]]).astype(np.float32)
    mean, scale = some.mean(axis=0), 1 / np.sqrt(some.var(axis=0) + 1e-6)

    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = _Network(features[usable[0]].shape[1], width, vocabulary, dropout)
    probe = Probe(network, mean, scale)
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.01)
    warm = max(1, int(steps * _WARM_UP))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda s: (s + 1) / warm if s < warm else 0.5 * (1 + np.cos(np.pi * (s - warm) / max(1, steps - warm))),
    )
    durations_s = [len(features[i]) * frame_s for i in usable]
    waiting: list[list[int]] = []
    for step in range(steps):
        if not waiting:
            waiting = batches_by_length(durations_s, batch_s, rng)
        clips = [usable[i] for i in waiting.pop()]
        inputs = [torch.from_numpy(probe.standardised(features[i])) for i in clips]
        logits = network(torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True))
        written = [labels[i] for i in clips]
        loss = ctc_loss(logits, [len(x) for x in inputs], written).sum() / sum(map(len, written))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        progress(step + 1)
    network.eval()
    return probe
