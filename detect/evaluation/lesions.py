"""Score the lesion level: a 3D lesion is found if any of its boxes is hit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detect.evaluation.froc import PER_SCAN, Froc, RuleHits, froc
from detect.evaluation.lesion_table import DIAMETERS_MM, Lesions, in_range


@dataclass(frozen=True)
class LesionShare:
    """Count lesions, and those found at the operating point.

    Attributes:
        total: lesions.
        found: of them, at the operating point; NaN without one.
        sensitivity: found / total; NaN for 0/0.
    """

    total: int
    found: float
    sensitivity: float


@dataclass(frozen=True)
class LesionDiameter(LesionShare):
    """The same for lesions with a longest axial diameter from `low` mm on and below `high` mm."""

    low: float
    high: float


@dataclass(frozen=True)
class LesionLevel:
    """The numbers of lesions.

    Attributes:
        all: all lesions together.
        by_class: by the name of the class.
        by_diameter: by longest axial diameter.
        froc_scan: sensitivity over lesions, at numbers of false-positive boxes a scan.
    """

    all: LesionShare
    by_class: Mapping[str, LesionShare]
    by_diameter: Sequence[LesionDiameter]
    froc_scan: Froc


def score_of_lesions(lesions: Lesions, hits: RuleHits) -> NDArray[np.float64]:
    """Highest score among the detections that hit any box of a lesion; -inf: none does."""
    score = np.full(len(lesions), -np.inf)
    np.maximum.at(score, lesions.of_box, hits.score)
    return score


def lesion_level(
    lesions: Lesions,
    hits: RuleHits,
    false: NDArray[np.float64],
    scans: int,
    class_names: Sequence[str],
    confidence: float | None,
) -> LesionLevel:
    """Count the lesions that are found.

    Args:
        lesions: of the set.
        found: under the hit rule.
        false: score of each false positive.
        scans: in the set, those without a lesion included.
        class_names: name of each label.
        confidence: of the operating point; None if there is none.
    """
    score = score_of_lesions(lesions, hits)
    ranges = pairwise(DIAMETERS_MM)
    return LesionLevel(
        share(score, confidence),
        {
            name: share(score[lesions.label == label], confidence)
            for label, name in enumerate(class_names)
        },
        [
            LesionDiameter(
                *_counts(score[in_range(lesions.diameter_mm, low, high)], confidence), low, high
            )
            for low, high in ranges
        ],
        froc(score, false, scans, PER_SCAN),
    )


def share(score: NDArray[np.float64], confidence: float | None) -> LesionShare:
    """Count the lesions whose score reaches a confidence."""
    return LesionShare(*_counts(score, confidence))


def _counts(score: NDArray[np.float64], confidence: float | None) -> tuple[int, float, float]:
    nan = float("nan")
    if confidence is None:
        return len(score), nan, nan
    reached = int(np.sum(score >= confidence))
    return len(score), reached, reached / len(score) if len(score) else nan
