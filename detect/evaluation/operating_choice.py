"""Choose the confidence from which a detector's boxes count, on data that is not the test set."""

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from converters.dataset.split import Split
from detect.detectors.card import OperatingPoint, Reached
from detect.detectors.operating_rule import Rule
from detect.evaluation.matching import Matches
from detect.evaluation.operating_point import IOU, at_confidence, best_f1

_TOLERANCE = 1e-9  # 0.9 of ten boxes is nine of them, whatever the last bit says


@dataclass(frozen=True)
class Outcome:
    """Rates at a confidence, at IoU 0.5.

    Attributes:
        precision, recall, f1: means over the classes with a true box; NaN where undefined.
        fp_per_image, fp_per_scan: false-positive boxes of all classes.
    """

    precision: float
    recall: float
    f1: float
    fp_per_image: float
    fp_per_scan: float


@dataclass(frozen=True)
class Choice:
    """A confidence, and the rates at it.

    Attributes:
        confidence: in [0, 1].
        met: whether the wanted value is kept to.
        value: what was reached of the quantity that the rule names.
        reached: everything at that confidence.
    """

    confidence: float
    met: bool
    value: float
    reached: Outcome


def choose(matches: Matches, scans: int, rule: Rule) -> Choice | None:
    """Choose a confidence by a rule.

    Between two neighbouring scores every confidence counts the same boxes; the middle is taken, so
    that a score that changes in its last digits on another machine stays on its side. Where the
    wanted value cannot be had, the nearest is taken: the lowest confidence for a sensitivity, the
    highest for a rate of false positives.

    Args:
        matches: of every image, those without a lesion included.
        scans: that the images belong to.
        rule: what to choose by.

    Returns:
        None where there is nothing to choose by: no detection, for `f1` no hit, for a sensitivity
        no true box.
    """
    boxes = matches.boxes_per_class()
    if not len(matches.score) or (rule.kind == "sensitivity" and not boxes.any()):
        return None
    if rule.kind == "f1":
        best = best_f1(matches)
        if not best.mean.f1 > 0:  # NaN without a true box
            return None
        reached = _reached(matches, scans, best.confidence)
        return Choice(best.confidence, True, reached.f1, reached)

    wanted = rule.wanted or 0.0
    confidences, recall, false_positives = _curves(matches)
    if rule.kind == "sensitivity":
        enough = np.flatnonzero(recall >= wanted - _TOLERANCE)
        k = int(enough[0]) if enough.size else len(recall) - 1
        met, value = bool(enough.size), float(recall[k])
    else:
        rate = false_positives / (scans if rule.kind == "fp-per-scan" else matches.num_images)
        few = np.flatnonzero(rate <= wanted + _TOLERANCE)
        k = int(few[-1]) if few.size else 0
        met, value = bool(few.size), float(rate[k])
    confidence = float(confidences[k])
    return Choice(confidence, met, value, _reached(matches, scans, confidence))


def choose_point(matches: Matches, split: Split, rule: Rule) -> tuple[OperatingPoint | None, str]:
    """Choose the confidence to freeze, from detections on val.

    Args:
        matches: of the split.
        split: val.
        rule: what to choose by.

    Returns:
        the point, None where val gives nothing to choose by; and one line that says what could not
        be had, empty where all is well.
    """
    choice = choose(matches, len(set(split.case_ids)), rule)
    if choice is None:
        return None, f"No operating point: nothing on {split.name} to choose `{rule}` by."
    reached = Reached(
        **{name: None if math.isnan(v) else v for name, v in asdict(choice.reached).items()}
    )
    text = f"{rule.meaning} at IoU {IOU:g} on {split.name}"
    if choice.met:
        return OperatingPoint(confidence=choice.confidence, rule=text, reached=reached), ""
    point = OperatingPoint(
        confidence=choice.confidence, rule=f"{text} (not reached)", reached=reached
    )
    got = f"{choice.value:.3f} at confidence {choice.confidence:.3g}, which is stored"
    return point, f"`{rule}` is not reached on {split.name}: the nearest is {got}."


def _curves(
    matches: Matches,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Class-mean recall and false positives at each confidence that makes a difference.

    Returns:
        confidences ``(k,)`` from high to low, the first above every score where 1 allows it; the
        recalls, NaN without a true box; and the false positives of all classes. Both only rise.
    """
    levels, level = np.unique(-matches.score, return_inverse=True)
    hit = matches.hit[0] >= 0
    count = len(levels)
    false_positives = np.cumsum(np.bincount(level[~hit], minlength=count))
    boxes = matches.boxes_per_class()
    recalls = [
        np.cumsum(np.bincount(level[hit & (matches.label == label)], minlength=count))
        / boxes[label]
        for label in np.flatnonzero(boxes)
    ]
    recall = np.mean(recalls, axis=0) if recalls else np.full(count, np.nan)

    scores = -levels
    middle = (scores[:-1] + scores[1:]) / 2
    # between neighbouring floats there is no middle
    confidences = np.append(np.where(middle > scores[1:], middle, scores[:-1]), scores[-1])
    if scores[0] < 1:
        confidences = np.insert(confidences, 0, (1 + scores[0]) / 2)
        recall = np.insert(recall, 0, 0.0)
        false_positives = np.insert(false_positives, 0, 0)
    return confidences, recall, false_positives


def _reached(matches: Matches, scans: int, confidence: float) -> Outcome:
    point = at_confidence(matches, confidence)
    false_positives = point.pooled.false_positives
    return Outcome(
        point.mean.precision,
        point.mean.recall,
        point.mean.f1,
        false_positives / matches.num_images,
        false_positives / scans,
    )
