"""Compute FROC: sensitivity at given numbers of false positives an image or a scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detect.evaluation.matching import Matches
from detect.evaluation.overlaps import Overlaps, by_preference, claim

PER_IMAGE = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""False positives an image, as DeepLesion's FROC has them (Yan et al., J Med Imaging 2018)."""

PER_SCAN = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives a scan, as LUNA16 has them (Setio et al., Med Image Anal 2017)."""

INTERPOLATION = (
    "none: the sensitivity at the lowest score threshold that leaves at most so many false"
    " positives; detections of equal score go together"
)
SECOND_HITS = "a second detection on a true box that is found already is a false positive"
_CURVE_POINTS = 161


@dataclass(frozen=True)
class RuleHits:
    """The true boxes that are hit under one rule, and the false positives beside them.

    Attributes:
        rule: the hit rule, in words.
        score: ``(m,)`` of the detection that hits each true box; -inf: none does.
        false: ``(n,)`` bool detections, in the order of `Matches`, that hit none.
    """

    rule: str
    score: NDArray[np.float64]
    false: NDArray[np.bool_]


def hit_rules(matches: Matches, in_image: Overlaps) -> tuple[RuleHits, RuleHits, RuleHits]:
    """Match under three hit rules: IoU from 0.5 (the one that counts), IoU from 0.1, and centre.

    Always within an image and class, by falling score, each detection taking the free true box with
    the highest IoU among those that the rule allows.

    Args:
        matches: of all images.
        in_image: pairs of one image with any overlap, of whatever classes.
    """
    same = matches.label[in_image.detection] == matches.truth_label[in_image.target]
    pairs = in_image[same]
    box, true = matches.xyxy[pairs.detection], matches.truth_xyxy[pairs.target]
    centre = (box[:, :2] + box[:, 2:]) / 2
    inside = np.all((centre >= true[:, :2]) & (centre <= true[:, 2:]), axis=1)
    return (
        _rule_hits("IoU of 0.5 or more with a true box of the class", matches, matches.hit[0]),
        _rule_hits(
            "IoU of 0.1 or more with a true box of the class",
            matches,
            _match(matches, pairs[pairs.iou >= 0.1]),
        ),
        _rule_hits(
            "the centre of the detection in a true box of the class",
            matches,
            _match(matches, pairs[inside]),
        ),
    )


def _match(matches: Matches, pairs: Overlaps) -> NDArray[np.int64]:
    return claim(by_preference(pairs), len(matches.score), len(matches.truth_label))


def _rule_hits(rule: str, matches: Matches, hit: NDArray[np.int64]) -> RuleHits:
    score = np.full(len(matches.truth_label), -np.inf)
    score[hit[hit >= 0]] = matches.score[hit >= 0]
    return RuleHits(rule, score, hit < 0)


@dataclass(frozen=True)
class Froc:
    """One FROC.

    Attributes:
        false_positives: the rates, an image or a scan.
        sensitivity: at each of them.
        mean: of the sensitivities.
        curve: rates from 0 to the highest in equal steps, and the sensitivity at each; six
            decimals.
    """

    false_positives: Sequence[float]
    sensitivity: NDArray[np.float64]
    mean: float
    curve: Mapping[str, NDArray[np.float64]]


def froc(
    score: NDArray[np.float64], false: NDArray[np.float64], units: int, rates: Sequence[float]
) -> Froc:
    """Compute the sensitivity at given numbers of false positives a unit.

    >>> scores, false = np.array([0.9, 0.6, -np.inf]), np.array([0.8, 0.7, 0.5])
    >>> froc(scores, false, units=2, rates=(0.5, 1.0)).sensitivity.round(2).tolist()
    [0.33, 0.67]

    At a threshold, the sensitivity is the share of targets whose score reaches it, and the false
    positives those with a score that does. For each rate the lowest threshold counts that leaves at
    most rate times units false positives; nothing is interpolated between thresholds.

    Args:
        score: ``(targets,)`` highest score that finds each true box or lesion; -inf: not found.
        false: ``(k,)`` score of each false positive.
        units: images or scans, those without a lesion included.
        rates: false positives a unit, rising.
    """
    grid = np.linspace(0, rates[-1], _CURVE_POINTS)
    sensitivity = _sensitivity(score, false, units, np.array(rates))
    curve = {
        "false_positives": grid.round(6),
        "sensitivity": _sensitivity(score, false, units, grid).round(6),
    }
    return Froc(rates, sensitivity, float(sensitivity.mean()), curve)


def _sensitivity(
    score: NDArray[np.float64],
    false: NDArray[np.float64],
    units: int,
    rates: NDArray[np.float64],
) -> NDArray[np.float64]:
    if not len(score):
        return np.full(len(rates), np.nan)
    allowed = np.floor(rates * units + 1e-9).astype(np.int64)  # 0.1 * 30 lies below 3
    falling = np.append(-np.sort(-false), -np.inf)
    # the first false positive too many: a threshold must lie above it
    limit = falling[np.minimum(allowed, len(false))]
    rising = np.sort(score)
    above = len(score) - np.searchsorted(rising, limit, side="right")
    return np.asarray(above / len(score), np.float64)
