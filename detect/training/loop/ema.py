"""Exponential moving average of a network's weights."""

import math
from copy import deepcopy

import torch
from torch import nn

from detect.training.loop.plan import Average


class AveragedNetwork:
    """A copy of a network that follows it slowly.

    Attributes:
        network: the copy, in evaluation mode.
        updates: how often it was updated.
    """

    def __init__(self, network: nn.Module, average: Average) -> None:
        """Start as an exact copy."""
        self.network = deepcopy(network).eval().requires_grad_(False)
        self.average, self.updates = average, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards the network; what is no floating number is copied."""
        self.updates += 1
        decay = self.average.decay * (1 - math.exp(-self.updates / self.average.warmup))
        # by parameter and buffer, not by name: layers that share a tensor count once
        for own, new in zip(_tensors(self.network), _tensors(network), strict=True):
            if own.is_floating_point():
                own.lerp_(new.detach().to(own.dtype), 1 - decay)
            else:
                own.copy_(new)


def _tensors(network: nn.Module) -> list[torch.Tensor]:
    return [*network.parameters(), *network.buffers()]
