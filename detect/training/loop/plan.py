"""What a family tells the loop: its losses, its optimiser, its schedules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from converters.core.boxes import Boxes
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
    """How a family is trained, over epochs that count from 0.

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


class Learner(Protocol):
    """A network that the loop can train."""

    network: torch.nn.Module

    def losses(self, images: torch.Tensor, targets: list[Target]) -> dict[str, torch.Tensor]:
        """Return the weighted losses of a batch, whose sum is trained on.

        Args:
            images: ``(batch, 3, side, side)`` in [0, 1].
            targets: truth of each.
        """

    def predict_with(
        self, network: torch.nn.Module, images: Sequence[NDArray[np.uint8]]
    ) -> list[Boxes]:
        """Find boxes with a copy of the network in evaluation mode; see `Detector.predict`."""
