"""Compute precision, recall and F1 at one confidence, at IoU 0.5.

Read at two confidences that must never be mixed up: the one of the best F1 on the very set being
scored (comparable with the tables of ultralytics users, optimistic by construction), and one
frozen beforehand on other data (honest).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detect.evaluation.average_precision import mean_over_classes
from detect.evaluation.matching import IOU_THRESHOLDS, Matches

IOU = float(IOU_THRESHOLDS[0])
"""The IoU from which a detection is a hit at an operating point."""

CONFIDENCES: NDArray[np.float64] = np.linspace(0.0, 1.0, 1000)
_SMOOTHING = 101  # grid points: a box a tenth of the grid wide, made odd


@dataclass(frozen=True)
class Rates:
    """Precision, recall and F1, each in [0, 1]; NaN where it is undefined."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Counts:
    """Detections that hit, detections that do not, and true boxes that no detection hits."""

    true_positives: int
    false_positives: int
    false_negatives: int

    def rates(self) -> Rates:
        """P = TP/(TP+FP), R = TP/(TP+FN), F1 = 2TP/(2TP+FP+FN); NaN for 0/0."""
        hits = self.true_positives
        return Rates(
            _ratio(hits, hits + self.false_positives),
            _ratio(hits, hits + self.false_negatives),
            _ratio(2 * hits, 2 * hits + self.false_positives + self.false_negatives),
        )


@dataclass(frozen=True)
class BestF1:
    """Rates at the confidence of the best class-mean F1 on the set being scored.

    Attributes:
        confidence: that confidence, in [0, 1]; NaN without a true box.
        mean: means over the classes that have a true box.
        per_class: one for each class; NaN for a class without a true box.
    """

    confidence: float
    mean: Rates
    per_class: tuple[Rates, ...]


@dataclass(frozen=True)
class FrozenPoint:
    """Counts at a confidence chosen beforehand.

    Attributes:
        confidence: detections with at least this score count.
        mean: means over the classes that have a true box; a class without a detection at this
            confidence has no precision and is left out of the mean precision only.
        pooled: counts over all classes together, detections of classes without a true box included.
        per_class: counts of each class.
    """

    confidence: float
    mean: Rates
    pooled: Counts
    per_class: tuple[Counts, ...]


def best_f1(matches: Matches) -> BestF1:
    """Read the rates where the mean F1 of the classes is best, as the ultralytics validator does.

    Source: ``ap_per_class`` in ultralytics 8.4 ``utils/metrics.py``. Precision and recall of each
    class, known at the scores of its detections, are interpolated linearly on 1000 confidences from
    0 to 1 (above the highest score: precision 1, recall 0; a class without a detection: both 0).
    F1 = 2PR/(P+R); its mean over the classes with a true box is smoothed by a box filter, and the
    first maximum is the confidence. The rates themselves are not smoothed; as interpolated values
    they need not be ratios of whole counts.
    """
    boxes = matches.boxes_per_class()
    present = np.flatnonzero(boxes).tolist()
    undefined = Rates(float("nan"), float("nan"), float("nan"))
    if not present:
        return BestF1(float("nan"), undefined, (undefined,) * matches.num_classes)

    precision, recall = np.stack(
        [rates_by_confidence(matches, label, int(boxes[label])) for label in present], axis=1
    )
    # ultralytics' own guard against 0/0: with it the first maximum of a plateau is the same one
    f1 = 2 * precision * recall / (precision + recall + 1e-16)
    padded = np.pad(f1.mean(axis=0), _SMOOTHING // 2, mode="edge")
    best = int(np.convolve(padded, np.full(_SMOOTHING, 1 / _SMOOTHING), mode="valid").argmax())

    per_class = [undefined] * matches.num_classes
    for row, label in enumerate(present):
        per_class[label] = Rates(
            float(precision[row, best]), float(recall[row, best]), float(f1[row, best])
        )
    means = precision[:, best].mean(), recall[:, best].mean(), f1[:, best].mean()
    return BestF1(float(CONFIDENCES[best]), Rates(*map(float, means)), tuple(per_class))


def rates_by_confidence(matches: Matches, label: int, boxes: int) -> NDArray[np.float64]:
    """Precision and recall of one class on the grid of confidences: ``(2, 1000)``."""
    of_class = matches.of_class(label)
    score = matches.score[of_class]
    if not len(score):
        return np.zeros((2, len(CONFIDENCES)))
    hits = np.cumsum(matches.hit[0, of_class] >= 0)
    # np.interp wants rising abscissae; negated, and not reversed, so that at a confidence shared by
    # several detections it reads the value after the last of them
    precision = np.interp(-CONFIDENCES, -score, hits / np.arange(1, len(score) + 1), left=1)
    recall = np.interp(-CONFIDENCES, -score, hits / boxes, left=0)
    return np.stack([precision, recall])


def at_confidence(matches: Matches, confidence: float) -> FrozenPoint:
    """Count hits, false positives and misses among the detections with score >= confidence.

    Args:
        matches: detections and the true boxes they hit.
        confidence: in [0, 1], chosen on other data.

    Raises:
        ValueError: the confidence is outside [0, 1].
    """
    if not 0 <= confidence <= 1:
        raise ValueError(f"confidence {confidence} outside [0, 1]")
    kept = matches.score >= confidence
    label, hit = matches.label[kept], matches.hit[0, kept] >= 0
    boxes = matches.boxes_per_class()
    true_positives = np.bincount(label[hit], minlength=matches.num_classes)
    false_positives = np.bincount(label[~hit], minlength=matches.num_classes)
    table = np.stack([true_positives, false_positives, boxes - true_positives], axis=1)
    per_class = tuple(Counts(*row) for row in table.tolist())

    rates = [per_class[label].rates() for label in np.flatnonzero(boxes).tolist()]
    mean = Rates(
        mean_over_classes(np.array([rate.precision for rate in rates])),
        mean_over_classes(np.array([rate.recall for rate in rates])),
        mean_over_classes(np.array([rate.f1 for rate in rates])),
    )
    return FrozenPoint(confidence, mean, Counts(*table.sum(axis=0).tolist()), per_class)


def _ratio(part: int, whole: int) -> float:
    """Divide; NaN for 0/0."""
    return part / whole if whole else float("nan")
