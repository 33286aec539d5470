"""Where models run."""

import torch


def best_device() -> torch.device:
    """Return where models run unless another device is named: the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
