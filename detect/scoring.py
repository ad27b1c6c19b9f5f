"""Run a detector over a split and score what it finds: the same way for every family."""

from collections.abc import Sequence

from detect.boxes import Boxes
from detect.dataset import Split
from detect.detectors.protocol import Detector
from detect.evaluation.matching import match
from detect.evaluation.metrics import Metrics, evaluate, measure
from detect.evaluation.study import Study, study
from detect.model_card import ModelSpec, OperatingPoint

BATCH = 16  # pictures a call; larger ones do not help a CPU, and a GPU is fed well enough


def detect_split(detector: Detector, split: Split, quiet: bool = False) -> list[Boxes]:
    """Return the raw detections on each picture of a split."""
    from converters.progress import progress

    found: list[Boxes] = []
    with progress(f"detect on {split.name}", -(-len(split) // BATCH), quiet) as advance:
        for images in split.batches(BATCH):
            found += detector.predict(images)
            advance("")
    return found


def score(
    spec: ModelSpec, split: Split, detections: list[Boxes], point: OperatingPoint | None = None
) -> Metrics:
    """Score detections on a split, at the frozen operating point too where there is one."""
    return evaluate(split.truth, detections, spec.classes, point.confidence if point else None)


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
