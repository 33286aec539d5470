"""Mixed precision: whether matrices are multiplied in fp32 or in bf16, and which of the two is faster on a device."""

import functools
import time
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]

_MIN_SPEEDUP = 1.2
"""bf16 is chosen only if it is at least this many times faster: only in fp32 is a text independent of the batch that
it is in, and a measurement of a few milliseconds on a busy machine is uncertain."""
_TRIES = 3  # of each precision, alternating


def has_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bf16, fast or slow.

    Without them bf16 is emulated: 0.3 GFLOP/s instead of 166 in fp32 (two AVX2 cores).
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def fastest(device: torch.device) -> Precision:
    """Return the precision in which a device multiplies matrices faster.

    On a GPU with bf16: bf16. On a processor with bf16: measured, for 0.05 s, once in a process. One core of an AMD
    EPYC with AVX512-BF16 does 203 GFLOP/s in bf16 and 85 in fp32; one of an Intel Xeon (Sapphire Rapids class) whose
    hypervisor hides AMX does 84 in bf16 and 166 in fp32. If the two are close, the result may differ from one process
    to the next: see `recorded_or_fastest`.
    """
    if not has_bf16(device):
        return "fp32"
    return "bf16" if device.type == "cuda" else _fastest_on_this_processor()


def recorded_or_fastest(recorded: Precision | None, device: torch.device) -> Precision:
    """Return the precision in which something was begun or measured, so that it does not change when it is resumed.

    Args:
        recorded: The precision in the records, if any.
        device: Where the work continues. If it lacks the instructions for `recorded`, or nothing is recorded, the
            result is its fastest precision.
    """
    if recorded is None or (recorded == "bf16" and not has_bf16(device)):
        return fastest(device)
    return recorded


@functools.cache
def _fastest_on_this_processor() -> Precision:
    seconds: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(1 + _TRIES):
        for precision, taken in seconds.items():
            taken.append(_seconds_to_multiply(precision))
    # The first of each compiles its kernel; the best of the others is the least disturbed by other processes.
    fp32, bf16 = (min(taken[1:]) for taken in seconds.values())
    return "bf16" if fp32 >= _MIN_SPEEDUP * bf16 else "fp32"


def _seconds_to_multiply(precision: Precision) -> float:
    """Return how long the widening layer of a transformer takes under autocast.

    256 frames, a clip of 5 s, from 512 features to 2048: embedded-small has 256, wav2vec2-base 768.
    """
    # Ones: drawing random numbers would change the random state of the training that asks.
    frames, weights = torch.ones(256, 512), torch.ones(4 * 512, 512)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        started = time.perf_counter()
        torch.nn.functional.linear(frames, weights)
        return time.perf_counter() - started
