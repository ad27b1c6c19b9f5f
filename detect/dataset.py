"""A split of a dataset as training and scoring want it: pictures, truth, cases."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.dataset import Dataset, read_png
from converters.errors import InputError
from detect.boxes import Boxes
from detect.evaluation.coco_results import truth_from_coco


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

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.paths)

    @cached_property
    def boxes(self) -> int:
        """Number of ground-truth boxes."""
        return sum(len(t) for t in self.truth)

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
    images = content["images"]
    if not images:
        raise InputError(
            dataset.folder,
            f"has no {name} images",
            "convert with another --split, or more patients",
        )
    source = dataset.folder / "annotations" / f"instances_{name}.json"
    image_ids, truth = truth_from_coco(content, source)
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
            planes=[dataset.manifest.request.recipe.planes] * len(images),
            truth=truth,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(source, f"is damaged ({error})", "convert again") from error
