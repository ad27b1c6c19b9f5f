"""Score boxes by size: COCO's pixel areas, and lesion diameters in mm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detect.evaluation.average_precision import (
    MAX_DETECTIONS,
    average_precision_of,
    mean_over_classes,
)
from detect.evaluation.lesion_table import DIAMETERS_MM, in_range
from detect.evaluation.matching import IOU_THRESHOLDS, Matches, hits_at_thresholds
from detect.evaluation.overlaps import Overlaps

COCO_AREAS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""pycocotools' ``areaRng`` in px², both ends included: an area of just 32² is small and medium."""


@dataclass(frozen=True)
class AreaRow:
    """True boxes of one of COCO's size ranges; NaN where a number is undefined.

    Attributes:
        boxes: true boxes of that area.
        ap50, ap50_95: as pycocotools has them for that ``areaRng``, mean over the classes with
            such boxes.
    """

    boxes: int
    ap50: float
    ap50_95: float


@dataclass(frozen=True)
class DiameterRow:
    """True boxes of lesions of one range of diameters; NaN where a number is undefined.

    Attributes:
        low, high: mm; from `low` on, below `high`.
        boxes: true boxes of such lesions.
        recall_best, recall_frozen: share of them that is hit at IoU 0.5 at the confidence of the
            best F1, and at the frozen one (NaN if there is none).
        ap50: average precision over these boxes alone: hits of other true boxes do not count, and
            every detection without a hit does, for what is not there has no diameter. Mean over
            the classes with such boxes.
    """

    low: float
    high: float
    boxes: int
    recall_best: float
    recall_frozen: float
    ap50: float


def by_coco_area(
    matches: Matches, same_class: Overlaps, area: NDArray[np.float64]
) -> Mapping[str, AreaRow]:
    """Compute average precision in COCO's size ranges.

    Source: ``COCOeval.evaluateImg`` of pycocotools. True boxes outside the range are ignored: a
    detection takes one only if no other is left, and neither counts then. A detection without a
    hit counts if its own area lies in the range.

    Args:
        matches: of all images.
        same_class: pairs of one class with IoU of 0.5 at least.
        area: ``(m,)`` of each true box, px²; COCO's ``area``.
    """
    own_area = area_of(matches.xyxy)
    counts = matches.rank < MAX_DETECTIONS
    rows = {}
    for name, (low, high) in COCO_AREAS.items():
        ignored = (area < low) | (area > high)
        boxes = np.bincount(matches.truth_label[~ignored], minlength=matches.num_classes)
        hit = hits_at_thresholds(same_class, len(matches.score), len(area), ignored)
        outside = (own_area < low) | (own_area > high)
        averages = np.empty((len(IOU_THRESHOLDS), matches.num_classes))
        for k, at_threshold in enumerate(hit):
            drop = np.where(at_threshold >= 0, np.append(ignored, False)[at_threshold], outside)
            kept = counts & ~drop
            averages[k] = average_precision_of(
                matches.label[kept], matches.score[kept], at_threshold[kept] >= 0, boxes
            )
        rows[name] = AreaRow(
            int(boxes.sum()),
            mean_over_classes(averages[0]),
            mean_over_classes(averages.mean(axis=0)),
        )
    return rows


def by_diameter(
    matches: Matches,
    diameter_mm: NDArray[np.float64],
    best_confidence: float,
    frozen_confidence: float | None,
) -> Sequence[DiameterRow]:
    """Compute recall and average precision by the diameter of each true box's lesion.

    Args:
        matches: of all images.
        diameter_mm: ``(m,)`` longest axial diameter of the 3D lesion of each true box; NaN: not
            known, in no range.
        best_confidence: of the best F1; NaN if there is none.
        frozen_confidence: chosen on other data.
    """
    target = matches.hit[0]
    score_of_box = np.full(len(diameter_mm), -np.inf)
    score_of_box[target[target >= 0]] = matches.score[target >= 0]  # a box is hit once
    counts = matches.rank < MAX_DETECTIONS
    rows = []
    for low, high in pairwise(DIAMETERS_MM):
        inside = in_range(diameter_mm, low, high)
        boxes = np.bincount(matches.truth_label[inside], minlength=matches.num_classes)
        kept = counts & ((target < 0) | np.append(inside, False)[target])
        average = average_precision_of(
            matches.label[kept], matches.score[kept], target[kept] >= 0, boxes
        )
        score = score_of_box[inside]
        rows.append(
            DiameterRow(
                low, high, len(score),
                _share_from(score, best_confidence),
                _share_from(score, frozen_confidence),
                mean_over_classes(average),
            )
        )  # fmt: skip
    return rows


def _share_from(score: NDArray[np.float64], confidence: float | None) -> float:
    if confidence is None or np.isnan(confidence) or not len(score):
        return float("nan")
    return float(np.mean(score >= confidence))


def area_of(xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area of each box, px²."""
    return (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
