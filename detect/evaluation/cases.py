"""Score the case level: whether a scan holds a lesion, and of which classes.

A case is a scan: two scans of one patient are two cases. The bootstrap draws patients, with all
their scans.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from converters.dataset.provenance import Origins
from detect.evaluation.average_precision import mean_over_classes
from detect.evaluation.lesion_table import index_names
from detect.evaluation.matching import Matches


@dataclass(frozen=True)
class CaseTable:
    """Truth and score of each case, in the order of the sorted names of the cases.

    Attributes:
        patient: ``(cases,)`` int64 index of the patient among the sorted names of the patients.
        truth: ``(cases, classes)`` bool, whether the case has a true box of the class.
        score: ``(cases, classes)`` highest score of a detection of the class, wherever it lies;
            -inf: there is none.
    """

    patient: NDArray[np.int64]
    truth: NDArray[np.bool_]
    score: NDArray[np.float64]

    @property
    def sick(self) -> NDArray[np.bool_]:
        """Tell for each case whether it has a lesion of any class."""
        return np.asarray(self.truth.any(axis=1), np.bool_)

    @property
    def highest(self) -> NDArray[np.float64]:
        """Score of the highest box of each case, of any class; -inf without one."""
        return np.asarray(self.score.max(axis=1, initial=-np.inf), np.float64)


@dataclass(frozen=True)
class Diagnosis:
    """The diagnosis of one class over the cases, or the mean over classes; NaN for 0/0.

    Attributes:
        accuracy: share of the cases that are judged rightly.
        precision, recall, f1: of the cases that have the class.
        auroc: of the score of the class.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    auroc: float


@dataclass(frozen=True)
class CaseLevel:
    """The numbers of cases; those at the operating point are NaN without one.

    Attributes:
        total: cases.
        with_lesions: cases with a true box.
        true_positives, false_positives, true_negatives, false_negatives: cases with or without a
            lesion, called so or not at the operating point.
        sensitivity, specificity: TP / (TP + FN), TN / (TN + FP).
        auroc: of the highest score of any class.
        cases_per_class: cases that have the class.
        diagnosis: multi-label, of each class; NaN for a class that no case has, but for its
            accuracy.
        macro: means over the classes that a case has; a class that is never called has no
            precision and is left out of the mean precision only.
        exact_match: share of the cases whose classes are all judged rightly.
    """

    total: int
    with_lesions: int
    true_positives: float
    false_positives: float
    true_negatives: float
    false_negatives: float
    sensitivity: float
    specificity: float
    auroc: float
    cases_per_class: Mapping[str, int]
    diagnosis: Mapping[str, Diagnosis]
    macro: Diagnosis
    exact_match: float


def case_table(matches: Matches, origins: Origins) -> CaseTable:
    """Gather images into cases.

    Raises:
        ValueError: the images of one case name two patients.
    """
    case, cases = index_names(origins.case)
    patient_of_image, _ = index_names(origins.patient)
    patient = np.zeros(cases, np.int64)
    patient[case] = patient_of_image
    if bool((patient[case] != patient_of_image).any()):
        raise ValueError("the images of one case name two patients")
    truth = np.zeros((cases, matches.num_classes), bool)
    truth[case[matches.truth_image], matches.truth_label] = True
    score = np.full((cases, matches.num_classes), -np.inf)
    np.maximum.at(score, (case[matches.image], matches.label), matches.score)
    return CaseTable(patient, truth, score)


def case_level(table: CaseTable, class_names: Sequence[str], confidence: float | None) -> CaseLevel:
    """Judge the cases: one has a lesion, or a class, if a detection (of it) reaches a confidence.

    Args:
        table: of the cases.
        class_names: name of each label.
        confidence: of the operating point; None if there is none.
    """
    sick, highest = table.sick, table.highest
    counts = _counts(sick, highest, confidence)
    tp, fp, tn, fn = counts
    diagnosis = [
        _diagnosis(table.truth[:, k], table.score[:, k], confidence)
        for k in range(len(class_names))
    ]
    present = np.flatnonzero(table.truth.any(axis=0)).tolist()
    exact = float("nan")
    if confidence is not None and len(sick):
        exact = float(((table.score >= confidence) == table.truth).all(axis=1).mean())
    return CaseLevel(
        total=len(sick),
        with_lesions=int(sick.sum()),
        true_positives=tp,
        false_positives=fp,
        true_negatives=tn,
        false_negatives=fn,
        sensitivity=_ratio(tp, tp + fn),
        specificity=_ratio(tn, tn + fp),
        auroc=auroc(sick, highest),
        cases_per_class=dict(zip(class_names, table.truth.sum(axis=0).tolist(), strict=True)),
        diagnosis=dict(zip(class_names, diagnosis, strict=True)),
        macro=Diagnosis(
            *(
                mean_over_classes(np.array([getattr(diagnosis[k], name) for k in present]))
                for name in Diagnosis.__dataclass_fields__
            )
        ),
        exact_match=exact,
    )


def auroc(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Compute the area under the ROC curve; NaN if one side is empty.

    The chance that a case with the finding scores higher than one without, half a point for equal
    scores (Mann-Whitney; Hanley and McNeil, Radiology 1982): what scikit-learn's ``roc_auc_score``
    gives.

    Args:
        truth: ``(n,)`` bool.
        score: ``(n,)``; -inf ranks below all.
    """
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(score)  # the mean rank of equal scores
    wins = ranks[truth].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))


def _diagnosis(
    truth: NDArray[np.bool_], score: NDArray[np.float64], confidence: float | None
) -> Diagnosis:
    tp, fp, tn, fn = _counts(truth, score, confidence)
    accuracy = _ratio(tp + tn, tp + fp + tn + fn)
    if not truth.any():
        nan = float("nan")
        return Diagnosis(accuracy, nan, nan, nan, nan)
    return Diagnosis(
        accuracy,
        _ratio(tp, tp + fp),
        _ratio(tp, tp + fn),
        _ratio(2 * tp, 2 * tp + fp + fn),
        auroc(truth, score),
    )


def _counts(
    truth: NDArray[np.bool_], score: NDArray[np.float64], confidence: float | None
) -> tuple[float, float, float, float]:
    """TP, FP, TN and FN."""
    if confidence is None:
        return (float("nan"),) * 4
    called = score >= confidence
    both = np.bincount(2 * truth + called, minlength=4).tolist()
    return both[3], both[1], both[0], both[2]


def _ratio(part: float, whole: float) -> float:
    """Divide; NaN for 0/0."""
    return part / whole if whole else float("nan")
