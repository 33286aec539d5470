"""How much memory a training step needs, and the largest batch that fits."""

from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from transformers import PreTrainedConfig

from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.model import encoders, freezing
from asr_adapt.recipe import Resolved
from asr_adapt.training.presets import Choice

_GB = 1e9
_USED = 0.8  # of what is free: allocators leave gaps, and other programs live here too
_KEPT_BY_A_CONVOLUTION = 6  # for each frame and channel, measured
_ADAM = 16  # bytes for each parameter that is trained: itself, its gradient, two moments
_SMALLEST_BATCH_S = 10.0
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def free_bytes(device: torch.device) -> int:
    """Return the memory that a program can still have: of the GPU, or of the machine and of its container's limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    for limit, used in _CGROUPS:
        if limit.exists() and limit.read_text().strip().isdigit():
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


def needed_bytes(recipe: Resolved, config: PreTrainedConfig, batch_s: float) -> int:
    """Return about how much a step on `batch_s` seconds of audio needs, weights and optimiser included.

    Args:
        recipe: What is trained, and in which precision.
        config: Of the base model.
        batch_s: Seconds of audio in a batch of one process.
    """
    with torch.device("meta"):
        net = encoders.build(config)
    kind = encoders.kind(config)
    depth = freezing.frozen_depth(recipe.model.freeze, config)
    freezing.freeze(net, recipe.model.freeze)
    has_adapter = recipe.model.adapter != "none"
    encoder_trains = depth is None and not has_adapter
    trained = 0 if has_adapter else sum(p.numel() for p in net.parameters() if p.requires_grad)
    fixed = 4 * sum(p.numel() for p in net.parameters()) + (_ADAM - 4) * trained

    rate, kept, widest = float(SAMPLE_RATE_HZ), 0.0, 0.0
    for channels, stride in kind.convolutions(config):
        rate /= stride
        kept += rate * channels
        widest = max(widest, rate * channels)
    # Frozen convolutions run clip by clip and keep nothing; a few copies of the widest layer live at a time.
    of_clip = 0.0 if encoder_trains else 3 * 4 * widest * recipe.corpus.max_duration_s
    of_convolutions = _KEPT_BY_A_CONVOLUTION * 4 * kept if encoder_trains else 0.0
    layers = max(1, config.num_hidden_layers - (depth or 0))  # a frozen one keeps nothing beyond itself
    width = 4 if recipe.train.precision == "fp32" else 3  # bytes; autocast keeps some in both
    of_layer = rate * config.hidden_size * width * kind.kept_by_a_layer
    of_layer += rate * width * kind.kept_matrices * config.num_attention_heads * rate * recipe.corpus.max_duration_s
    if recipe.train.gradient_checkpointing:
        of_layers = rate * config.hidden_size * 4 * layers + of_layer
    else:
        of_layers = of_layer * layers
    return int(fixed + of_clip + batch_s * (of_convolutions + of_layers))


def fit(
    recipe: Resolved, config: PreTrainedConfig, processes: int, free: int, warn: Callable[[str], None]
) -> tuple[Resolved, list[Choice]]:
    """Return the recipe with batches for which there is room, more of them to a step, and what was changed.

    A step uses the same audio either way.

    Args:
        recipe: With `batch_s` as the preset has it.
        config: Of the base model.
        processes: Among which a batch is shared out, each with memory of its own.
        free: Bytes, of `free_bytes`.
        warn: Is told where even the smallest batch is too large.
    """
    conf = recipe.train
    batch_s, accumulate = conf.batch_s, conf.accumulate
    wanted = needed = needed_bytes(recipe, config, batch_s / processes)
    while needed > _USED * free and batch_s / processes >= 2 * _SMALLEST_BATCH_S:
        batch_s, accumulate = batch_s / 2, accumulate * 2
        needed = needed_bytes(recipe, config, batch_s / processes)
    if needed > _USED * free:
        warn(
            f"a step on {batch_s:g} s of audio needs about {needed / _GB:.1f} GB, {free / _GB:.1f} GB are free: "
            "--train.gradient_checkpointing true or --model.adapter lora need less"
        )
    if batch_s == conf.batch_s:
        return recipe, []
    why = f"{free / _GB:.1f} GB are free; {conf.batch_s:g} s would need {wanted / _GB:.1f}"
    fitted = recipe.model_copy(
        update={"train": conf.model_copy(update={"batch_s": batch_s, "accumulate": accumulate})}
    )
    return fitted, [
        Choice("train.batch_s", batch_s, why),
        Choice("train.accumulate", accumulate, "keeps the preset's audio per step"),
    ]
