"""The CTC loss of a batch: the negative log-likelihood of each clip's labels, summed over all alignments.

Graves et al. 2006, "Connectionist Temporal Classification" (ICML; www.cs.toronto.edu/~graves/icml_2006.pdf). The
forward pass over alignments is PyTorch's; the blank is label 0 of every alphabet.
"""

from collections.abc import Sequence

import torch

from asr_adapt.text.alphabet import BLANK_ID


def ctc_loss(logits: torch.Tensor, num_frames: Sequence[int], labels: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the loss of each clip in nats, summed over its labels: float32 (B,).

    A clip with fewer frames than `decoding.ctc.frames_needed` has no alignment and an infinite loss; `prepare`
    excludes such clips. Computed in float32 under autocast too, since log-probs in bf16 lose rare labels.

    Args:
        logits: (B, T, V) scores before the softmax; frames past a clip's own are ignored.
        num_frames: Frames of each clip, at most T.
        labels: Label ids of each clip, without blanks.
    """
    return torch.nn.functional.ctc_loss(
        logits.float().log_softmax(-1).transpose(0, 1),  # (T, B, V)
        torch.tensor([label for clip in labels for label in clip], device=logits.device),
        torch.tensor(list(num_frames)),
        torch.tensor([len(clip) for clip in labels]),
        blank=BLANK_ID,
        reduction="none",
    )


def blank_rate(logits: torch.Tensor, num_frames: Sequence[int]) -> torch.Tensor:
    """Return the fraction of frames whose best label is the blank, a scalar; padding is not counted.

    Near 1 it is the plateau at which CTC models write nothing (`training.state`).
    """
    lengths = torch.tensor(list(num_frames), device=logits.device)
    is_real = torch.arange(logits.shape[1], device=logits.device) < lengths[:, None]  # (B, T)
    return (logits.argmax(-1) == BLANK_ID)[is_real].float().mean()
