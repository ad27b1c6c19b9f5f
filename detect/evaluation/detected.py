"""Detections on a split, matched to its truth once for every number and picture made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from converters.core.boxes import Boxes
from converters.dataset.split import Split
from converters.preprocessing.windowing import AnyWindow
from detect.detectors.card import OperatingPoint
from detect.evaluation.matching import Matches, match
from detect.linking.linking import DEFAULT, Linking

SHOWN_CONFIDENCE = 0.25  # pictures show boxes from here on where there is no operating point


@dataclass(frozen=True)
class Detected:
    """Detections on a split, whoever made them.

    Attributes:
        name: of the model or tool.
        split: pictures and truth.
        boxes: detections on each picture of the split, px.
        classes: names of the labels.
        window: of the pictures.
        facts: for `metrics.json`: where the detections come from.
        point: operating point frozen beforehand; None if there is none.
        linking: of boxes through slices.
        notes: for the reader of the numbers, a line each.
    """

    name: str
    split: Split
    boxes: list[Boxes]
    classes: Sequence[str]
    window: AnyWindow
    facts: Mapping[str, object]
    point: OperatingPoint | None = None
    linking: Linking = field(default=DEFAULT)
    notes: tuple[str, ...] = ()

    @cached_property
    def matches(self) -> Matches:
        """The detections and the true box that each one hits."""
        return match(self.split.truth, self.boxes, len(self.classes))

    @property
    def frozen_confidence(self) -> float | None:
        """Confidence of the operating point; None if there is none."""
        return self.point.confidence if self.point else None

    @property
    def shown_confidence(self) -> float:
        """Confidence from which pictures show boxes."""
        return self.point.confidence if self.point else SHOWN_CONFIDENCE
