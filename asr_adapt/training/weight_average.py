"""The mean of the weights over the last steps, which is what is validated and kept.

Stochastic weight averaging (Izmailov et al. 2018, arXiv:1803.05407): the weights of the last steps differ by what the
last batches happened to be, their mean less so. What it brings: docs/log.md.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch.optim.swa_utils import get_swa_multi_avg_fn

_COUNT = "count"
_take_into_mean = get_swa_multi_avg_fn()


class WeightAverage:
    """The mean of a model's trained weights (those with `requires_grad` now): one more copy of them in memory.

    Args:
        net: The model.
        first_step: 0-based step from which on weights are averaged; before it the mean is the weights.
    """

    def __init__(self, net: torch.nn.Module, first_step: int) -> None:
        self._first_step = first_step
        self._weights = {name: p for name, p in net.named_parameters() if p.requires_grad}
        self._mean: dict[str, torch.Tensor] = {}
        self._count = 0

    def update(self, step: int) -> None:
        """Take in the weights as they are after 0-based `step`."""
        if step < self._first_step:
            return
        if not self._mean:
            self._mean = {name: p.detach().clone() for name, p in self._weights.items()}
        else:
            _take_into_mean([*self._mean.values()], [*self._weights.values()], self._count)
        self._count += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the mean in place of its weights, for the block."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for name in self._mean:
            parameter = self._weights[name]
            parameter.data, self._mean[name] = self._mean[name], parameter.data

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what a checkpoint needs: the mean by the names of the weights, and over how many steps it is."""
        return {**self._mean, _COUNT: torch.tensor(self._count)}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take up what a checkpoint has; one of version 0.1.0, which averaged nothing, has nothing."""
        self._count = int(tensors.get(_COUNT, 0))
        self._mean = {name: tensors[name].to(p.device) for name, p in self._weights.items()} if self._count else {}
