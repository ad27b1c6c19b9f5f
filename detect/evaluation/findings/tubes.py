"""Stack the boxes of a split scan by scan, and write true lesions as tubes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from converters.dataset.split import Split
from detect.evaluation.findings.match import Tube
from detect.linking.linking import LinkedLesion, class_agnostic_nms


@dataclass(frozen=True)
class Scan:
    """One scan.

    Attributes:
        stack: boxes of each slice, as `predict` would link them, from the first to the last slice
            that the split has; one that it has not is empty.
        lesions: the true ones.
        diameters_mm: their longest axial diameters; NaN: not known.
    """

    stack: list[Boxes]
    lesions: list[Tube]
    diameters_mm: NDArray[np.float64]

    def above(self, confidence: float) -> list[Boxes]:
        """Stack of the boxes from a confidence on: what it would have been made of them alone."""
        return [boxes[boxes.score >= confidence] for boxes in self.stack]


def scans_of(split: Split, detections: Sequence[Boxes], confidence: float) -> Iterator[Scan]:
    """Go through the scans of a split.

    Args:
        split: pictures and truth.
        detections: on each of its pictures.
        confidence: boxes below are left out.
    """
    by_case: dict[str, dict[int, int]] = {}
    for k, case in enumerate(split.case_ids):
        by_case.setdefault(case, {})[split.slice_indices[k]] = k
    for pictures in by_case.values():
        first, last = min(pictures), max(pictures)
        stack = [Boxes.empty()] * (last - first + 1)
        parts: dict[tuple[int, ...], list[tuple[int, NDArray[np.float64]]]] = {}
        label: dict[tuple[int, ...], int] = {}
        diameter: dict[tuple[int, ...], float] = {}
        for z, k in pictures.items():
            boxes = detections[k]
            stack[z - first] = class_agnostic_nms(boxes[boxes.score >= confidence])
            truth, diameters = split.truth[k], split.diameters_mm[k]
            for b, lesion in enumerate(split.lesion_ids[k].tolist()):
                key = (lesion,) if lesion >= 0 else (-1, z, b)
                parts.setdefault(key, []).append((z - first, truth.xyxy[b]))
                label.setdefault(key, int(truth.label[b]))
                diameter[key] = float(np.fmax(diameter.get(key, np.nan), diameters[b]))
        yield Scan(
            stack,
            [tube_of(label[key], 1.0, boxes) for key, boxes in parts.items()],
            np.array(list(diameter.values()), np.float64),
        )


def tube_of(label: int, score: float, boxes: Sequence[tuple[int, NDArray[np.float64]]]) -> Tube:
    """Join boxes; several on one slice, such as the two arms of a lesion, give the one around."""
    joined: dict[int, NDArray[np.float64]] = {}
    for z, box in boxes:
        around = joined.get(z, box)
        joined[z] = np.append(np.minimum(around[:2], box[:2]), np.maximum(around[2:], box[2:]))
    return Tube(label, score, joined)


def tubes_of(findings: Sequence[LinkedLesion], stack: Sequence[Boxes]) -> list[Tube]:
    """Write linked findings as tubes of the boxes that they were linked from."""
    return [
        tube_of(finding.label, finding.score, [(z, stack[z].xyxy[b]) for z, b in finding.members])
        for finding in findings
    ]
