"""Run a detector over a split and score what it finds: the same way for every family."""

import math
from collections.abc import Sequence
from dataclasses import asdict

from converters.core.boxes import Boxes
from converters.dataset.split import Split
from detect.detectors.card import OperatingPoint, Reached
from detect.detectors.operating_rule import Rule
from detect.detectors.protocol import Predictor
from detect.evaluation.matching import match
from detect.evaluation.metrics import Metrics, evaluate, measure
from detect.evaluation.operating_choice import choose
from detect.evaluation.operating_point import IOU
from detect.evaluation.study import Study, study

BATCH = 16  # pictures a call; larger ones do not help a CPU, and a GPU is fed well enough


def detect_split(detector: Predictor, split: Split) -> list[Boxes]:
    """Return the raw detections on each picture of a split."""
    from converters.core.progress import progress

    found: list[Boxes] = []
    with progress(f"detect on {split.name}", -(-len(split) // BATCH)) as advance:
        for images in split.batches(BATCH):
            found += detector.predict(images)
            advance("")
    return found


def score(
    classes: Sequence[str],
    split: Split,
    detections: list[Boxes],
    point: OperatingPoint | None = None,
) -> Metrics:
    """Score detections on a split, at the frozen operating point too where there is one."""
    return evaluate(split.truth, detections, classes, point.confidence if point else None)


def score_levels(
    classes: Sequence[str],
    split: Split,
    detections: list[Boxes],
    point: OperatingPoint | None = None,
) -> tuple[Metrics, Study]:
    """Score detections at every level: boxes, images, lesions and cases, with intervals."""
    matches = match(split.truth, detections, len(classes))
    metrics = measure(matches, classes, point.confidence if point else None)
    return metrics, study(matches, metrics, split.origins)


def choose_point(
    classes: Sequence[str], split: Split, detections: list[Boxes], rule: Rule
) -> tuple[OperatingPoint | None, str]:
    """Choose the confidence to freeze, from detections on val.

    Returns:
        the point, None where val gives nothing to choose by; and one line that says what could not
        be had, empty where all is well.
    """
    choice = choose(match(split.truth, detections, len(classes)), len(set(split.case_ids)), rule)
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
