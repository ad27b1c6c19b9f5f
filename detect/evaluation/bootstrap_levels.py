"""Bootstrap FROC, lesion and case numbers over patients; see `bootstrap`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detect.evaluation.bootstrap import (
    DRAWS,
    class_mean,
    counts_between,
    draw_times,
    mean_rates,
    summed,
)
from detect.evaluation.cases import CaseTable
from detect.evaluation.froc import PER_IMAGE, PER_SCAN, RuleHits
from detect.evaluation.lesion_table import Lesions, index_names
from detect.evaluation.lesions import score_of_lesions
from detect.evaluation.matching import Matches

_CELLS = 1 << 20  # draws times hits that are summed at once: bounds the memory


@dataclass(frozen=True)
class LevelDraws:
    """One value of each number for each draw of patients: ``(draws,)`` float64, NaN for 0/0.

    A patient drawn k times counts as k patients with the same images and scans.

    Attributes:
        froc_image, froc_scan: mean sensitivity over boxes, as in `Froc`.
        lesion_sensitivity, lesion_froc: as in `LesionLevel`.
        case_sensitivity, case_specificity, case_auroc: as in `CaseLevel`.
        diagnosis_accuracy, diagnosis_precision, diagnosis_recall, diagnosis_f1: macro means, over
            the classes that a case of the draw has.
    """

    froc_image: NDArray[np.float64]
    froc_scan: NDArray[np.float64]
    lesion_sensitivity: NDArray[np.float64]
    lesion_froc: NDArray[np.float64]
    case_sensitivity: NDArray[np.float64]
    case_specificity: NDArray[np.float64]
    case_auroc: NDArray[np.float64]
    diagnosis_accuracy: NDArray[np.float64]
    diagnosis_precision: NDArray[np.float64]
    diagnosis_recall: NDArray[np.float64]
    diagnosis_f1: NDArray[np.float64]


def bootstrap_levels(
    matches: Matches,
    patients: Sequence[str],
    hits: RuleHits,
    lesions: Lesions,
    table: CaseTable,
    confidence: float | None,
    draws: int = DRAWS,
    seed: int = 0,
) -> LevelDraws:
    """Score sets of patients, the same ones as `bootstrap_patients` draws with the same seed.

    Args:
        matches: of all images.
        patients: patient of each image; fewer than two leave nothing to draw, and give NaN.
        found: under the hit rule.
        lesions: of the set.
        table: of its cases.
        confidence: of the operating point; None if there is none.
        draws, seed: how many, and of what.
    """
    patient, count = index_names(patients)
    if count < 2:
        return LevelDraws(*np.full((11, draws), np.nan))
    times = draw_times(count, draws, seed)
    images = times @ np.bincount(patient, minlength=count)
    scans = times @ np.bincount(table.patient, minlength=count)
    false = _Scored(matches.score[hits.false], patient[matches.image[hits.false]])
    boxes = _Scored(hits.score, patient[matches.truth_image])
    of_lesions = _Scored(score_of_lesions(lesions, hits), lesions.patient)
    froc_image, froc_scan = _mean_sensitivities(
        boxes, false, times, [(images, PER_IMAGE), (scans, PER_SCAN)]
    )
    (lesion_froc,) = _mean_sensitivities(of_lesions, false, times, [(scans, PER_SCAN)])
    sick, highest = table.sick, table.highest
    at_point = np.full((7, draws), np.nan)
    if confidence is not None:
        called = highest >= confidence
        at_point = np.stack(
            [
                _share(of_lesions.score >= confidence, lesions.patient, times),
                _share(called[sick], table.patient[sick], times),
                _share(~called[~sick], table.patient[~sick], times),
                *_diagnosis(table, confidence, times),
            ]
        )
    auroc = _auroc(sick, highest, times[:, table.patient])
    return LevelDraws(
        froc_image, froc_scan, at_point[0], lesion_froc, at_point[1], at_point[2], auroc,
        *at_point[3:],
    )  # fmt: skip


@dataclass(frozen=True)
class _Scored:
    """Things with a score ``(n,)`` and the patient ``(n,)`` they belong to."""

    score: NDArray[np.float64]
    patient: NDArray[np.int64]

    def falling(self) -> "_Scored":
        order = np.argsort(-self.score, kind="stable")
        return _Scored(self.score[order], self.patient[order])


def _mean_sensitivities(
    targets: _Scored,
    false: _Scored,
    times: NDArray[np.int64],
    wanted: Sequence[tuple[NDArray[np.int64], Sequence[float]]],
) -> list[NDArray[np.float64]]:
    """Mean sensitivity of each draw at each wanted ``(draws,)`` units and rates; see `froc`.

    A target counts at a rate if the false positives that score as high or higher are at most so
    many. Those between two targets are counted by patient once; a draw weighs the patients.
    """
    draws, patients = times.shape
    total = _divisor(times @ np.bincount(targets.patient, minlength=patients))
    targets, false = targets.falling(), false.falling()
    hits = int(np.sum(targets.score > -np.inf))
    score, owner = targets.score[:hits], targets.patient[:hits]
    until = np.searchsorted(-false.score, -score, side="right")  # false positives at that score
    by_patient = counts_between(until, false.patient, patients)
    results = [np.empty(draws) for _ in wanted]
    step = max(1, _CELLS // max(1, hits))
    for start in range(0, draws, step):
        some = slice(start, start + step)
        weights = times[some].astype(np.float64)
        false_so_far = np.cumsum(weights @ by_patient.T, axis=1)
        detected = np.cumsum(weights[:, owner], axis=1)
        detected = np.hstack([np.zeros((len(detected), 1)), detected])
        for result, (units, rates) in zip(results, wanted, strict=True):
            allowed = np.outer(units[some], rates) + 1e-9
            for row, limits in enumerate(allowed):
                reached = np.searchsorted(false_so_far[row], limits, side="right")
                result[start + row] = detected[row, reached].mean()
    return [result / total for result in results]


def _share(
    yes: NDArray[np.bool_], patient: NDArray[np.int64], times: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Share of the things that are so, in each draw."""
    counts = [np.bincount(p, minlength=times.shape[1]) for p in (patient[yes], patient)]
    return np.asarray((times @ counts[0]) / _divisor(times @ counts[1]), np.float64)


def _divisor(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Counts to divide by; NaN for 0."""
    return np.where(counts > 0, counts, np.nan)


def _auroc(
    truth: NDArray[np.bool_], score: NDArray[np.float64], weight: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Area under the ROC curve in each draw; ``weight`` ``(draws, cases)`` counts each case."""
    above = score[truth][:, None] > score[~truth]
    equal = score[truth][:, None] == score[~truth]
    positives, negatives = weight[:, truth], weight[:, ~truth]
    wins = ((positives @ (above + 0.5 * equal)) * negatives).sum(axis=1)
    return np.asarray(wins / _divisor(positives.sum(axis=1) * negatives.sum(axis=1)), np.float64)


def _diagnosis(
    table: CaseTable, confidence: float, times: NDArray[np.int64]
) -> list[NDArray[np.float64]]:
    """Macro accuracy, precision, recall and F1 of each draw."""
    called, classes = table.score >= confidence, table.truth.shape[1]

    def count(what: NDArray[np.bool_]) -> NDArray[np.int64]:
        case, label = np.nonzero(what)
        return summed(label, table.patient[case], times, classes)

    true = count(table.truth)
    cases = times @ np.bincount(table.patient, minlength=times.shape[1])
    accuracy = np.where(true > 0, count(called == table.truth) / cases[:, None], np.nan)
    return [class_mean(accuracy), *mean_rates(count(called & table.truth), count(called), true)]
