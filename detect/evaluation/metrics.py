"""The numbers of one evaluation, and their form in ``metrics.json``."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from converters.core.boxes import Boxes
from detect.evaluation.average_precision import (
    MAX_DETECTIONS,
    average_precision,
    mean_over_classes,
)
from detect.evaluation.matching import IOU_THRESHOLDS, Matches, match
from detect.evaluation.operating_point import (
    IOU,
    BestF1,
    Counts,
    FrozenPoint,
    Rates,
    at_confidence,
    best_f1,
)


@dataclass(frozen=True)
class ClassMetrics:
    """The numbers of one class; NaN where a number is undefined.

    Attributes:
        name: of the class.
        images: images with a true box of the class.
        boxes: true boxes of the class.
        ap50: average precision at IoU 0.5.
        ap50_95: mean of the average precisions at IoU 0.50, 0.55 … 0.95.
        best_f1: rates at the confidence of the best class-mean F1 on this set.
        frozen: counts at the frozen confidence; None if there is none.
    """

    name: str
    images: int
    boxes: int
    ap50: float
    ap50_95: float
    best_f1: Rates
    frozen: Counts | None


@dataclass(frozen=True)
class Metrics:
    """All numbers of one evaluation; NaN where a number is undefined.

    Attributes:
        images: images scored, those without any box included.
        boxes: true boxes.
        detections: detections given.
        most_detections: the most detections given for one image.
        score_floor: the lowest score given: what a detector leaves out below it is missing from
            AP. NaN without detections.
        map50: mean over the classes with a true box of the average precision at IoU 0.5.
        map50_95: the same, averaged over IoU 0.50, 0.55 … 0.95.
        best_f1: rates at the confidence of the best class-mean F1 on this set.
        frozen: counts at the confidence frozen beforehand; None if none was given.
        per_class: one for each class, in the order of the class names.
    """

    images: int
    boxes: int
    detections: int
    most_detections: int
    score_floor: float
    map50: float
    map50_95: float
    best_f1: BestF1
    frozen: FrozenPoint | None
    per_class: tuple[ClassMetrics, ...]

    def to_json(self) -> dict[str, object]:
        """Everything, unrounded, for ``json.dump``; None for what is undefined.

        The limit of 100 detections an image and class holds for AP alone; operating points count
        every detection given.
        """
        best, frozen = self.best_f1, self.frozen
        return {
            "map50": _number(self.map50),
            "map50_95": _number(self.map50_95),
            "best_f1": _rates(best.confidence, best.mean),
            "frozen": frozen
            and {
                **_rates(frozen.confidence, frozen.mean),
                "pooled": _counts(frozen.confidence, frozen.pooled),
            },
            "per_class": {
                row.name: {
                    "images": row.images,
                    "boxes": row.boxes,
                    "ap50": _number(row.ap50),
                    "ap50_95": _number(row.ap50_95),
                    "best_f1": _rates(best.confidence, row.best_f1),
                    "frozen": frozen and row.frozen and _counts(frozen.confidence, row.frozen),
                }
                for row in self.per_class
            },
            "images": self.images,
            "boxes": self.boxes,
            "detections": self.detections,
            "protocol": {
                "iou": IOU_THRESHOLDS.tolist(),
                "operating_point_iou": IOU,
                "max_detections": MAX_DETECTIONS,
                "most_detections": self.most_detections,
                "score_floor": _number(self.score_floor),
            },
        }


def evaluate(
    truth: Sequence[Boxes],
    detections: Sequence[Boxes],
    class_names: Sequence[str],
    frozen_confidence: float | None = None,
) -> Metrics:
    """Score the raw detections of a set of images against its true boxes.

    >>> truth = [Boxes([[10, 10, 20, 20]], [0], [1]), Boxes.empty()]
    >>> detections = [Boxes([[10, 10, 20, 19]], [0], [0.9]), Boxes([[0, 0, 5, 5]], [0], [0.3])]
    >>> metrics = evaluate(truth, detections, ["tumour"], frozen_confidence=0.5)
    >>> metrics.map50, metrics.frozen.pooled
    (1.0, Counts(true_positives=1, false_positives=0, false_negatives=0))

    Args:
        truth: one ``Boxes`` an image, px; an image without a lesion has none.
        detections: one ``Boxes`` an image, px, in the same order, not cut at any confidence that
            matters: ``score_floor`` tells.
        class_names: name of each label.
        frozen_confidence: in [0, 1], chosen on other data; None to leave that point out.

    Raises:
        ValueError: the sequences differ in length, boxes are malformed, two classes share a name,
            or the confidence is outside [0, 1].
    """
    matches = match(truth, detections, len(class_names))
    return measure(matches, class_names, frozen_confidence)


def measure(
    matches: Matches, class_names: Sequence[str], frozen_confidence: float | None = None
) -> Metrics:
    """Read the numbers off detections that are matched already; see `evaluate`."""
    if len(set(class_names)) != len(class_names):
        raise ValueError("two classes share a name")
    precision = average_precision(matches)
    ap50, ap50_95 = precision[:, 0], precision.mean(axis=1)
    best = best_f1(matches)
    frozen = None if frozen_confidence is None else at_confidence(matches, frozen_confidence)
    boxes, images = matches.boxes_per_class(), matches.images_per_class()
    return Metrics(
        images=matches.num_images,
        boxes=len(matches.truth_label),
        detections=len(matches.score),
        most_detections=int(np.bincount(matches.image, minlength=1).max()),
        score_floor=float(matches.score.min()) if len(matches.score) else float("nan"),
        map50=mean_over_classes(ap50),
        map50_95=mean_over_classes(ap50_95),
        best_f1=best,
        frozen=frozen,
        per_class=tuple(
            ClassMetrics(
                name=name,
                images=int(images[label]),
                boxes=int(boxes[label]),
                ap50=float(ap50[label]),
                ap50_95=float(ap50_95[label]),
                best_f1=best.per_class[label],
                frozen=frozen.per_class[label] if frozen else None,
            )
            for label, name in enumerate(class_names)
        ),
    )


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else value


def _rates(confidence: float, rates: Rates) -> dict[str, float | None]:
    values = {"confidence": confidence, **asdict(rates)}
    return {name: _number(value) for name, value in values.items()}


def _counts(confidence: float, counts: Counts) -> dict[str, float | None]:
    return {**_rates(confidence, counts.rates()), **asdict(counts)}
