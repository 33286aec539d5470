"""Freezing policies: which parameters are trained, and up to which depth the model's output never changes.

Depth counts transformer layers: at depth 0 a hidden state is the feature encoder's output, at depth K it is that of
layer K, at the depth of the last layer that of the whole transformer, with the norm that ends a pre-norm one.
"""

from itertools import groupby
from typing import Any

import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asr_adapt.errors import InputError
from asr_adapt.model import adapters

_BELOW = "below:"


def frozen_depth(policy: str, config: Wav2Vec2Config) -> int | None:
    """Return the depth up to which a policy trains nothing; None if it trains from the waveform on.

    Raises:
        InputError: `below:K` where the model has no K + 1 layers.
    """
    layers = int(config.num_hidden_layers)
    depths = {"nothing": None, "feature_encoder": 0, "all_but_head": layers}
    if policy in depths:
        return depths[policy]
    if not policy.startswith(_BELOW):
        raise ValueError(f"no freezing policy '{policy}'")
    depth = int(policy.removeprefix(_BELOW))
    if not 1 <= depth < layers:
        raise InputError(
            f"'{policy}' leaves no layer to train: the base model has {layers}",
            place="model.freeze",
            remedy=f"Give {_choices(layers)}all_but_head.",
        )
    return depth


def _choices(layers: int) -> str:
    names = [f"{_BELOW}{depth}" for depth in sorted({1, layers - 1}) if 0 < depth < layers]
    return f"{' to '.join(names)}, or " if names else ""


def modules_below(net: Wav2Vec2ForCTC, depth: int) -> list[torch.nn.Module]:
    """Return the modules that the hidden state at a depth is computed with.

    The transformer's own norm is among them where it stands before the layers (wav2vec2-base); in pre-norm models
    (XLS-R) it stands after the last one.
    """
    wav2vec2, encoder = net.wav2vec2, net.wav2vec2.encoder
    if depth == 0:
        return [wav2vec2.feature_extractor]
    if depth == len(encoder.layers):
        return [wav2vec2]
    norm = [] if net.config.do_stable_layer_norm else [encoder.layer_norm]
    return [
        wav2vec2.feature_extractor,
        wav2vec2.feature_projection,
        encoder.pos_conv_embed,
        *norm,
        *encoder.layers[:depth],
    ]


def freeze(net: Wav2Vec2ForCTC, policy: str, adapter: str = "none") -> None:
    """Set `requires_grad` by a policy's name.

    Args:
        net: The model, changed in place.
        policy: `feature_encoder` (its convolutions stay; transformer and head are trained), `below:K` (all up to
            the output of transformer layer K stays), `all_but_head`, or `nothing`.
        adapter: Where it is not `none`, nothing but the adapter and the head is trained.
    """
    depth = frozen_depth(policy, net.config)
    net.requires_grad_(True)
    for module in [] if depth is None else modules_below(net, depth):
        module.requires_grad_(False)
    if depth and hasattr(net.wav2vec2, "masked_spec_embed"):  # stands for masked frames at depth 0 only
        net.wav2vec2.masked_spec_embed.requires_grad_(False)
    if adapter != "none":
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(adapters.belongs(name, adapter))


def train_mode(net: Wav2Vec2ForCTC, depth: int | None) -> None:
    """Set `net`, in place, to training mode; what is frozen has no dropout, as in the cache of its output."""
    net.train()
    for module in [] if depth is None else modules_below(net, depth):
        module.eval()


def trainable_table(net: Wav2Vec2ForCTC) -> list[tuple[str, int, int]]:
    """Return `(part, parameters, of which trained)`, from the waveform up to the head.

    Transformer layers that are trained alike are one part.
    """
    encoder = net.wav2vec2.encoder
    norm = [encoder.layer_norm]
    before, after = ([], norm) if net.config.do_stable_layer_norm else (norm, [])
    numbered = list(enumerate(encoder.layers, start=1))
    runs = [list(run) for _, run in groupby(numbered, lambda item: _counts([item[1]])[1] > 0)]
    parts: dict[str, list[Any]] = {
        "feature encoder": [net.wav2vec2.feature_extractor],
        "feature projection": [net.wav2vec2.feature_projection],
        "positional convolution": [encoder.pos_conv_embed, *before],
    }
    for run in runs:
        first, last = run[0][0], run[-1][0]
        name = f"layers {first} to {last}" if first < last else f"layer {first}"
        parts[name] = [layer for _, layer in run] + (after if run is runs[-1] else [])
    parts["head"] = [net.lm_head]
    return [(name, *_counts(modules)) for name, modules in parts.items()]


def _counts(modules: list[Any]) -> tuple[int, int]:
    """Return how many parameters modules have, and how many of them are trained."""
    parameters = [p for module in modules for p in module.parameters()]
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
