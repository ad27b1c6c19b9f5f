"""List errors, the worst first: missed lesions, then false positives by confidence.

Everything is read off the matches of the one evaluator, at IoU 0.5.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from converters.dataset.split import Split
from detect.evaluation.matching import Matches
from detect.linking.linking import link

MOST = 60  # missed lesions, and as many false positives: more than anybody looks at


@dataclass(frozen=True)
class Detections:
    """Detections of one detector on a split, and the true boxes that they hit.

    Attributes:
        name: of the detector.
        confidence: its operating point.
        boxes: of each picture.
        hit: of each picture, the place of the true box that each detection hits; -1 for none.
    """

    name: str
    confidence: float
    boxes: Sequence[Boxes]
    hit: Sequence[NDArray[np.int64]]

    def false_positives(self, picture: int) -> Boxes:
        """Detections of a picture that count at the operating point and hit nothing."""
        boxes = self.boxes[picture]
        return boxes[(boxes.score >= self.confidence) & (self.hit[picture] < 0)]

    def hit_truth(self, picture: int) -> set[int]:
        """Places of the true boxes of a picture that are hit at the operating point."""
        counts = self.boxes[picture].score >= self.confidence
        return set(self.hit[picture][counts].tolist()) - {-1}


@dataclass(frozen=True)
class Finding:
    """One thing that went wrong.

    Attributes:
        kind: `missed` or `false positive`.
        picture: the one that shows it best: the largest true box, or the surest detection.
        box: (x1, y1, x2, y2), px.
        label: class index.
        text: what it is, in a few words.
        detector: place of the detector among those given; of a miss one that misses it.
    """

    kind: str
    picture: int
    box: tuple[float, float, float, float]
    label: int
    text: str
    detector: int


def by_picture(name: str, matches: Matches, confidence: float) -> Detections:
    """Deal matched detections to their pictures, by falling score.

    Args:
        name: of the detector.
        matches: of all its detections, not only those above the operating point.
        confidence: the operating point.
    """
    order = np.lexsort((-matches.score, matches.image))
    ends = np.searchsorted(matches.image[order], np.arange(matches.num_images + 1))
    first_truth = np.searchsorted(matches.truth_image, np.arange(matches.num_images))
    hit = np.where(matches.hit[0] >= 0, matches.hit[0] - first_truth[matches.image], -1)
    parts = [order[begin:end] for begin, end in itertools.pairwise(ends.tolist())]
    boxes = Boxes(matches.xyxy, matches.label, matches.score)
    return Detections(name, confidence, [boxes[k] for k in parts], [hit[k] for k in parts])


def find_worst(
    split: Split,
    classes: Sequence[str],
    detectors: Sequence[Detections],
) -> list[Finding]:
    """List missed lesions, those that most detectors miss and then the largest first, then false
    positives, the most confident first and linked through the slices as `predict` links them.

    Args:
        split: the truth.
        classes: names.
        detectors: one or more.
    """
    return [
        *_missed(split, classes, detectors)[:MOST],
        *_false_positives(split, classes, detectors)[:MOST],
    ]


def _missed(
    split: Split,
    classes: Sequence[str],
    detectors: Sequence[Detections],
) -> list[Finding]:
    members: dict[tuple[object, ...], list[tuple[int, int]]] = {}
    for k, truth in enumerate(split.truth):
        for b in range(len(truth)):
            lesion = int(split.lesion_ids[k][b])
            key = (k, b) if lesion < 0 else (split.case_ids[k], lesion)
            members.setdefault(key, []).append((k, b))
    hit = [[detector.hit_truth(k) for k in range(len(split))] for detector in detectors]
    ranked = []
    for places in members.values():
        missing = [
            number for number, hits in enumerate(hit) if not any(b in hits[k] for k, b in places)
        ]
        if missing:
            k, b = max(
                places, key=lambda kb: (_area(split.truth[kb[0]].xyxy[kb[1]]), -kb[0], -kb[1])
            )
            ranked.append((-len(missing), -_area(split.truth[k].xyxy[b]), k, b, missing, places))
    findings = []
    for _, _, k, b, missing, places in sorted(ranked):
        label, box = int(split.truth[k].label[b]), split.truth[k].xyxy[b]
        text = f"missed: {classes[label]}, {_size(box)} px"
        diameters = [split.diameters_mm[i][j] for i, j in places]
        if not np.isnan(diameters).all():
            text += f", {np.nanmax(diameters):.0f} mm"
        if split.lesion_ids[k][b] >= 0:
            text += _on_slices(len({i for i, _ in places}))
        if len(detectors) > 1:
            text += f"; missed by {len(missing)} of {len(detectors)}"
        findings.append(Finding("missed", k, _corners(box), label, text, missing[0]))
    return findings


def _false_positives(
    split: Split, classes: Sequence[str], detectors: Sequence[Detections]
) -> list[Finding]:
    by_case: dict[str, dict[int, int]] = {}
    for k, case in enumerate(split.case_ids):
        by_case.setdefault(case, {})[split.slice_indices[k]] = k
    ranked = []
    for number, detector in enumerate(detectors):
        for pictures in by_case.values():
            wrong = {z: detector.false_positives(k) for z, k in pictures.items()}
            low = min(wrong)
            stack = [wrong.get(z, Boxes.empty()) for z in range(low, max(wrong) + 1)]
            for chain in link(stack):
                z, b = max(chain.members, key=lambda zb: (stack[zb[0]].score[zb[1]], -zb[0]))
                ranked.append(
                    (-float(stack[z].score[b]), pictures[low + z], b, number, stack[z],
                     len(chain.members))
                )  # fmt: skip
    findings = []
    for score, k, b, number, boxes, count in sorted(ranked, key=lambda row: row[:4]):
        label, box = int(boxes.label[b]), boxes.xyxy[b]
        text = f"false positive: {classes[label]} {-score:.2f}, {_size(box)} px{_on_slices(count)}"
        if len(detectors) > 1:
            text += f"; {detectors[number].name}"
        findings.append(Finding("false positive", k, _corners(box), label, text, number))
    return findings


def _on_slices(count: int) -> str:
    return f", on {count} slice{'s' if count > 1 else ''}"


def _area(box: NDArray[np.float64]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _size(box: NDArray[np.float64]) -> str:
    return f"{box[2] - box[0]:.0f} × {box[3] - box[1]:.0f}"


def _corners(box: NDArray[np.float64]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2
