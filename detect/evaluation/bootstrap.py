"""Confidence intervals by drawing patients anew: slices of one patient are not independent."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from detect.evaluation.average_precision import MAX_DETECTIONS, mean_precision
from detect.evaluation.matching import IOU_THRESHOLDS, Matches

DRAWS = 1000
LEVEL = 0.95
_CELLS = 1 << 22  # draws times detections that are summed at once: bounds the memory


@dataclass(frozen=True)
class PatientDraws:
    """One value of each number for each draw of patients: ``(draws,)`` float64.

    A class without a true box among the patients of a draw is left out of that draw's means, as
    COCO leaves it out of every mean; a draw without any true box gives NaN. Precision is left out
    for a class without a detection too, as in ``FrozenPoint``.

    Attributes:
        map50, map50_95: as in ``Metrics``.
        precision, recall, f1: class means at the frozen confidence; all NaN if there is none.
    """

    map50: NDArray[np.float64]
    map50_95: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]

    def to_json(self) -> dict[str, list[float | None]]:
        """Every draw, for ``json.dump``; None for NaN."""
        return {
            one.name: [None if np.isnan(v) else float(v) for v in getattr(self, one.name)]
            for one in fields(self)
        }


def draw_patients(
    matches: Matches,
    patients: Sequence[str],
    confidence: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> PatientDraws:
    """Score sets of patients, drawn with replacement, as if each were the whole test set.

    A patient drawn k times counts as k patients with the same slices. Nothing is matched again:
    what an image's detections hit does not depend on other images, so a draw only changes how often
    each of them counts. The same patients and seed give the same draws, whatever the detections.

    Args:
        matches: of all images.
        patients: patient of each image; fewer than two leave nothing to draw, and give NaN.
        confidence: frozen beforehand, for precision, recall and F1.
        draws: how many.
        seed: of the draws.
    """
    names, patient = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
    rng = np.random.default_rng(seed)
    count = len(names)
    if count < 2:
        return PatientDraws(*np.full((5, draws), np.nan))
    times = rng.multinomial(count, np.full(count, 1 / count), draws)
    boxes = _summed(matches.truth_label, patient[matches.truth_image], times, matches.num_classes)
    precision = _average_precisions(matches, patient, times, boxes)
    rates = np.full((3, draws), np.nan)
    if confidence is not None:
        rates = _rates(matches, patient, times, boxes, confidence)
    return PatientDraws(
        _class_mean(precision[:, :, 0]), _class_mean(precision.mean(axis=2)), *rates
    )


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % percentile interval of the draws that are defined; NaN if none is."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _summed(
    label: NDArray[np.int64], patient: NDArray[np.int64], times: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Count things by class in each draw, from the class and patient of each: ``(draws, C)``."""
    patients = times.shape[1]
    table = np.bincount(patient * classes + label, minlength=patients * classes)
    return times @ table.reshape(patients, classes)


def _average_precisions(
    matches: Matches,
    patient: NDArray[np.int64],
    times: NDArray[np.int64],
    boxes: NDArray[np.int64],
) -> NDArray[np.float64]:
    """AP of each draw, class and threshold: ``(draws, C, T)``, NaN without a true box."""
    result = np.full((*boxes.shape, len(IOU_THRESHOLDS)), np.nan)
    for label in range(matches.num_classes):
        of_class = matches.of_class(label)
        counts = matches.rank[of_class] < MAX_DETECTIONS
        owner = patient[matches.image[of_class][counts]]
        hit = matches.hit[:, of_class][:, counts] >= 0
        places = np.flatnonzero(hit.any(axis=0))  # the others only lower the precision
        step = max(1, _CELLS // max(1, len(owner)))
        for start in range(0, len(times), step):
            some = slice(start, start + step)
            weight = times[some][:, owner]
            found = np.cumsum(weight, axis=1)[:, places]
            true_boxes = boxes[some, label]
            for k, hit_at_threshold in enumerate(hit[:, places]):
                own = np.flatnonzero(hit_at_threshold)
                hits = np.cumsum(weight[:, places[own]], axis=1)
                # 0/0 before the first detection that is drawn, or without a true box
                precision = hits / np.maximum(found[:, own], 1)
                recall = hits / np.maximum(true_boxes, 1)[:, None]
                result[some, label, k] = mean_precision(precision, recall)
    result[boxes == 0] = np.nan
    return result


def _rates(
    matches: Matches,
    patient: NDArray[np.int64],
    times: NDArray[np.int64],
    boxes: NDArray[np.int64],
    confidence: float,
) -> NDArray[np.float64]:
    """Class means of precision, recall and F1 of each draw: ``(3, draws)``; see ``FrozenPoint``."""
    kept = matches.score >= confidence
    hit = kept & (matches.hit[0] >= 0)
    owner, classes = patient[matches.image], matches.num_classes
    found = _summed(matches.label[kept], owner[kept], times, classes)
    hits = _summed(matches.label[hit], owner[hit], times, classes)
    wholes = np.stack([found, boxes, found + boxes])
    parts = np.stack([hits, hits, 2 * hits])
    rates = np.full(wholes.shape, np.nan)
    np.divide(parts, wholes, out=rates, where=(wholes > 0) & (boxes > 0))
    return _class_mean(rates)


def _class_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis of what is defined; NaN where nothing is."""
    defined = ~np.isnan(values)
    result = np.full(values.shape[:-1], np.nan)
    total = np.where(defined, values, 0.0).sum(axis=-1)
    np.divide(total, defined.sum(axis=-1), out=result, where=defined.any(axis=-1))
    return result
