"""Compute curves: precision over recall, F1 over confidence, precision over confidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detect.evaluation.average_precision import MAX_DETECTIONS, RECALLS, precision_at_recalls
from detect.evaluation.matching import Matches
from detect.evaluation.operating_point import CONFIDENCES, rates_by_confidence

BINS = 10
_STEP = 9  # of the thousand confidences every ninth: the first and the last are among them
_DIGITS = 6  # for the eye, and to keep the file small


@dataclass(frozen=True)
class Curves:
    """The curves of one evaluation, rounded to six decimals.

    Attributes:
        pr: for each class with a true box, precision at IoU 0.5 over the 101 recalls 0, 0.01 … 1 as
            COCO reads it (the envelope); its mean is the class's AP50.
        f1: for each class with a true box, F1 at IoU 0.5 over confidence, as `best_f1` reads it.
        reliability: over all classes; see `reliability`.
    """

    pr: Mapping[str, Mapping[str, NDArray[np.float64]]]
    f1: Mapping[str, Mapping[str, NDArray[np.float64]]]
    reliability: Mapping[str, object]


def curves(matches: Matches, class_names: Sequence[str]) -> Curves:
    """Compute the curves of every class with a true box."""
    boxes = matches.boxes_per_class()
    pr, f1 = {}, {}
    for label in np.flatnonzero(boxes).tolist():
        of_class = matches.of_class(label)
        hit = matches.hit[0, of_class][matches.rank[of_class] < MAX_DETECTIONS] >= 0
        hits = np.cumsum(hit)
        precision = precision_at_recalls(
            (hits / np.arange(1, len(hit) + 1))[None], (hits / boxes[label])[None]
        )[0]
        pr[class_names[label]] = {"recall": RECALLS.round(2), "precision": precision.round(_DIGITS)}
        p, r = rates_by_confidence(matches, label, int(boxes[label]))[:, ::_STEP]
        f1[class_names[label]] = {
            "confidence": CONFIDENCES[::_STEP].round(_DIGITS),
            "f1": (2 * p * r / (p + r + 1e-16)).round(_DIGITS),
        }
    return Curves(pr, f1, reliability(matches))


def reliability(matches: Matches) -> dict[str, object]:
    """Compute the reliability diagram of the confidences and the expected calibration error.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, with precision at IoU
    0.5 in place of accuracy, as Küppers et al., Multivariate Confidence Calibration for Object
    Detection, CVPR workshops 2020, have it. Ten bins of equal width, the last with its upper end;
    ECE = Σ (detections in the bin / all) · |precision - mean confidence|. All detections count: the
    many of low confidence weigh most.
    """
    score, hit = matches.score, matches.hit[0] >= 0
    place = np.minimum((score * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):  # 0/0: nothing in the bin
        confidence = np.bincount(place, score, BINS) / count
        precision = np.bincount(place, hit, BINS) / count
    gap = np.nansum(count * np.abs(precision - confidence))
    return {
        "bins": [
            {
                "from": k / BINS,
                "to": (k + 1) / BINS,
                "count": int(count[k]),
                "mean_confidence": float(confidence[k]),
                "precision": float(precision[k]),
            }
            for k in range(BINS)
        ],
        "ece": float(gap / len(score)) if len(score) else float("nan"),
    }
