"""The plan of a training: optimiser, schedules, weight average and augmentation of a family."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from detect.training.augmentation import POLICY, Augmentation

Target = dict[str, torch.Tensor]
"""Truth of one picture: `labels` ``(n,)`` int64, `boxes` ``(n, 4)`` (cx, cy, w, h) fractions."""


@dataclass(frozen=True)
class Average:
    """Exponential moving average of the weights; it is what is scored and kept.

    Attributes:
        decay: weight of the past at each step, once warmed up.
        warmup: steps; the decay is ``decay * (1 - exp(-step / warmup))``, so that the first,
            useless weights are soon forgotten.
    """

    decay: float
    warmup: float


@dataclass(frozen=True)
class Plan:
    """The plan of a family's training, over epochs that count from 0.

    Attributes:
        groups: parameter groups of AdamW, with `lr` and `weight_decay`.
        lr_factor: step → factor on each group's learning rate.
        average: of the weights.
        clip: largest norm of the gradient.
        augmentation: epoch → augmentation.
        restart: epoch that starts again from the best weights so far; None never does.
    """

    groups: list[dict[str, Any]]
    lr_factor: Callable[[int], float]
    average: Average
    clip: float
    augmentation: Callable[[int], Augmentation] = lambda epoch: POLICY
    restart: int | None = None


def group_parameters(
    network: torch.nn.Module, rates: Callable[[str, torch.nn.Parameter], tuple[float, float]]
) -> list[dict[str, Any]]:
    """Sort the parameters that learn into the groups of `Plan`.

    Args:
        network: to be trained.
        rates: name and parameter → learning rate and weight decay.
    """
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(rates(name, parameter), []).append(parameter)
    return [
        {"params": parameters, "lr": lr, "weight_decay": decay}
        for (lr, decay), parameters in groups.items()
    ]
