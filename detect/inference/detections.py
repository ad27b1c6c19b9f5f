"""The lesions and boxes of one scan as one object, and as the content of `detections.json`."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from converters.imaging.volume import Volume
from converters.preprocessing.frame import Frame
from detect.linking.linking import LinkedLesion

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Lesion:
    """One lesion in patient space: boxes of neighbouring slices, linked.

    Attributes:
        lesion_id: number from 1 on, surest lesion first.
        class_name: class of the lesion.
        score: confidence in [0, 1].
        centre_mm: centre (x, y, z) in patient mm, LPS.
        size_mm: extent in mm along the (column, row, slice) directions.
        centre_file_voxel: centre as an index (i, j, k) into the file as it is stored.
        first_slice, last_slice: canonical slices that it reaches from and to, both included.
        boxes: number of its boxes.
    """

    lesion_id: int
    class_name: str
    score: float
    centre_mm: Point
    size_mm: Point
    centre_file_voxel: Point
    first_slice: int
    last_slice: int
    boxes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the lesion as a row of `detections.json`."""
        return {
            "lesion_id": self.lesion_id,
            "class": self.class_name,
            "score": self.score,
            "centre_mm": list(self.centre_mm),
            "size_mm": list(self.size_mm),
            "centre_file_voxel": list(self.centre_file_voxel),
            "first_slice": self.first_slice,
            "last_slice": self.last_slice,
            "boxes": self.boxes,
        }


@dataclass(frozen=True, repr=False)
class Detections:
    """Lesions of one scan, and the boxes on its slices.

    `len(detections)` counts the lesions, and iterating yields each `Lesion`, surest first.

    Attributes:
        boxes: of each canonical slice the boxes in px of that slice: `boxes[z].xyxy` ``(n, 4)``,
            `boxes[z].label` ``(n,)``, an index into `classes`, and `boxes[z].score` ``(n,)``.
        linked: of each lesion its members as (slice, index into the boxes of that slice).
        classes: class names.
        shape: of the canonical volume: (slices, rows, columns).
        affine: ``(4, 4)``, canonical voxel (column, row, slice, 1) to patient mm, LPS.
        to_file: ``(4, 4)``, canonical voxel to voxel (i, j, k) of the file as it is stored.
        frame: the part of each slice that the model saw.
        facts: models, confidence, linking and runtime, as `detections.json` names them.
        warnings: one line for each reason why the scan may not suit the model.
        case: name of the scan in the outputs.
        source_sha256: hash of the scan's files; empty for an array.
    """

    boxes: Sequence[Boxes]
    linked: Sequence[LinkedLesion]
    classes: Sequence[str]
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    to_file: NDArray[np.float64]
    frame: Frame
    facts: Mapping[str, Any]
    warnings: Sequence[str]
    case: str
    source_sha256: str

    @property
    def spacing(self) -> Point:
        """Voxel size in mm along (column, row, slice), as `Volume.spacing`."""
        return self._grid.spacing

    @cached_property
    def lesions(self) -> tuple[Lesion, ...]:
        """Lesions in patient space, surest first."""
        grid = self._grid
        return tuple(
            Lesion(
                lesion_id=number,
                class_name=self.classes[lesion.label],
                score=lesion.score,
                centre_mm=_point(grid.to_patient(lesion.centre[None])[0]),
                size_mm=_point((lesion.high - lesion.low) * grid.spacing),
                centre_file_voxel=_point(grid.to_file_voxels(lesion.centre[None])[0]),
                first_slice=lesion.members[0][0],
                last_slice=lesion.members[-1][0],
                boxes=len(lesion.members),
            )
            for number, lesion in enumerate(self.linked, start=1)
        )

    @cached_property
    def lesion_ids(self) -> list[NDArray[np.int64]]:
        """Return for each slice the `lesion_id` of each of its boxes, ``(n,)``."""
        ids = [np.zeros(len(boxes), np.int64) for boxes in self.boxes]
        for number, lesion in enumerate(self.linked, start=1):
            for z, b in lesion.members:
                ids[z][b] = number
        return ids

    @property
    def _grid(self) -> Volume:
        return Volume(np.broadcast_to(np.uint8(0), self.shape), self.affine, self.to_file)

    def __len__(self) -> int:
        """Count the lesions."""
        return len(self.linked)

    def __iter__(self) -> Iterator[Lesion]:
        """Yield the lesions, surest first."""
        return iter(self.lesions)

    def __getitem__(self, index: int) -> Lesion:
        """Return one lesion by its rank from 0 on, surest first."""
        return self.lesions[index]

    def __repr__(self) -> str:
        """Name the scan, and count lesions by class, boxes and slices."""
        counts = Counter(lesion.class_name for lesion in self.lesions)
        of_classes = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        lesions = f"{len(self)} lesion{'' if len(self) == 1 else 's'}"
        surest = f" ({of_classes}; highest score {self[0].score:.3f})" if len(self) else ""
        count = sum(map(len, self.boxes))
        slices = sum(len(boxes) > 0 for boxes in self.boxes)
        return (
            f"<Detections of {self.case}: {lesions}{surest},"
            f" {count} boxes on {slices} of {self.shape[0]} slices>"
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return the lesions as rows of `detections.json`."""
        return [lesion.to_dict() for lesion in self.lesions]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `detections.json`: plain lists, texts and numbers."""
        return {
            "schema": "detect-detections/1",
            "case": self.case,
            "source_sha256": self.source_sha256,
            "warnings": list(self.warnings),
            **self.facts,
            "classes": list(self.classes),
            "shape": list(self.shape),
            "spacing_mm": list(self.spacing),
            "affine": self.affine.tolist(),
            "canonical_to_file": self.to_file.tolist(),
            "frame": self.frame.model_dump(),
            "boxes": [
                {
                    "slice_index": z,
                    "class": self.classes[int(boxes.label[b])],
                    "score": float(boxes.score[b]),
                    "bbox": _xywh(boxes.xyxy[b]),
                    "lesion_id": int(self.lesion_ids[z][b]),
                }
                for z, boxes in enumerate(self.boxes)
                for b in range(len(boxes))
            ],
            "lesions": self.rows(),
        }

    def to_json(self) -> str:
        """Return the text of `detections.json`."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"


def _point(values: NDArray[np.float64]) -> Point:
    x, y, z = values.tolist()
    return x, y, z


def _xywh(xyxy: NDArray[np.float64]) -> list[float]:
    x1, y1, x2, y2 = xyxy.tolist()
    return [x1, y1, x2 - x1, y2 - y1]
