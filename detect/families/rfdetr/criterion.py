"""RF-DETR's losses with its published weights."""

from collections.abc import Mapping
from typing import Any

from rfdetr.models.criterion import SetCriterion
from rfdetr.models.matcher import HungarianMatcher
from torch import Tensor

from detect.families.rfdetr.network import GROUPS
from detect.training.loop.plan import Target

WEIGHTS = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}
ALPHA = 0.25


def build_criterion(classes: int) -> Any:
    """Build the matcher and the losses: IoU-aware cross entropy, L1 and GIoU, for each group."""
    matcher = HungarianMatcher(cost_class=2.0, cost_bbox=5.0, cost_giou=2.0, focal_alpha=ALPHA)
    return SetCriterion(
        classes + 1,
        matcher=matcher,
        weight_dict=WEIGHTS,
        focal_alpha=ALPHA,
        losses=["labels", "boxes"],
        group_detr=GROUPS,
        ia_bce_loss=True,
    )


def rfdetr_losses(
    criterion: Any, outputs: Mapping[str, Any], targets: list[Target]
) -> dict[str, Tensor]:
    """Return every loss, weighted, by its name and the stage it is of.

    Names are the package's: ``loss_bbox`` of the last layer, ``loss_bbox_0`` of the first,
    ``loss_bbox_enc`` of the proposals. A batch without any box gives finite losses that teach
    "nothing here".
    """
    losses = criterion(_single_precision(outputs), targets)
    return {
        name: WEIGHTS[kind] * loss
        for name, loss in losses.items()
        for kind in WEIGHTS
        if name.startswith(kind)
    }


def _single_precision(outputs: Any) -> Any:
    if isinstance(outputs, Mapping):
        return {name: _single_precision(value) for name, value in outputs.items()}
    if isinstance(outputs, list):
        return [_single_precision(value) for value in outputs]
    return outputs.float()
