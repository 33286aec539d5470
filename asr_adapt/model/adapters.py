"""Small layers that are trained instead of the transformer: LoRA, and MMS's."""

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2AttnAdapterLayer

from asr_adapt.model import encoders
from asr_adapt.model.encoders import Net


def add_lora(net: Net, rank: int) -> Any:
    """Add low-rank matrices to the transformer of `net`, which is changed, and return peft's wrapper of it.

    They start at zero, so that the output of `net` is unchanged (Hu et al. 2021, arXiv:2106.09685). The head is
    trained whole.
    """
    from peft import LoraConfig, get_peft_model

    targets = list(encoders.of(net).lora_targets)
    conf = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, modules_to_save=["lm_head"])
    with warnings.catch_warnings():  # peft 0.21 asks transformers for an attribute by its old name
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(net, conf)


def silence(net: Net) -> None:
    """Let MMS's layers, in place, start with an output of zero, so that the transformer's output is unchanged."""
    for module in net.modules():
        if isinstance(module, Wav2Vec2AttnAdapterLayer):
            torch.nn.init.zeros_(module.linear_2.weight)
            torch.nn.init.zeros_(module.linear_2.bias)


def belongs(name: str, adapter: str) -> bool:
    """Return whether a parameter of that name is trained: the adapter's own and the head."""
    if adapter == "lora":
        return ".lora_" in name or name.startswith("lm_head.modules_to_save")
    return ".adapter_layer." in name or name.startswith("lm_head")


def save_mms(net: Net, language: str, folder: Path) -> None:
    """Write `adapter.<language>.safetensors` as MMS keeps it: the small layers and the head."""
    tensors = {n: p.detach().cpu().contiguous() for n, p in net.named_parameters() if belongs(n, "mms")}
    save_file(tensors, folder / f"adapter.{language}.safetensors", metadata={"format": "pt"})
