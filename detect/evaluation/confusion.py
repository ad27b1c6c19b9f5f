"""Compute the confusion matrix with background."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detect.evaluation.matching import Matches
from detect.evaluation.operating_point import IOU
from detect.evaluation.overlaps import Overlaps, by_preference, claim


@dataclass(frozen=True)
class Confusion:
    """Confusion matrix of true boxes and detections.

    Attributes:
        confidence: detections with at least this score count.
        iou: from which a detection and a true box belong together.
        matrix: ``(classes + 1, classes + 1)`` int64, rows truth, columns detections; the last of
            either is background: the last row holds detections that belong to no true box, the
            last column true boxes that no detection belongs to. A row's sum is the true boxes of
            the class, a column's the detections of the class.
    """

    confidence: float
    iou: float
    matrix: NDArray[np.int64]


def confusion(matches: Matches, in_image: Overlaps, confidence: float) -> Confusion:
    """Match detections and true boxes of an image whatever their classes, and count.

    Source: ``ConfusionMatrix.process_batch`` in ultralytics 8.4 ``utils/metrics.py``: by falling
    score each detection takes the free true box with the highest IoU, of whatever class. There the
    IoU must be above 0.45 and the score above 0.25; here IoU 0.5 and the operating point, both
    included. Detections of equal score choose in the order of their classes.

    Args:
        matches: of all images.
        in_image: pairs of one image, of whatever classes.
        confidence: of the operating point.
    """
    turn = np.argsort(-matches.score, kind="stable")
    place = np.empty_like(turn)
    place[turn] = np.arange(len(turn))
    near = in_image[(matches.score[in_image.detection] >= confidence) & (in_image.iou >= IOU)]
    wishes = by_preference(Overlaps(place[near.detection], near.target, near.iou))
    hit = np.empty_like(turn)
    hit[turn] = claim(wishes, len(turn), len(matches.truth_label))

    kept = matches.score >= confidence
    background = matches.num_classes
    of_truth = np.full(len(matches.truth_label), background)
    of_truth[hit[hit >= 0]] = matches.label[hit >= 0]
    matrix = np.zeros((background + 1, background + 1), np.int64)
    np.add.at(matrix, (matches.truth_label, of_truth), 1)
    alone = matches.label[kept & (hit < 0)]
    matrix[background] += np.bincount(alone, minlength=background + 1)
    return Confusion(confidence, IOU, matrix)
