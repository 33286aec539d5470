"""Freezing policies: which parameters are trained."""

from typing import Any

from transformers import Wav2Vec2ForCTC

from asr_adapt.model import adapters


def freeze(net: Wav2Vec2ForCTC, policy: str, adapter: str = "none") -> None:
    """Set `requires_grad` by a policy's name.

    Args:
        net: The model, changed in place.
        policy: `feature_encoder` (its convolutions stay; transformer and head are trained), `all_but_head`, or
            `nothing`.
        adapter: Where it is not `none`, nothing but the adapter and the head is trained.
    """
    net.requires_grad_(True)
    if policy == "feature_encoder":
        net.wav2vec2.feature_extractor.requires_grad_(False)
    elif policy == "all_but_head":
        net.wav2vec2.requires_grad_(False)
    elif policy != "nothing":
        raise ValueError(f"no freezing policy '{policy}'")
    if adapter != "none":
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(adapters.belongs(name, adapter))


def trainable_table(net: Wav2Vec2ForCTC) -> list[tuple[str, int, int]]:
    """Return `(part, parameters, of which trained)`, from the waveform up to the head."""
    parts: dict[str, Any] = {
        "feature encoder": net.wav2vec2.feature_extractor,
        "feature projection": net.wav2vec2.feature_projection,
        "transformer": net.wav2vec2.encoder,
        "head": net.lm_head,
    }
    return [
        (
            name,
            sum(p.numel() for p in part.parameters()),
            sum(p.numel() for p in part.parameters() if p.requires_grad),
        )
        for name, part in parts.items()
    ]
