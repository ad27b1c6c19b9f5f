"""Link a detector's boxes on a split, score the findings, and choose how to link."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from converters.core.boxes import Boxes, iou
from converters.dataset.split import Split
from detect.evaluation.findings.froc import linked_froc
from detect.evaluation.findings.match import RULE, Linked, LinkedFroc, Tube, score_linked
from detect.evaluation.findings.tubes import scans_of, tube_of, tubes_of
from detect.linking.linking import DEFAULT, Linking, link

# What `fit_linking` tries; every default is among them.
IOU = (0.1, 0.2, 0.3, 0.5)
MAX_DISTANCE = (0.0, 0.5)
MAX_GAP = (0, 1, 2, 3)
MIN_BOXES = (1, 2, 3)
WORTH = 0.02  # of F1 or average precision, for each parameter that is not the default


@dataclass(frozen=True)
class LinkedLevel:
    """Scores of linked findings, and of simpler ways to make findings of the same boxes.

    Attributes:
        confidence: boxes from here on were linked.
        linking: how.
        linked: the numbers.
        one_per_box: each box a finding of its own.
        stacked: boxes of a class on adjacent slices that overlap at all, and theirs, are one.
        froc: lesions found at numbers of false findings, whatever the confidence above is.
    """

    confidence: float
    linking: Linking
    linked: Linked
    one_per_box: Linked
    stacked: Linked
    froc: LinkedFroc

    def to_json(self) -> dict[str, Any]:
        """For `metrics.json`."""
        return {
            "rule": RULE,
            "confidence": self.confidence,
            "linking": self.linking.model_dump(mode="json"),
            **self.linked.to_json(),
            "one_finding_per_box": self.one_per_box.to_json(),
            "greedy_stacking": self.stacked.to_json(),
            "froc": self.froc.to_json(),
        }


def linked_level(
    split: Split, detections: Sequence[Boxes], confidence: float, linking: Linking
) -> LinkedLevel:
    """Link the boxes of a split as `predict` does, and score the findings."""
    scans = list(scans_of(split, detections, confidence))
    truth, stacks = [scan.lesions for scan in scans], [scan.stack for scan in scans]
    return LinkedLevel(
        confidence,
        linking,
        score_linked(truth, [tubes_of(link(stack, linking), stack) for stack in stacks]),
        score_linked(truth, [_one_per_box(stack) for stack in stacks]),
        score_linked(truth, [_stacked(stack) for stack in stacks]),
        linked_froc(split, detections, linking),
    )


def fit_linking(split: Split, detections: Sequence[Boxes], confidence: float) -> Linking:
    """Choose how to link: by F1 of the linked findings, the score rule by average precision.

    A default is left only where that brings `WORTH`: val has few patients, and less is chance.

    Args:
        split: val.
        detections: on each of its pictures.
        confidence: of the operating point.
    """
    scans = list(scans_of(split, detections, confidence))
    truth, stacks = [scan.lesions for scan in scans], [scan.stack for scan in scans]
    reached: dict[tuple[float, float, int, int], float] = {}
    for overlap, distance, gap in itertools.product(IOU, MAX_DISTANCE, MAX_GAP):
        linking = Linking(iou=overlap, max_distance=distance, max_gap=gap)
        linked = [(link(stack, linking), stack) for stack in stacks]
        for fewest in MIN_BOXES:
            kept = [
                tubes_of(
                    [
                        finding
                        for finding in findings
                        if len(finding.members) >= min(fewest, len(stack))
                    ],
                    stack,
                )
                for findings, stack in linked
            ]
            reached[overlap, distance, gap, fewest] = score_linked(truth, kept).f1
    default = (DEFAULT.iou, DEFAULT.max_distance, DEFAULT.max_gap, DEFAULT.min_boxes)

    def worth(values: tuple[float, float, int, int]) -> tuple[float, int]:
        changed = sum(a != b for a, b in zip(values, default, strict=True))
        return round(reached[values] - WORTH * changed, 9), -changed

    overlap, distance, gap, fewest = max(reached, key=worth)
    best = Linking(iou=overlap, max_distance=distance, max_gap=gap, min_boxes=fewest)
    top = best.model_copy(update={"score": "top"})
    by_highest, by_top = (
        score_linked(
            truth, [tubes_of(link(stack, candidate), stack) for stack in stacks]
        ).average_precision
        for candidate in (best, top)
    )
    return top if by_top >= by_highest + WORTH else best


def _one_per_box(stack: Sequence[Boxes]) -> list[Tube]:
    return [
        Tube(int(boxes.label[b]), float(boxes.score[b]), {z: boxes.xyxy[b]})
        for z, boxes in enumerate(stack)
        for b in range(len(boxes))
    ]


def _stacked(stack: Sequence[Boxes]) -> list[Tube]:
    single = _one_per_box(stack)
    first = np.cumsum([0, *map(len, stack)])
    below, above = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for z, (lower, upper) in enumerate(itertools.pairwise(stack)):
        same = lower.label[:, None] == upper.label[None]
        i, j = np.nonzero(same & (iou(lower.xyxy, upper.xyxy) > 0))
        below.append(first[z] + i)
        above.append(first[z + 1] + j)
    rows, columns = np.concatenate(below), np.concatenate(above)
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(single),) * 2)
    _, group = connected_components(graph, directed=False)
    findings = []
    for g in range(int(group.max(initial=-1)) + 1):
        members = [single[k] for k in np.flatnonzero(group == g)]
        boxes = [item for tube in members for item in tube.boxes.items()]
        findings.append(tube_of(members[0].label, max(tube.score for tube in members), boxes))
    return findings
