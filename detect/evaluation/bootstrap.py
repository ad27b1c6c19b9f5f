"""Bootstrap confidence intervals over patients: slices of one patient are not independent."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from detect.evaluation.average_precision import MAX_DETECTIONS, mean_precision
from detect.evaluation.lesion_table import index_names
from detect.evaluation.matching import IOU_THRESHOLDS, Matches

DRAWS = 1000
LEVEL = 0.95
_CELLS = 1 << 20  # draws times hits that are summed at once: bounds the memory


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
            field.name: [None if np.isnan(v) else float(v) for v in getattr(self, field.name)]
            for field in fields(self)
        }


def bootstrap_patients(
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
    patient, count = index_names(patients)
    if count < 2:
        return PatientDraws(*np.full((5, draws), np.nan))
    times = draw_times(count, draws, seed)
    kept = None if confidence is None else matches.score >= confidence
    return score_draws(matches, patient, times, kept)


def score_draws(
    matches: Matches,
    patient: NDArray[np.int64],
    times: NDArray[np.int64],
    kept: NDArray[np.bool_] | None,
) -> PatientDraws:
    """Score sets of patients.

    Args:
        matches: of all images.
        patient: ``(images,)`` index of the patient of each image.
        times: ``(draws, patients)`` how often each patient counts.
        kept: ``(n,)`` detections that count at the frozen confidence, for precision, recall and F1.
    """
    boxes = summed(matches.truth_label, patient[matches.truth_image], times, matches.num_classes)
    precision = _average_precisions(matches, patient, times, boxes)
    rates = np.full((3, len(times)), np.nan)
    if kept is not None:
        rates = _rates(matches, patient, times, boxes, kept)
    return PatientDraws(class_mean(precision[:, :, 0]), class_mean(precision.mean(axis=2)), *rates)


def draw_times(patients: int, draws: int = DRAWS, seed: int = 0) -> NDArray[np.int64]:
    """Draw how often each patient counts: ``(draws, patients)``; a row sums to `patients`."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(patients, np.full(patients, 1 / patients), draws)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % percentile interval of the draws that are defined; NaN if none is."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def summed(
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
    for label in np.flatnonzero(boxes.any(axis=0)).tolist():
        of_class = matches.of_class(label)
        counts = matches.rank[of_class] < MAX_DETECTIONS
        owner = patient[matches.image[of_class][counts]]
        hit = matches.hit[:, of_class][:, counts] >= 0
        places = np.flatnonzero(hit.any(axis=0))  # the others only lower the precision
        by_patient = counts_between(places + 1, owner, times.shape[1])
        step = max(1, _CELLS // max(1, len(places)))
        for start in range(0, len(times), step):
            some = slice(start, start + step)
            detections = np.cumsum(times[some].astype(np.float64) @ by_patient.T, axis=1)
            weight = times[some][:, owner[places]]
            true_boxes = np.maximum(boxes[some, label], 1)[:, None]
            for k, hit_at_threshold in enumerate(hit[:, places]):
                columns = np.flatnonzero(hit_at_threshold)
                hits = np.cumsum(weight[:, columns], axis=1)
                # 0/0 before the first detection that is drawn, or without a true box
                precision = hits / np.maximum(detections[:, columns], 1)
                result[some, label, k] = mean_precision(precision, hits / true_boxes)
    result[boxes == 0] = np.nan
    return result


def counts_between(
    until: NDArray[np.int64], patient: NDArray[np.int64], patients: int
) -> NDArray[np.float64]:
    """Count things in a row by patient and stretch: ``(stretches, patients)``.

    Stretch k begins where the last one ended and ends before the thing ``until[k]``; things after
    the last stretch are left out. Weighted by a draw and summed up they are the number of things
    before each end, for the price of a matrix product instead of a pass over all things a draw.
    The counts are whole, small and so exact in float64.
    """
    stretch = np.searchsorted(until, np.arange(len(patient)), side="right")
    near = stretch < len(until)
    cells = stretch[near] * patients + patient[near]
    table = np.bincount(cells, minlength=len(until) * patients)
    return table.reshape(len(until), patients).astype(np.float64)


def _rates(
    matches: Matches,
    patient: NDArray[np.int64],
    times: NDArray[np.int64],
    boxes: NDArray[np.int64],
    kept: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Class means of precision, recall and F1 of each draw: ``(3, draws)``; see ``FrozenPoint``."""
    hit = kept & (matches.hit[0] >= 0)
    owner, classes = patient[matches.image], matches.num_classes
    detections = summed(matches.label[kept], owner[kept], times, classes)
    hits = summed(matches.label[hit], owner[hit], times, classes)
    return mean_rates(hits, detections, boxes)


def mean_rates(
    hits: NDArray[np.int64], detections: NDArray[np.int64], true: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Class means of precision, recall and F1 from ``(draws, C)`` counts: ``(3, draws)``."""
    wholes = np.stack([detections, true, detections + true])
    parts = np.stack([hits, hits, 2 * hits])
    rates = np.full(wholes.shape, np.nan)
    np.divide(parts, wholes, out=rates, where=(wholes > 0) & (true > 0))
    return class_mean(rates)


def class_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis of what is defined; NaN where nothing is."""
    defined = ~np.isnan(values)
    result = np.full(values.shape[:-1], np.nan)
    total = np.where(defined, values, 0.0).sum(axis=-1)
    np.divide(total, defined.sum(axis=-1), out=result, where=defined.any(axis=-1))
    return result
