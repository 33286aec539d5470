"""Precisions: what a device multiplies matrices in, fp32 or bf16, and which of the two is the faster there."""

import functools
import time
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]

_BF16_GAIN = 1.2
"""By how much bf16 must be the faster to be taken: texts are the same alone and in a batch in fp32 only, and what a
few milliseconds say of a busy machine is uncertain."""
_TRIES = 3  # of each precision, in turns


def multiplies_in_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bf16, be they fast or slow.

    Without them it is emulated: 0.3 GFLOP/s where fp32 has 166 (two AVX2 cores).
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def fastest(device: torch.device) -> Precision:
    """Return the precision in which a device multiplies faster.

    On a GPU that has bf16, bf16. On a processor that has it, what a measurement of 0.05 s says, once in a process:
    bf16 has 203 GFLOP/s where fp32 has 85 on one core of an AMD EPYC with AVX512-BF16, but 84 where fp32 has 166 on
    one of an Intel Xeon (Sapphire Rapids class) whose hypervisor hides AMX. It may differ from one process to the
    next where the two are near each other: see `kept`.
    """
    if not multiplies_in_bf16(device):
        return "fp32"
    return "bf16" if device.type == "cuda" else _faster_on_this_processor()


def kept(written: Precision | None, device: torch.device) -> Precision:
    """Return the precision that something was begun or measured in, so that no second measurement changes it.

    Args:
        written: What was written down; None: nothing was.
        device: Where it goes on. If it lacks the instructions for `written`, or nothing was written down, the
            result is its fastest.
    """
    if written is None or (written == "bf16" and not multiplies_in_bf16(device)):
        return fastest(device)
    return written


@functools.cache
def _faster_on_this_processor() -> Precision:
    seconds: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(1 + _TRIES):
        for precision, taken in seconds.items():
            taken.append(_seconds_to_multiply(precision))
    # The first of each makes its kernel; of the others the best is the least disturbed by what else the machine does.
    fp32, bf16 = (min(taken[1:]) for taken in seconds.values())
    return "bf16" if fp32 >= _BF16_GAIN * bf16 else "fp32"


def _seconds_to_multiply(precision: Precision) -> float:
    """Return how long a transformer's widening layer takes, with what autocast does to run it in a precision.

    256 frames, a clip of 5 s, from 512 features to 2048: the embedded base model has 256, wav2vec2-base 768.
    """
    # Of ones: random numbers would be taken from those of whoever trains.
    frames, weights = torch.ones(256, 512), torch.ones(4 * 512, 512)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        began = time.perf_counter()
        torch.nn.functional.linear(frames, weights)
        return time.perf_counter() - began
