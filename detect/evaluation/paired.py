"""Compare two detectors on the same patients by bootstrap and approximate randomisation."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from detect.evaluation.bootstrap import (
    DRAWS,
    PatientDraws,
    bootstrap_patients,
    interval,
    score_draws,
)
from detect.evaluation.lesion_table import index_names
from detect.evaluation.matching import Matches

EXACT_PATIENTS = 10  # up to here all 2^n ways of swapping are gone through
_TOLERANCE = 1e-12  # sums taken in another order
NUMBERS = tuple(field.name for field in fields(PatientDraws))
"""map50, map50_95, precision, recall, f1."""


@dataclass(frozen=True)
class Difference:
    """One number of two detectors; NaN where undefined.

    Attributes:
        first, second: the two values.
        low, high: 95 % percentile interval of second - first over draws of patients, the same ones
            for both.
        p: two-sided, of the hypothesis that both detectors are alike.
    """

    first: float
    second: float
    low: float
    high: float
    p: float

    @property
    def difference(self) -> float:
        """Second - first."""
        return self.second - self.first


def compare_paired(
    first: Matches,
    second: Matches,
    patients: Sequence[str],
    confidences: tuple[float | None, float | None] = (None, None),
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Difference]:
    """Compare two detectors on the same images and truth.

    The interval comes from a bootstrap over patients. p comes from approximate randomisation
    (Noreen, Computer-Intensive Methods for Testing Hypotheses, 1989): were the detectors alike, the
    outputs on any patient could as well have been swapped. All ways of swapping are gone through up
    to ``EXACT_PATIENTS`` patients, else ``draws`` random ones; p is the share of them with a
    difference at least as large, the observed one included (Phipson and Smyth, Stat. Appl. Genet.
    Mol. Biol. 9, 2010).

    The swapped patients' detections are ranked among those of the other detector, whose scores may
    be on another scale. So for AP each detection's score is replaced by its place among those of
    its detector and class, which changes neither detector's own AP. Precision, recall and F1 keep
    each detector's own confidence.

    Args:
        first, second: of the same images and truth, in the same order.
        patients: patient of each image.
        confidences: frozen beforehand, one for each detector; both are needed for precision, recall
            and F1.
        draws: of patients, and of ways to swap.
        seed: of both.

    Returns:
        one for each of ``NUMBERS``.
    """
    if None in confidences:
        confidences = None, None
    patient, count = index_names(patients)
    drawn = [
        bootstrap_patients(matches, patients, confidence, draws, seed)
        for matches, confidence in zip((first, second), confidences, strict=True)
    ]
    both, kept = _interleaved(first, second, confidences)
    owner = np.stack([patient, patient + count], axis=1).ravel()

    def score(swaps: NDArray[np.int64]) -> PatientDraws:
        """Score the detector that is the first one, but for the swapped patients."""
        return score_draws(both, owner, np.concatenate([1 - swaps, swaps], axis=1), kept)

    exact = count <= EXACT_PATIENTS
    if exact:
        swaps = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        mixed = score(swaps)
    else:
        swaps = np.random.default_rng(seed).integers(0, 2, (draws, count))
        swaps = np.concatenate([np.zeros((1, count), np.int64), swaps])  # as observed
        mixed, rest = score(swaps), score(1 - swaps)

    result = {}
    for name in NUMBERS:
        a = getattr(mixed, name)
        b = a[::-1] if exact else getattr(rest, name)  # the complement of way k is the k-th last
        apart = b - a
        low, high = interval(getattr(drawn[1], name) - getattr(drawn[0], name))
        result[name] = Difference(float(a[0]), float(b[0]), low, high, _share(apart))
    return result


def _share(apart: NDArray[np.float64]) -> float:
    """Share of differences that are no smaller than the first; undefined ones count as large."""
    if np.isnan(apart[0]):
        return float("nan")
    smaller = np.abs(apart) < abs(apart[0]) - _TOLERANCE
    return float(1 - smaller.mean())


def _interleaved(
    first: Matches, second: Matches, confidences: tuple[float | None, float | None]
) -> tuple[Matches, NDArray[np.bool_] | None]:
    """Join two detectors as if they had seen different images: 2k and 2k + 1 in place of k.

    Side by side, so that equal places keep the order of the images whoever is swapped.

    Returns:
        all detections by class and by place among those of their detector and class; and which
        count at their detector's confidence.
    """
    order = np.lexsort(
        [
            np.concatenate([2 * first.image, 2 * second.image + 1]),
            np.concatenate([_place(first), _place(second)]),
            np.concatenate([first.label, second.label]),
        ]
    )
    hit = np.concatenate(
        [first.hit, np.where(second.hit >= 0, second.hit + len(first.truth_label), -1)], axis=1
    )
    joined = Matches(
        num_images=2 * first.num_images,
        num_classes=first.num_classes,
        image=np.concatenate([2 * first.image, 2 * second.image + 1])[order],
        label=np.concatenate([first.label, second.label])[order],
        score=np.concatenate([first.score, second.score])[order],
        xyxy=np.concatenate([first.xyxy, second.xyxy])[order],
        rank=np.concatenate([first.rank, second.rank])[order],
        hit=hit[:, order],
        truth_image=np.concatenate([2 * first.truth_image, 2 * second.truth_image + 1]),
        truth_label=np.concatenate([first.truth_label, second.truth_label]),
        truth_xyxy=np.concatenate([first.truth_xyxy, second.truth_xyxy]),
    )
    of_first, of_second = confidences
    if of_first is None or of_second is None:
        return joined, None
    return joined, np.concatenate([first.score >= of_first, second.score >= of_second])[order]


def _place(matches: Matches) -> NDArray[np.int64]:
    """Place of each detection among those of its class, from 0."""
    start = np.searchsorted(matches.label, matches.label)
    return np.asarray(np.arange(len(matches.label)) - start, dtype=np.int64)
