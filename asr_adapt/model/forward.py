"""The forward pass: waveform to features to hidden states to log-probs, exact in batches."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import Wav2Vec2ForCTC

from asr_adapt.errors import InputError
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.model.mixed_precision import Precision


def normalised(waveform: torch.Tensor) -> torch.Tensor:
    """Return a clip (float32 (num_samples,)) at zero mean and unit variance, as transformers' feature extractor."""
    return (waveform - waveform.mean()) / torch.sqrt(waveform.var(correction=0) + 1e-7)


def encode(model: CTCModel, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Run the feature encoder clip by clip.

    Alone, because wav2vec2-base normalises its first convolution over the whole clip, padding and all: batching
    changes its input (transformers#18501).

    Args:
        model: The model.
        waveforms: float32 (num_samples,) each, 16 kHz, not yet normalised.

    Returns:
        (frames, channels) each.
    """
    encoder = model.net.wav2vec2.feature_extractor
    clips = (normalised(w) if model.normalise_waveform else w for w in waveforms)
    return [encoder(clip[None])[0].T for clip in clips]


def contextualise(
    net: Wav2Vec2ForCTC,
    features: Sequence[torch.Tensor],
    masks: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Run feature projection and transformer over a padded batch; frames of padding are attended by nobody.

    Args:
        net: The model.
        features: (frames, channels) each, of `encode`.
        masks: SpecAugment's bool masks over time (batch, frames) and over features (batch, hidden), True is hidden.

    Returns:
        (batch, frames, hidden); frames past a clip's own length mean nothing.
    """
    lengths = torch.tensor([len(f) for f in features], device=features[0].device)
    padded = torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True)  # (B, T, C)
    hidden, _ = net.wav2vec2.feature_projection(padded)  # (B, T, H)
    if masks is not None:
        over_time, over_features = masks
        # Checkpoints that were pre-trained without masking have no embedding for it.
        hider = getattr(net.wav2vec2, "masked_spec_embed", torch.zeros((), device=hidden.device))
        hidden = torch.where(over_time[..., None], hider.to(hidden.dtype), hidden)
        hidden = hidden.masked_fill(over_features[:, None], 0)
    real = torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]  # (B, T)
    return net.wav2vec2.encoder(hidden, attention_mask=None if bool(real.all()) else real).last_hidden_state


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
        features = encode(model, clips)
        logits = net.lm_head(contextualise(net, features))  # (B, T, V)
        scores = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
    if np.isnan(scores).any():
        raise InputError("the model computes NaN", remedy="Its weights are damaged: copy or train it again.")
    return [row[: len(clip)] for row, clip in zip(scores, features, strict=True)]
