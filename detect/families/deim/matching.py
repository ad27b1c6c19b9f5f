"""Match queries with boxes."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_convert, generalized_box_iou

from detect.training.loop.plan import Target

CLASS_COST, L1_COST, GIOU_COST = 2.0, 5.0, 2.0
ALPHA, GAMMA = 0.25, 2.0  # focal cost of the class
Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]  # queries, boxes: one pair an entry


@torch.no_grad()
def match(
    logits: torch.Tensor, boxes: torch.Tensor, targets: Sequence[Target]
) -> list[list[Pairs]]:
    """Assign each box to one query at least cost (Hungarian method), layer by layer.

    Args:
        logits: ``(layers, batch, queries, classes)``.
        boxes: ``(layers, batch, queries, 4)`` (cx, cy, w, h) fractions.
        targets: truth of each picture.

    Returns:
        ``[layer][picture]`` pairs, queries in rising order; there are fewer pairs than boxes only
        where there are fewer queries.
    """
    matched: list[list[Pairs]] = [[] for _ in logits]
    for k, target in enumerate(targets):
        costs = _cost(logits[:, k].float(), boxes[:, k].float(), target).cpu().numpy()
        for layer, cost in zip(matched, costs, strict=True):
            queries, columns = linear_sum_assignment(cost)
            layer.append((queries.astype(np.int64), columns.astype(np.int64)))
    return matched


def _cost(logits: torch.Tensor, boxes: torch.Tensor, target: Target) -> torch.Tensor:
    """Cost of each query for each box, ``(layers, queries, boxes)``."""
    p = logits.sigmoid()[..., target["labels"]]
    present = ALPHA * (1 - p) ** GAMMA * -(p + 1e-8).log()
    absent = (1 - ALPHA) * p**GAMMA * -(1 - p + 1e-8).log()
    truth = target["boxes"].float()
    flat = boxes.flatten(0, 1)
    corners = box_convert(flat, "cxcywh", "xyxy"), box_convert(truth, "cxcywh", "xyxy")
    l1 = torch.cdist(flat, truth, p=1).view(p.shape)
    giou = generalized_box_iou(*corners).view(p.shape)
    cost: torch.Tensor = CLASS_COST * (present - absent) + L1_COST * l1 - GIOU_COST * giou
    return cost.nan_to_num(1.0)


def unite(matchings: Sequence[Sequence[Pairs]]) -> list[Pairs]:
    """Join the matchings of several layers: for each query the box that most layers gave it.

    D-FINE's "global optimal" set. A box may be answered for by several queries. At a tie the box
    with the lower number stays.

    Args:
        matchings: ``[layer][picture]`` pairs.

    Returns:
        Pairs of each picture.
    """
    united = []
    for layers in zip(*matchings, strict=True):
        pairs = np.stack([np.concatenate(side) for side in zip(*layers, strict=True)], axis=1)
        unique, votes = np.unique(pairs, axis=0, return_counts=True)
        ranked = unique[np.argsort(-votes, kind="stable")]
        queries, first = np.unique(ranked[:, 0], return_index=True)
        united.append((queries, ranked[first, 1]))
    return united
