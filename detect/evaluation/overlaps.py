"""Find overlapping detections and true boxes, and let each detection take one box."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ANY_OVERLAP = float(np.finfo(np.float64).tiny)
"""The lowest IoU of boxes that share anything."""

# Pairs whose overlap is computed at once: bounds the memory on crowded images, fits the cache
_PAIRS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Overlaps:
    """Pairs of a detection and a true box of one image.

    Attributes:
        detection: ``(p,)`` int64 index of the detection.
        target: ``(p,)`` int64 index of the true box.
        iou: ``(p,)`` float64 intersection over union.
    """

    detection: NDArray[np.int64]
    target: NDArray[np.int64]
    iou: NDArray[np.float64]

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.iou)

    def __getitem__(self, index: NDArray[np.generic] | slice) -> "Overlaps":
        """Select pairs by mask, indices or slice."""
        return Overlaps(self.detection[index], self.target[index], self.iou[index])


def find_overlaps(
    xyxy: NDArray[np.float64],
    group: NDArray[np.int64],
    truth_xyxy: NDArray[np.float64],
    truth_group: NDArray[np.int64],
    num_groups: int,
    floor: float,
) -> Overlaps:
    """Find the pairs of one group with an IoU of at least `floor`, ordered by detection.

    Args:
        xyxy, truth_xyxy: ``(n, 4)`` and ``(m, 4)`` px.
        group, truth_group: ``(n,)`` and ``(m,)``: only boxes of one group make pairs.
        num_groups: groups count from 0 to one less than this.
        floor: above 0; `ANY_OVERLAP` for every pair that overlaps.
    """
    by_group = np.argsort(truth_group, kind="stable")
    per_group = np.bincount(truth_group, minlength=num_groups)
    first = np.cumsum(per_group) - per_group
    partners = per_group[group]
    ends = np.cumsum(partners)
    boxes, truth_boxes = _sides(xyxy), _sides(truth_xyxy[by_group])

    chunks = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    start = 0
    while start < len(xyxy):
        done = ends[start] - partners[start]
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        detection = np.repeat(np.arange(start, stop), partners[start:stop])
        nth = np.arange(len(detection)) - (ends - partners)[detection] + done
        target = first[group[detection]] + nth
        iou = _iou(boxes[:, detection], truth_boxes[:, target])
        near = iou >= floor
        chunks.append((detection[near], by_group[target[near]], iou[near]))
        start = stop
    detections, targets, ious = zip(*chunks, strict=True)
    return Overlaps(np.concatenate(detections), np.concatenate(targets), np.concatenate(ious))


def _sides(xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Left, top, right, bottom and area: ``(5, n)``, rounded as if the boxes came as x, y, w, h."""
    left, top = xyxy[:, 0], xyxy[:, 1]
    width, height = xyxy[:, 2] - left, xyxy[:, 3] - top
    return np.stack([left, top, width + left, height + top, width * height])


def _iou(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of ``(5, n)`` sides with as many others: ``(n,)``.

    Operation by operation ``bbIou`` of pycocotools' maskApi.c; 0 where the boxes do not overlap.
    """
    width = np.minimum(boxes[2], others[2]) - np.maximum(boxes[0], others[0])
    height = np.minimum(boxes[3], others[3]) - np.maximum(boxes[1], others[1])
    intersection = np.where((width > 0) & (height > 0), width * height, 0.0)
    union = boxes[4] + others[4] - intersection
    iou: NDArray[np.float64] = np.zeros_like(union)
    np.divide(intersection, union, out=iou, where=intersection > 0)
    return iou


def by_preference(pairs: Overlaps, last: NDArray[np.bool_] | None = None) -> Overlaps:
    """Pairs by detection, and for each detection in the order in which it wants its targets.

    The highest IoU comes first; among equals the true box listed last, as in pycocotools.

    Args:
        pairs: in any order.
        last: ``(m,)`` true boxes that a detection takes only if it can have no other; pycocotools
            treats boxes to be ignored so.
    """
    late = np.zeros(len(pairs), bool) if last is None else last[pairs.target]
    return pairs[np.lexsort((-pairs.target, -pairs.iou, late, pairs.detection))]


def claim(pairs: Overlaps, detections: int, targets: int) -> NDArray[np.int64]:
    """Let the detections choose in turn: ``(detections,)`` int64 target of each, -1 for none.

    The pairs come by detection in order of turn, and for each detection its best target first.
    Instead of one turn after the other, all groups go at once, in rounds: a detection may take its
    best free target as soon as no earlier undecided detection is near that target, for then nobody
    can still snatch it. The first undecided detection always may, so every round makes progress;
    in practice nearly all detections are decided in the first.
    """
    hit = np.full(detections, -1, np.int64)
    detection, target = pairs.detection, pairs.target
    taken = np.zeros(targets, bool)
    earliest = np.empty(targets, np.int64)
    while len(detection):
        # of repeated indices the last one is written: reversed, the earliest detection stays
        earliest[target[::-1]] = detection[::-1]
        best = np.ones(len(detection), bool)
        best[1:] = detection[1:] != detection[:-1]
        safe = best & (earliest[target] == detection)
        hit[detection[safe]] = target[safe]
        taken[target[safe]] = True
        undecided = (hit[detection] < 0) & ~taken[target]
        detection, target = detection[undecided], target[undecided]
    return hit
