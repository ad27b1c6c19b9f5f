"""Match detections to true boxes greedily, as the COCO evaluation does.

Source of the rules: ``COCOeval.evaluateImg`` and ``bbIou`` of pycocotools (box mode, area range
"all"), followed down to the order of the floating-point operations, so that an IoU that lies
exactly on a threshold falls on the same side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from detect.evaluation.overlaps import Overlaps, by_preference, claim, find_overlaps

# pycocotools' own expression: the eighth step differs from the literal 0.9 in the last bit
IOU_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)


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
        xyxy: ``(n, 4)`` float64 corners of each detection, px.
        rank: ``(n,)`` int64 place of each detection among those of its image and class, from 0.
        hit: ``(T, n)`` int64 index of the true box that the detection hits at each of
            ``IOU_THRESHOLDS``, counted through all images in order; -1 where it hits none.
        truth_image: ``(m,)`` int64 index of the image of each true box.
        truth_label: ``(m,)`` int64 class index of each true box.
        truth_xyxy: ``(m, 4)`` float64 corners of each true box, px.
    """

    num_images: int
    num_classes: int
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    xyxy: NDArray[np.float64]
    rank: NDArray[np.int64]
    hit: NDArray[np.int64]
    truth_image: NDArray[np.int64]
    truth_label: NDArray[np.int64]
    truth_xyxy: NDArray[np.float64]

    def boxes_per_class(self) -> NDArray[np.int64]:
        """Count the true boxes of each class: ``(num_classes,)`` int64."""
        return np.bincount(self.truth_label, minlength=self.num_classes).astype(np.int64)

    def images_per_class(self) -> NDArray[np.int64]:
        """Count the images with a true box of each class: ``(num_classes,)`` int64."""
        occupied = np.unique(self.truth_image * self.num_classes + self.truth_label)
        return np.bincount(occupied % self.num_classes, minlength=self.num_classes).astype(np.int64)

    def of_class(self, label: int) -> slice:
        """Index the detections of a class, highest score first."""
        return slice(*np.searchsorted(self.label, [label, label + 1]).tolist())


def match(truth: Sequence[Boxes], detections: Sequence[Boxes], num_classes: int) -> Matches:
    """Match the detections of every image to its true boxes, at each of ``IOU_THRESHOLDS``.

    >>> truth = [Boxes([[0, 0, 10, 10]], [0], [1])]
    >>> detections = [Boxes([[0, 0, 10, 8], [0, 0, 10, 10]], [0, 0], [0.9, 0.8])]
    >>> matches = match(truth, detections, num_classes=1)
    >>> matches.hit[0].tolist(), matches.hit[-1].tolist()  # at IoU 0.5 and 0.95
    ([0, -1], [-1, 0])

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
        ValueError: the two sequences differ in length, or a label or a score is out of range.
    """
    if len(truth) != len(detections):
        raise ValueError(f"{len(truth)} images of truth, {len(detections)} of detections")
    if num_classes < 1:
        raise ValueError("at least one class is needed")
    truth_image, true_boxes = _flatten(truth, num_classes, "truth")
    image, boxes = _flatten(detections, num_classes, "detections")
    if not bool(np.all((boxes.score >= 0) & (boxes.score <= 1))):  # false for NaN as well
        raise ValueError("detections: scores outside [0, 1]")

    order = np.lexsort((-boxes.score, boxes.label))  # stable, as pycocotools' mergesort
    image, boxes = image[order], boxes[order]
    truth_group = truth_image * num_classes + true_boxes.label
    group = image * num_classes + boxes.label
    pairs = find_overlaps(
        boxes.xyxy, group, true_boxes.xyxy, truth_group, len(truth) * num_classes,
        floor=IOU_THRESHOLDS[0],
    )  # fmt: skip
    return Matches(
        num_images=len(truth),
        num_classes=num_classes,
        image=image,
        label=boxes.label,
        score=boxes.score,
        xyxy=boxes.xyxy,
        rank=_rank(group),
        hit=hits_at_thresholds(pairs, len(boxes), len(true_boxes)),
        truth_image=truth_image,
        truth_label=true_boxes.label,
        truth_xyxy=true_boxes.xyxy,
    )


def _flatten(
    images: Sequence[Boxes], num_classes: int, what: str
) -> tuple[NDArray[np.int64], Boxes]:
    """Join and check the boxes of all images: their image index ``(n,)`` and the boxes."""
    empty = Boxes.empty()  # np.concatenate refuses an empty list
    count = [len(boxes) for boxes in images]
    xyxy = np.concatenate([empty.xyxy, *(boxes.xyxy for boxes in images)])
    label = np.concatenate([empty.label, *(boxes.label for boxes in images)])
    score = np.concatenate([empty.score, *(boxes.score for boxes in images)])
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


def hits_at_thresholds(
    pairs: Overlaps, detections: int, targets: int, last: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """True box hit by each detection at each of ``IOU_THRESHOLDS``: ``(T, n)`` int64, -1 for none.

    Args:
        pairs: of one class and image each; detections numbered in order of falling score.
        detections, targets: how many there are.
        last: see `by_preference`.
    """
    pairs = by_preference(pairs, last)
    hit = np.empty((len(IOU_THRESHOLDS), detections), np.int64)
    for k, threshold in enumerate(IOU_THRESHOLDS):
        pairs = pairs[pairs.iou >= threshold]  # thresholds rise: what fails here fails from here on
        hit[k] = claim(pairs, detections, targets)
    return hit
