"""The forward pass: waveform to features to hidden states to log-probs, exact in batches."""

from collections.abc import Sequence

import numpy as np
import torch

from asr_adapt.errors import InputError
from asr_adapt.model import encoders
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.model.encoders import Net
from asr_adapt.model.mixed_precision import Precision


def normalised(waveform: torch.Tensor) -> torch.Tensor:
    """Return a clip (float32 (num_samples,)) at zero mean and unit variance, as transformers' feature extractor."""
    return (waveform - waveform.mean()) / torch.sqrt(waveform.var(correction=0) + 1e-7)


def encode(model: CTCModel, waveforms: Sequence[torch.Tensor], *, whole: bool = False) -> list[torch.Tensor]:
    """Run the feature encoder clip by clip.

    Alone, because wav2vec2-base normalises its first convolution over the whole clip, padding and all: batching
    changes its input (transformers#18501).

    Args:
        model: The model.
        waveforms: float32 (num_samples,) each, 16 kHz, not yet normalised.
        whole: Keep a last frame that is partly padding (`Encoder.attended`), as transformers does.

    Returns:
        (frames, channels) each.
    """
    encoder = encoders.of(model.net)
    clips = (normalised(w) if model.normalise_waveform else w for w in waveforms)
    return [encoder.encode(clip, whole=whole) for clip in clips]


def contextualise(
    net: Net,
    hidden: Sequence[torch.Tensor],
    masks: tuple[torch.Tensor, torch.Tensor] | None = None,
    *,
    depth: int = 0,
    until: int | None = None,
    attended: Sequence[int | None] | None = None,
) -> torch.Tensor:
    """Run the transformer, or some of its layers, over a padded batch; frames of padding are attended by nobody.

    Args:
        net: The model.
        hidden: (frames, channels) each at `depth`: of `encode` at 0, where feature projection and positional
            convolution come first; after transformer layer K at K.
        masks: SpecAugment's bool masks over time (batch, frames) and over features (batch, hidden), True is hidden:
            after the feature projection at depth 0, else on the hidden states as they come in.
        depth: How many transformer layers `hidden` has been through.
        until: How many layers the result has been through; None: all, and the norm that ends a pre-norm model.
        attended: How many frames of each, from the first on, are attended to; None: all.

    Returns:
        (batch, frames, hidden); frames past a clip's own length mean nothing.
    """
    encoder = encoders.of(net)
    until = len(encoder.layers) if until is None else until
    states = torch.nn.utils.rnn.pad_sequence(list(hidden), batch_first=True)  # (B, T, C)
    if depth == until > 0:
        return states
    counts = [len(h) if n is None else n for h, n in zip(hidden, attended or [None] * len(hidden), strict=True)]
    lengths = torch.tensor(counts, device=states.device)
    real = torch.arange(states.shape[1], device=states.device) < lengths[:, None]  # (B, T)
    mask = None if bool(real.all()) else real
    if depth == 0:
        states = encoder.project(states)  # (B, T, H)
        if masks is not None:
            learned = encoder.mask_embedding
            hider = torch.zeros((), device=states.device) if learned is None else learned
            states = torch.where(masks[0][..., None], hider.to(states.dtype), states)
            hidden_features = masks[1] if encoder.constants is None else masks[1] & ~encoder.constants
            states = states.masked_fill(hidden_features[:, None], 0)
        states = encoder.enter(states, mask)
    elif masks is not None:
        states = _masked(states, masks, real)
    return encoder.run(states, mask, depth, until)


def alone(model: CTCModel, waveform: torch.Tensor) -> torch.Tensor:
    """Return logits (frames, vocab) of one waveform (num_samples,); sizes may be symbolic, in export."""
    encoder = encoders.of(model.net)
    (features,) = encode(model, [waveform], whole=True)
    attended = encoder.attended(waveform.shape[0])
    real = None if attended is None else torch.arange(features.shape[0])[None] < attended  # (1, T)
    states = encoder.enter(encoder.project(features[None]), real)
    return model.net.lm_head(encoder.run(states, real, 0, len(encoder.layers)))[0]


def _masked(states: torch.Tensor, masks: tuple[torch.Tensor, torch.Tensor], real: torch.Tensor) -> torch.Tensor:
    """Return hidden states (B, T, H) with each clip's own mean in place of what is masked.

    Between layers zero is no neutral value: a few features are far from it in every frame. Neither is the embedding
    for masked frames, which is learned for depth 0.
    """
    mean = (states * real[..., None]).sum(1, keepdim=True) / real.sum(1)[:, None, None]  # (B, 1, H)
    return torch.where(masks[0][..., None] | masks[1][:, None], mean, states)


def log_probs(model: CTCModel, waveforms: Sequence[np.ndarray], precision: Precision = "fp32") -> list[np.ndarray]:
    """Return float32 (frames, vocab) for each waveform: in fp32 a clip has the same result alone and in a batch.

    Args:
        model: In evaluation mode.
        waveforms: float32 (num_samples,), 16 kHz, each with at least `model.shortest_clip` samples.
        precision: What matrices are multiplied in.

    Raises:
        InputError: the model computes NaN.
    """
    net = model.net
    with torch.inference_mode(), torch.autocast(net.device.type, torch.bfloat16, enabled=precision == "bf16"):
        clips = [torch.from_numpy(np.array(w, dtype=np.float32)).to(net.device) for w in waveforms]
        features = encode(model, clips, whole=True)
        attended = [encoders.of(net).attended(len(clip)) for clip in clips]
        logits = net.lm_head(contextualise(net, features, attended=attended))  # (B, T, V)
        scores = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
    if np.isnan(scores).any():
        raise InputError("the model computes NaN", remedy="Its weights are damaged: copy or train it again.")
    return [row[: len(clip)] for row, clip in zip(scores, features, strict=True)]
