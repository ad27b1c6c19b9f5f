"""RF-DETR's optimiser: how fast each part learns, and when."""

from collections.abc import Callable
from typing import Any

from torch import nn

LR, WEIGHT_DECAY = 1e-4, 1e-4
BACKBONE_FACTOR = 1.5  # of the learning rate
COMPONENT_DECAY = 0.7  # once for the decoder, twice for the backbone
LAYER_DECAY = 0.8  # for each layer of the backbone above
_TOP = 14  # layer number of what lies above the backbone's 12 layers, as published
_BACKBONE, _DECODER = "backbone.0.encoder.", "transformer.decoder."
_BARE = ("gamma", "bias", "norm", "embeddings")  # of the backbone: what does not decay


def parameter_groups(
    network: nn.Module, lr: float, weight_decay: float, pretrained: bool
) -> list[dict[str, Any]]:
    """Sort the parameters that learn by learning rate and weight decay, as published.

    Lower layers of a pretrained backbone learn slower. A fresh one has nothing to keep, and learns
    at the full rate as a whole. The groups are the same either way, so that a run can be resumed
    without knowing what it started from: the optimiser's state brings the rates along.
    """
    groups: dict[tuple[str | int, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            bare = name.startswith(_BACKBONE) and any(part in name for part in _BARE)
            key = (_part(name), 0.0 if bare else weight_decay)
            groups.setdefault(key, []).append(parameter)
    return [
        {"params": own, "lr": lr * _factor(part, pretrained), "weight_decay": decay}
        for (part, decay), own in groups.items()
    ]


def _part(name: str) -> str | int:
    """Name the part a parameter belongs to: a layer of the backbone, the decoder, or the rest."""
    if not name.startswith(_BACKBONE):
        return "decoder" if name.startswith(_DECODER) else "rest"
    if "embeddings" in name:
        return 0
    _, _, below = name.partition(".layer.")
    return int(below.split(".")[0]) + 1 if below else _TOP


def _factor(part: str | int, pretrained: bool) -> float:
    if isinstance(part, str):
        return COMPONENT_DECAY if part == "decoder" else 1.0
    if not pretrained:
        return 1.0
    return float(BACKBONE_FACTOR * COMPONENT_DECAY**2 * LAYER_DECAY ** (_TOP - part))


def warm_constant(epochs: int, steps_per_epoch: int, warmup_epochs: float) -> Callable[[int], float]:
    """Return step → factor on the learning rate: a linear rise, then constant as published.

    The rise takes a fifth of the training at most. The average of the weights does the rest.
    """
    rise = min(warmup_epochs, epochs / 5) * steps_per_epoch
    return lambda step: min((step + 1) / (rise + 1), 1.0)
