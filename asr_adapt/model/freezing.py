"""Freezing policies: which parameters are trained, and up to which depth the model's output never changes.

Depth counts transformer layers: at depth 0 a hidden state is the feature encoder's output, at depth K it is that of
layer K, at the depth of the last layer that of the whole transformer, with the norm that ends a pre-norm one.
"""

from itertools import groupby
from typing import Any

import torch
from transformers import PreTrainedConfig

from asr_adapt.errors import InputError
from asr_adapt.model import adapters, encoders
from asr_adapt.model.encoders import Net

_BELOW = "below:"


def frozen_depth(policy: str, config: PreTrainedConfig) -> int | None:
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


def freeze(net: Net, policy: str, adapter: str = "none") -> None:
    """Set `requires_grad` by a policy's name.

    Args:
        net: The model, changed in place.
        policy: `feature_encoder` (its convolutions stay; transformer and head are trained), `below:K` (all up to
            the output of transformer layer K stays), `all_but_head`, or `nothing`.
        adapter: Where it is not `none`, nothing but the adapter and the head is trained.
    """
    depth = frozen_depth(policy, net.config)
    encoder = encoders.of(net)
    net.requires_grad_(True)
    for module in [*encoder.unused, *([] if depth is None else encoder.below(depth))]:
        module.requires_grad_(False)
    if depth and encoder.mask_embedding is not None:  # stands for masked frames at depth 0 only
        encoder.mask_embedding.requires_grad_(False)
    if adapter != "none":
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(adapters.belongs(name, adapter))
    for part in encoder.never_trained:
        part.requires_grad_(False)


def train_mode(net: Net, depth: int | None) -> None:
    """Set `net`, in place, to training mode; what is frozen has no dropout, as in the cache of its output.

    Batch norms, of which HuBERT and Conformers have some, keep the statistics of pre-training: batches are small
    here, and partly padding.
    """
    net.train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.eval()
    for module in [] if depth is None else encoders.of(net).below(depth):
        module.eval()


def trainable_table(net: Net) -> list[tuple[str, int, int]]:
    """Return `(part, parameters, of which trained)`, from the waveform up to the head.

    Transformer layers that are trained alike are one part.
    """
    encoder = encoders.of(net)
    numbered = list(enumerate(encoder.layers, start=1))
    runs = [list(run) for _, run in groupby(numbered, lambda item: _counts([item[1]])[1] > 0)]
    parts: dict[str, list[Any]] = {
        f"feature encoder ({encoder.feature_encoder_is})": encoder.feature_encoder,
        "feature projection": encoder.feature_projection,
        "positional convolution": encoder.positional,
        "positional convolution, which is not used": encoder.unused,
    }
    for run in runs:
        first, last = run[0][0], run[-1][0]
        name = f"layers {first} to {last}" if first < last else f"layer {first}"
        parts[name] = [layer for _, layer in run] + (encoder.final if run is runs[-1] else [])
    parts["head"] = [net.lm_head]
    return [(name, *_counts(modules)) for name, modules in parts.items() if modules]


def _counts(modules: list[Any]) -> tuple[int, int]:
    """Return how many parameters modules have, and how many of them are trained."""
    parameters = [p for module in modules for p in module.parameters()]
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
