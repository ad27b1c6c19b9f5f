"""Which detection hits which true box: the greedy matching of the COCO evaluation.

Source of the rules: ``COCOeval.evaluateImg`` and ``bbIou`` of pycocotools (box mode, area range
"all"), followed down to the order of the floating-point operations, so that an IoU that lies
exactly on a threshold falls on the same side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detect.boxes import Boxes

# pycocotools' own expression: the eighth step differs from the literal 0.9 in the last bit
IOU_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)

# Pairs whose overlap is computed at once: bounds the memory on crowded images, fits the cache
_PAIRS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Matches:
    """All detections of a set of images, and the true box that each one hits.

    The n detections are ordered by class, then by score from high to low; equal scores keep the
    order in which they were given, image by image. T is the number of IoU thresholds.

    Attributes:
        num_images: images in the set, those without any box included.
        num_classes: classes, those without any box included.
        image: ``(n,)`` int64 index of the image of each detection.
        label: ``(n,)`` int64 class index, ascending.
        score: ``(n,)`` float64 confidence in [0, 1].
        rank: ``(n,)`` int64 place of each detection among those of its image and class, from 0.
        hit: ``(T, n)`` int64 index of the true box that the detection hits at each of
            ``IOU_THRESHOLDS``, counted through all images in order; -1 where it hits none.
        truth_image: ``(m,)`` int64 index of the image of each true box.
        truth_label: ``(m,)`` int64 class index of each true box.
    """

    num_images: int
    num_classes: int
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    rank: NDArray[np.int64]
    hit: NDArray[np.int64]
    truth_image: NDArray[np.int64]
    truth_label: NDArray[np.int64]

    def boxes_per_class(self) -> NDArray[np.int64]:
        """Count the true boxes of each class: ``(num_classes,)`` int64."""
        return np.bincount(self.truth_label, minlength=self.num_classes).astype(np.int64)

    def images_per_class(self) -> NDArray[np.int64]:
        """Count the images with a true box of each class: ``(num_classes,)`` int64."""
        occupied = np.unique(self.truth_image * self.num_classes + self.truth_label)
        return np.bincount(occupied % self.num_classes, minlength=self.num_classes).astype(np.int64)

    def of_class(self, label: int) -> slice:
        """Where the detections of one class lie in the arrays, highest score first."""
        return slice(*np.searchsorted(self.label, [label, label + 1]).tolist())


def match(truth: Sequence[Boxes], detections: Sequence[Boxes], num_classes: int) -> Matches:
    """Match the detections of every image to its true boxes, at each of ``IOU_THRESHOLDS``.

    Within one image and class, detections choose in order of falling score; each takes the free
    true box with the highest IoU at or above the threshold, among equals the one listed last. A
    detection that finds none is a false positive, a second one on the same box included. A choice
    never depends on lower scores, so the first k of an image and class are matched as if the
    others did not exist, and any ``maxDets`` is a cut on ``Matches.rank`` afterwards.

    pycocotools leaves out boxes above 1e10 px² (100,000 px square); here they count like any other.

    Args:
        truth: one ``Boxes`` an image, px; scores are not read.
        detections: one ``Boxes`` an image, px, in the same order.
        num_classes: labels run from 0 to ``num_classes - 1``.

    Raises:
        ValueError: the two sequences differ in length, or boxes are malformed.
    """
    if len(truth) != len(detections):
        raise ValueError(f"{len(truth)} images of truth, {len(detections)} of detections")
    if num_classes < 1:
        raise ValueError("at least one class is needed")
    truth_image, true_boxes = _flatten(truth, num_classes, "truth")
    image, found = _flatten(detections, num_classes, "detections")
    if not bool(np.all((found.score >= 0) & (found.score <= 1))):  # false for NaN as well
        raise ValueError("detections: scores outside [0, 1]")

    order = np.lexsort((-found.score, found.label))  # stable, as pycocotools' mergesort
    image, found = image[order], found[order]
    truth_group = truth_image * num_classes + true_boxes.label
    group = image * num_classes + found.label
    return Matches(
        num_images=len(truth),
        num_classes=num_classes,
        image=image,
        label=found.label,
        score=found.score,
        rank=_rank(group),
        hit=_hits(found.xyxy, group, true_boxes.xyxy, truth_group, len(truth) * num_classes),
        truth_image=truth_image,
        truth_label=true_boxes.label,
    )


def _flatten(
    images: Sequence[Boxes], num_classes: int, what: str
) -> tuple[NDArray[np.int64], Boxes]:
    """Join and check the boxes of all images: their image index ``(n,)`` and the boxes."""
    empty = Boxes.empty()  # np.concatenate refuses an empty list
    count = [len(boxes) for boxes in images]
    for boxes, n in zip(images, count, strict=True):
        if boxes.xyxy.shape != (n, 4) or boxes.label.shape != (n,) or boxes.score.shape != (n,):
            raise ValueError(f"{what}: xyxy, label and score of an image differ in length")
    xyxy = np.concatenate([empty.xyxy, *(boxes.xyxy for boxes in images)])
    label = np.concatenate([empty.label, *(boxes.label for boxes in images)])
    score = np.concatenate([empty.score, *(boxes.score for boxes in images)])
    if not np.issubdtype(label.dtype, np.integer):
        raise ValueError(f"{what}: labels are not integers")
    if not np.isfinite(xyxy).all() or bool((xyxy[:, 2:] < xyxy[:, :2]).any()):
        raise ValueError(f"{what}: boxes that are not finite, or end before they begin")
    if bool(((label < 0) | (label >= num_classes)).any()):
        raise ValueError(f"{what}: labels outside 0 to {num_classes - 1}")
    return np.repeat(np.arange(len(images)), count), Boxes(xyxy, label, score)


def _rank(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each element among those of the same group, in order of appearance, from 0."""
    order = np.argsort(group, kind="stable")
    start = np.searchsorted(group[order], group[order])
    rank = np.empty_like(group)
    rank[order] = np.arange(len(group)) - start
    return rank


def _hits(
    xyxy: NDArray[np.float64],
    group: NDArray[np.int64],
    truth_xyxy: NDArray[np.float64],
    truth_group: NDArray[np.int64],
    num_groups: int,
) -> NDArray[np.int64]:
    """True box hit by each detection at each threshold: ``(T, n)`` int64, -1 for none.

    Detections ``(n, 4)`` must be in order of falling score within a group; group ``(n,)`` and
    truth_group ``(m,)`` number the pairs of image and class.
    """
    detection, target, iou = _overlapping_pairs(xyxy, group, truth_xyxy, truth_group, num_groups)
    preference = np.lexsort((-target, -iou, detection))
    detection, target, iou = detection[preference], target[preference], iou[preference]

    hit = np.full((len(IOU_THRESHOLDS), len(xyxy)), -1, np.int64)
    for threshold, hit_at_threshold in zip(IOU_THRESHOLDS, hit, strict=True):
        near = iou >= threshold  # thresholds rise, so what fails here fails from here on
        detection, target, iou = detection[near], target[near], iou[near]
        _claim(detection, target, hit_at_threshold, len(truth_xyxy))
    return hit


def _overlapping_pairs(
    xyxy: NDArray[np.float64],
    group: NDArray[np.int64],
    truth_xyxy: NDArray[np.float64],
    truth_group: NDArray[np.int64],
    num_groups: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of one group with an IoU at or above the lowest threshold: detection, truth, IoU."""
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
        near = iou >= IOU_THRESHOLDS[0]
        chunks.append((detection[near], by_group[target[near]], iou[near]))
        start = stop
    detections, targets, ious = zip(*chunks, strict=True)
    return np.concatenate(detections), np.concatenate(targets), np.concatenate(ious)


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


def _claim(
    detection: NDArray[np.int64],
    target: NDArray[np.int64],
    hit: NDArray[np.int64],
    num_targets: int,
) -> None:
    """Let the detections choose in turn; write the chosen targets into ``hit``.

    The pairs come by detection in order of turn, and for each detection its best target first.
    Instead of one turn after the other, all groups go at once, in rounds: a detection may take its
    best free target as soon as no earlier undecided detection is near that target, for then nobody
    can still snatch it. The first undecided detection always may, so every round makes progress;
    in practice nearly all detections are decided in the first.
    """
    taken = np.zeros(num_targets, bool)
    earliest = np.empty(num_targets, np.int64)
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
