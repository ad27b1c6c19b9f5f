"""Split errors into the kinds of TIDE, with the cost of each in mAP50.

Source: Bolya, Foley, Hays, Hoffman: TIDE: A General Toolbox for Identifying Object Detection
Errors, ECCV 2020 (arXiv:2008.08115), and the order of the tests in its authors' program.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detect.evaluation.average_precision import (
    MAX_DETECTIONS,
    average_precision_of,
    mean_over_classes,
)
from detect.evaluation.matching import Matches
from detect.evaluation.operating_point import IOU
from detect.evaluation.overlaps import Overlaps

BACKGROUND_IOU = 0.1
"""A detection that overlaps every true box by less found nothing that is there."""

KINDS = ("localisation", "classification", "duplicate", "background", "both")
"""Kinds of false positives, in the order in which they are tested; `missed` comes on top."""


@dataclass(frozen=True)
class ErrorRow:
    """One kind of error.

    Attributes:
        count: among all detections that count for AP.
        count_at_point: among those from the operating point on; NaN without one.
        ap50_gain: mAP50 with this kind put right and nothing else, less mAP50; never below 0, as
            in TIDE. Gains do not add up to 1 - mAP50.
    """

    count: int
    count_at_point: float
    ap50_gain: float


def error_split(
    matches: Matches, in_image: Overlaps, confidence: float | None
) -> Mapping[str, ErrorRow]:
    """Sort the errors at IoU 0.5 into TIDE's kinds.

    A detection without a hit is, in this order, an error of *localisation*: its highest IoU with a
    true box of its class lies in [0.1, 0.5); *classification*: it has an IoU from 0.5 with a true
    box of another class; *duplicate*: from 0.5 with one of its class, which another detection hit;
    *background*: below 0.1 with every true box; *both*: the rest, in [0.1, 0.5) with another
    class. *Missed*: a true box that is not hit, nor meant by an error of localisation or
    classification.

    Put right means: the best-scored error of localisation or classification that means a true box
    not hit becomes a hit of it, the others vanish, as do all errors of the other kinds; missed
    boxes are taken out of the count of true boxes. A class of which no box is left then keeps
    AP 0, as in TIDE.

    Args:
        matches: of all images.
        in_image: pairs of one image with any overlap, of whatever classes.
        confidence: of the operating point; None if there is none.
    """
    counts = matches.rank < MAX_DETECTIONS
    errors = _Errors(matches, in_image, counts)
    totals = errors.totals()
    at_point: Mapping[str, float] = dict.fromkeys(totals, float("nan"))
    if confidence is not None:
        kept = counts & (matches.score >= confidence)
        at_point = _Errors(matches, in_image, kept).totals()
    before = errors.map50(None)
    return {
        kind: ErrorRow(
            totals[kind], at_point[kind], float(np.maximum(0.0, errors.map50(kind) - before))
        )
        for kind in ("classification", "localisation", "both", "duplicate", "background", "missed")
    }


class _Errors:
    """The errors of those detections that count.

    Attributes:
        kind: ``(n,)`` index into `KINDS` of each detection's error; -1: a hit, or does not count.
        meant: ``(n,)`` true box that an error of localisation or classification means.
        best: ``(m,)`` best-scored such error of each true box that is not hit; n: none.
    """

    def __init__(self, matches: Matches, in_image: Overlaps, counts: NDArray[np.bool_]) -> None:
        self._matches, self._counts = matches, counts
        n, m = len(matches.score), len(matches.truth_label)
        hit = matches.hit[0]
        self._wrong = counts & (hit < 0)
        pairs = in_image[self._wrong[in_image.detection]]
        is_same = matches.label[pairs.detection] == matches.truth_label[pairs.target]
        same, of_same = _highest(pairs[is_same], n)
        other, of_other = _highest(pairs[~is_same], n)

        localisation = (same >= BACKGROUND_IOU) & (same < IOU)
        classification = other >= IOU
        tests = [
            localisation,
            classification,
            same >= IOU,
            np.maximum(same, other) < BACKGROUND_IOU,
            np.ones(n, bool),
        ]
        self.kind = np.where(self._wrong, np.argmax(tests, axis=0), -1)
        self.meant = np.where(self.kind == 0, of_same, np.where(self.kind == 1, of_other, -1))

        is_hit = np.zeros(m, bool)
        is_hit[hit[counts & (hit >= 0)]] = True
        self._free = ~is_hit
        means_free = (self.meant >= 0) & np.append(self._free, False)[self.meant]
        candidates = np.flatnonzero(means_free)
        ranked = candidates[np.argsort(-matches.score[candidates], kind="stable")]
        self.best = np.full(m, n)
        self.best[self.meant[ranked[::-1]]] = ranked[::-1]  # the last one written is the best
        self._missed = self._free & (self.best == n)

    def totals(self) -> dict[str, int]:
        """Count the errors of each kind."""
        counts = {name: int(np.sum(self.kind == k)) for k, name in enumerate(KINDS)}
        return counts | {"missed": int(self._missed.sum())}

    def map50(self, put_right: str | None) -> float:
        """mAP50 with one kind of error put right; classes without a true box left out."""
        matches = self._matches
        boxes = matches.boxes_per_class()
        label, hit, kept = matches.label, matches.hit[0] >= 0, self._counts
        left = boxes
        if put_right == "missed":
            missed = np.bincount(matches.truth_label[self._missed], minlength=len(boxes))
            left = boxes - missed
        elif put_right is not None:
            wrong = self.kind == KINDS.index(put_right)
            better = self.best[self.best < len(label)]
            better = better[wrong[better]]
            kept = kept & ~wrong
            kept[better] = True
            hit, label = hit.copy(), label.copy()
            hit[better] = True
            label[better] = matches.truth_label[self.meant[better]]
        averages = average_precision_of(label[kept], matches.score[kept], hit[kept], left)
        averages[(boxes > 0) & (left == 0)] = 0.0
        return mean_over_classes(averages)


def _highest(pairs: Overlaps, detections: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Highest IoU of each detection (0 if it has no pair), and the true box it has it with."""
    order = np.lexsort((pairs.target, pairs.iou))  # of repeated indices the last is written
    iou, target = np.zeros(detections), np.full(detections, -1, np.int64)
    iou[pairs.detection[order]] = pairs.iou[order]
    target[pairs.detection[order]] = pairs.target[order]
    return iou, target
