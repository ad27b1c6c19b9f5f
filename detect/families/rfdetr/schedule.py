"""RF-DETR's optimiser: how fast each part learns, and when."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from rfdetr.config import TrainConfig

from detect.training.loop.plan import group_parameters

_PUBLISHED = {name: field.default for name, field in TrainConfig.model_fields.items()}
LR: float = _PUBLISHED["lr"]
WEIGHT_DECAY: float = _PUBLISHED["weight_decay"]
BACKBONE_LAYERS = 12


def parameter_groups(network: Any, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Sort the parameters that learn by learning rate and weight decay, as published.

    The backbone learns at 1.5 · 0.7² of the rate, times 0.8 for each of its layers above, and the
    decoder at 0.7 of it.
    """
    rates = SimpleNamespace(
        lr_encoder=lr * _PUBLISHED["lr_encoder"] / LR,
        lr_vit_layer_decay=_PUBLISHED["lr_vit_layer_decay"],
        lr_component_decay=_PUBLISHED["lr_component_decay"],
        weight_decay=weight_decay,
        out_feature_indexes=[BACKBONE_LAYERS],
    )
    backbone = network.backbone[0].get_named_param_lr_pairs(rates)

    def rates_of(name: str, _: object) -> tuple[float, float]:
        if name in backbone:
            return backbone[name]["lr"], backbone[name]["weight_decay"]
        in_decoder = name.startswith("transformer.decoder.")
        return lr * rates.lr_component_decay if in_decoder else lr, weight_decay

    return group_parameters(network, rates_of)


def warm_constant(epochs: int, steps: int, warmup_epochs: float) -> Callable[[int], float]:
    """Return step → factor on the learning rate: a linear rise, then constant as published.

    The rise takes a fifth of the training at most. The average of the weights does the rest.

    Args:
        epochs: of the training.
        steps: of an epoch.
        warmup_epochs: how long the rise shall take.
    """
    rise = min(warmup_epochs, epochs / 5) * steps
    return lambda step: min((step + 1) / (rise + 1), 1.0)
