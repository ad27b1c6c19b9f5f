"""Compute average precision as COCO defines it."""

import numpy as np
from numpy.typing import NDArray

from detect.evaluation.matching import IOU_THRESHOLDS, Matches

MAX_DETECTIONS = 100
"""COCO's ``maxDets``: the best-scored detections of an image and class that count for AP."""

RECALLS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
"""The recalls at which COCO reads the precision."""


def average_precision(matches: Matches) -> NDArray[np.float64]:
    """Compute the average precision of each class at each of ``IOU_THRESHOLDS``.

    >>> from converters.core.boxes import Boxes
    >>> from detect.evaluation.matching import match
    >>> boxes = [Boxes([[0, 0, 10, 10]], [0], [1])]
    >>> average_precision(match(boxes, boxes, num_classes=1)).mean().item()
    1.0

    Source: ``COCOeval.accumulate`` of pycocotools. With the detections of all images in order of
    falling score, precision = TP / (TP + FP) and recall = TP / true boxes after each of them;
    precision is made non-increasing from the right, read at the 101 recalls 0, 0.01 … 1 (0 where
    the recall is never reached), and averaged.

    Returns:
        ``(num_classes, T)`` float64 in [0, 1]; NaN for a class without a true box, which
        pycocotools marks -1 and leaves out of every mean.
    """
    boxes = matches.boxes_per_class()
    result = np.full((matches.num_classes, len(IOU_THRESHOLDS)), np.nan)
    counts = matches.rank < MAX_DETECTIONS
    for label in np.flatnonzero(boxes).tolist():
        of_class = matches.of_class(label)
        hit = matches.hit[:, of_class][:, counts[of_class]] >= 0
        result[label] = _class_average_precision(hit, int(boxes[label]))
    return result


def _class_average_precision(hit: NDArray[np.bool_], boxes: int) -> NDArray[np.float64]:
    """AP ``(T,)`` of one class from its hits ``(T, n)`` by falling score and its true boxes."""
    true_positives = np.cumsum(hit, axis=1)
    # pycocotools adds np.spacing(1) below; without it a perfect AP is 1 and not 1 - 2e-16
    precision = true_positives / np.arange(1, hit.shape[1] + 1)
    return mean_precision(precision, true_positives / boxes)


def mean_precision(
    precision: NDArray[np.float64], recall: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Average the precision envelope over the 101 recalls.

    Args:
        precision, recall: ``(rows, n)`` after each of n detections by falling score. Those that hit
            nothing may be left out: recall stays and precision falls there, so the envelope is the
            same without them.

    Returns:
        ``(rows,)`` in [0, 1].
    """
    means: NDArray[np.float64] = precision_at_recalls(precision, recall).mean(axis=1)
    return means


def precision_at_recalls(
    precision: NDArray[np.float64], recall: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Read the precision envelope at the 101 `RECALLS`.

    Args:
        precision, recall: as for `mean_precision`.

    Returns:
        ``(rows, 101)`` in [0, 1].
    """
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # a recall beyond the last one reached has precision 0
    envelope = np.concatenate([envelope, np.zeros((len(envelope), 1))], axis=1)
    read = np.empty((len(envelope), len(RECALLS)))
    for row, (heights, reached) in enumerate(zip(envelope, recall, strict=True)):
        read[row] = heights[np.searchsorted(reached, RECALLS)]
    return read


def average_precision_of(
    label: NDArray[np.int64],
    score: NDArray[np.float64],
    hit: NDArray[np.bool_],
    boxes: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Compute the average precision of each class from a list of detections with hits.

    Args:
        label, score, hit: ``(n,)`` of the detections that count; equal scores keep their order.
        boxes: ``(num_classes,)`` true boxes that count.

    Returns:
        ``(num_classes,)`` in [0, 1]; NaN for a class without a true box.
    """
    result = np.full(len(boxes), np.nan)
    order = np.lexsort((-score, label))
    label, hit = label[order], hit[order]
    for c in np.flatnonzero(boxes).tolist():
        of_class = slice(*np.searchsorted(label, [c, c + 1]).tolist())
        places = np.flatnonzero(hit[of_class])
        hits = np.arange(1, len(places) + 1)
        result[c] = mean_precision((hits / (places + 1))[None], (hits / boxes[c])[None])[0]
    return result


def mean_over_classes(values: NDArray[np.float64]) -> float:
    """Mean of the values that are defined; NaN if none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
