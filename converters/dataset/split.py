"""Load a split of a dataset: pictures, ground truth, cases."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.dataset.audit import two_sides
from converters.dataset.coco import detections_to_coco, truth_from_coco
from converters.dataset.folder import Dataset, read_png
from converters.dataset.provenance import Origins
from converters.dataset.stratify import SPLITS


@dataclass(frozen=True)
class Split:
    """One split of a dataset, in the order of its annotation file.

    Attributes:
        name: train, val or test.
        paths: pictures.
        image_ids: COCO's.
        case_ids, patient_ids, slice_indices: of each picture.
        sizes: (height, width) of each picture, px.
        planes: number of channels of each picture, 1 or 3.
        truth: ground-truth boxes of each picture.
        lesion_ids: 3D lesion of each of its boxes, one count for each case; -1: COCO does not say.
        diameters_mm: longest axial diameter of each of its boxes; NaN: COCO does not say.
        areas: COCO's area of each of its boxes, px²: of the component, not of the rectangle.
        synthetic: whether its lesions are made up while those of others are real.
    """

    name: str
    paths: list[Path]
    image_ids: list[int]
    case_ids: list[str]
    patient_ids: list[str]
    slice_indices: list[int]
    sizes: list[tuple[int, int]]
    planes: list[int]
    truth: list[Boxes]
    lesion_ids: list[NDArray[np.int64]]
    diameters_mm: list[NDArray[np.float64]]
    areas: list[NDArray[np.float64]]
    synthetic: list[bool]

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.paths)

    @cached_property
    def boxes(self) -> int:
        """Count the ground-truth boxes."""
        return sum(len(t) for t in self.truth)

    @property
    def origins(self) -> Origins:
        """Return case, patient, lesion and size of images and boxes, for the evaluator."""
        return Origins(
            self.case_ids, self.patient_ids, self.lesion_ids, self.diameters_mm, self.areas
        )

    def select(self, indices: Sequence[int], name: str | None = None) -> "Split":
        """Take some of the pictures, under another name if one is given."""
        columns: dict[str, list[Any]] = {
            column.name: [getattr(self, column.name)[k] for k in indices]
            for column in fields(self)
            if column.name != "name"
        }
        return replace(self, name=name or self.name, **columns)

    def batches(self, size: int) -> Iterator[list[NDArray[np.uint8]]]:
        """Read the pictures, `size` at a time."""
        for start in range(0, len(self), size):
            yield [self.read(k) for k in range(start, min(start + size, len(self)))]

    def read(self, index: int) -> NDArray[np.uint8]:
        """Read one picture: ``(height, width)`` grey, or ``(height, width, 3)``.

        Raises:
            InputError: it is missing, damaged, or not of the size that COCO says.
        """
        pixels = read_png(self.paths[index])
        planes = self.planes[index]
        if pixels.shape != (self.sizes[index] if planes == 1 else (*self.sizes[index], planes)):
            raise InputError(
                self.paths[index], "is not the picture that the dataset describes", "convert again"
            )
        return pixels


def load_split(dataset: Dataset, name: str) -> Split:
    """Read one split.

    Raises:
        InputError: no such split, or no picture in it.
    """
    content = dataset.annotations(name)
    images, boxes = content["images"], content["annotations"]
    if not images:
        raise InputError(
            dataset.folder,
            f"has no {name} images",
            "convert with another --split, or more patients",
        )
    source = dataset.folder / "annotations" / f"instances_{name}.json"
    image_ids, truth = truth_from_coco(content, source)
    synthetic = {case.id for case in dataset.manifest.cases if case.synthetic}
    try:
        images = sorted(images, key=lambda image: int(image["id"]))  # as `image_ids` are
        return Split(
            name=name,
            paths=[dataset.image_path(name, image["file_name"]) for image in images],
            image_ids=image_ids,
            case_ids=[image["case_id"] for image in images],
            patient_ids=[image["patient_id"] for image in images],
            slice_indices=[image["slice_index"] for image in images],
            sizes=[(int(image["height"]), int(image["width"])) for image in images],
            planes=[dataset.manifest.request.recipe.representation.planes] * len(images),
            truth=truth,
            lesion_ids=_by_image(boxes, image_ids, "lesion_id", -1, np.int64),
            diameters_mm=_by_image(boxes, image_ids, "diameter_mm", math.nan, np.float64),
            areas=_by_image(boxes, image_ids, "area", math.nan, np.float64),
            synthetic=[image["case_id"] in synthetic for image in images],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(source, f"is damaged ({error})", "convert again") from error


def _by_image(
    boxes: list[dict[str, Any]], image_ids: list[int], field: str, unknown: float, kind: type
) -> list[NDArray[Any]]:
    """Gather one field of COCO's boxes by image, in the order in which `truth_from_coco` has them.

    Raises:
        KeyError, TypeError, ValueError: the field is no number, or the image is unknown.
    """
    values: dict[int, list[float]] = {image_id: [] for image_id in image_ids}
    for box in boxes:
        values[box["image_id"]].append(box.get(field, unknown))
    return [np.array(numbers, kind) for numbers in values.values()]


def check_sides(dataset: Dataset) -> None:
    """Refuse a dataset with a patient, or one and the same scan, in two splits.

    Raises:
        InputError: numbers on such a split would not be those of new patients.
    """
    contents = {name: dataset.annotations(name) for name in SPLITS}
    try:
        problem = next(two_sides(dataset, contents), None)
    except (KeyError, TypeError) as error:
        raise InputError(dataset.folder, f"is damaged ({error})", "convert again") from error
    if problem:
        raise InputError(
            dataset.folder, f"cannot be scored on: {problem}", "convert again, splitting by patient"
        )


def split_to_coco(split: Split, classes: Sequence[str]) -> dict[str, Any]:
    """Write a split's truth as COCO does, for other evaluators; ids are the split's own."""
    boxes = detections_to_coco(split.truth, split.image_ids)
    return {
        "images": [
            {
                "id": split.image_ids[k],
                "file_name": split.paths[k].name,
                "width": split.sizes[k][1],
                "height": split.sizes[k][0],
                "case_id": split.case_ids[k],
                "patient_id": split.patient_ids[k],
                "slice_index": split.slice_indices[k],
            }
            for k in range(len(split))
        ],
        "annotations": [
            {
                "id": number,
                "image_id": box["image_id"],
                "category_id": box["category_id"],
                "bbox": box["bbox"],
                "area": box["bbox"][2] * box["bbox"][3],
                "iscrowd": 0,
            }
            for number, box in enumerate(boxes, start=1)
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(classes, start=1)],
    }
