"""Read and write detections and ground truth in COCO's JSON, where category_id = label + 1."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.core.boxes import Boxes
from converters.core.errors import InputError

_RESULTS_REMEDY = (
    "Give the COCO results of this very split: a list of objects with image_id, category_id,"
    " bbox [x, y, width, height] and score from 0 to 1"
)
_TRUTH_REMEDY = (
    "Give a COCO annotation file with images, categories numbered from 1, and annotations with"
    " image_id, category_id and bbox [x, y, width, height]"
)
_FIELDS = ("image_id", "category_id", "bbox", "score")


def detections_to_coco(
    detections: Sequence[Boxes], image_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Convert detections to COCO results, ready for ``json.dump``, in the order given.

    Nothing is rounded. Width = x2 - x1 is the very number that the evaluator computes, so
    pycocotools scores the file as the evaluator scores the boxes.

    Args:
        detections: one ``Boxes`` an image, px.
        image_ids: COCO id of each image.
    """
    return [
        {
            "image_id": image_id,
            "category_id": label + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for image_id, boxes in zip(image_ids, detections, strict=True)
        for (x1, y1, x2, y2), label, score in zip(
            boxes.xyxy.tolist(), boxes.label.tolist(), boxes.score.tolist(), strict=True
        )
    ]


def detections_from_coco(
    results: object, image_ids: Sequence[int], num_classes: int, source: Path
) -> list[Boxes]:
    """Read the detections of each image from COCO results, in the order of the file.

    Corners come back bit for bit wherever x1 + (x2 - x1) is exact in float64: always for the
    single-precision output of a detector, down to a thousandth of a pixel.

    Args:
        results: what ``json.load`` returned.
        image_ids: COCO id of each image; sets the order of the answer.
        num_classes: category ids run from 1 to this.
        source: the file, for messages.

    Raises:
        InputError: not COCO results, or not of these images and classes.
    """
    if not isinstance(results, list):
        raise InputError(source, "not a list of COCO results", _RESULTS_REMEDY)
    collected = _Collected(image_ids, num_classes, source, _RESULTS_REMEDY)
    for index, entry in enumerate(results):
        collected.add(entry, f"result {index}", scored=True)
    return collected.boxes()


def truth_from_coco(annotation_json: object, source: Path) -> tuple[list[int], list[Boxes]]:
    """Read image ids and true boxes from a COCO annotation file, images without a box included.

    The ids come in ascending order: pycocotools scores images in that order, which decides between
    equal scores.

    Args:
        annotation_json: what ``json.load`` returned.
        source: the file, for messages.

    Raises:
        InputError: not a COCO annotation file, categories not numbered from 1, or crowd regions,
            which stand for an unknown number of boxes.
    """
    if not isinstance(annotation_json, dict):
        raise InputError(source, "not a COCO annotation file", _TRUTH_REMEDY)
    try:
        image_ids = sorted(int(image["id"]) for image in annotation_json["images"])
        category_ids = sorted(int(category["id"]) for category in annotation_json["categories"])
        annotations = list(annotation_json["annotations"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(source, "not a COCO annotation file", _TRUTH_REMEDY) from error
    if category_ids != list(range(1, len(category_ids) + 1)):
        problem = f"its category ids are {category_ids}, not 1 to {len(category_ids)}"
        raise InputError(source, problem, _TRUTH_REMEDY)
    twice = [image_id for image_id, times in Counter(image_ids).items() if times > 1]
    if twice:
        raise InputError(source, f"image id {twice[0]} occurs twice", _TRUTH_REMEDY)

    collected = _Collected(image_ids, len(category_ids), source, _TRUTH_REMEDY)
    for index, entry in enumerate(annotations):
        if isinstance(entry, dict) and entry.get("iscrowd"):
            problem = f"annotation {index} is a crowd region"
            raise InputError(source, problem, "Replace it by one box for each lesion")
        collected.add(entry, f"annotation {index}", scored=False)
    return image_ids, collected.boxes()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


class _Collected:
    """Boxes gathered by image from COCO entries, each checked on the way in."""

    def __init__(
        self, image_ids: Sequence[int], num_classes: int, source: Path, remedy: str
    ) -> None:
        self._rows: dict[int, list[tuple[float, ...]]] = {image_id: [] for image_id in image_ids}
        self._num_classes = num_classes
        self._source = source
        self._remedy = remedy

    def add(self, entry: object, where: str, scored: bool) -> None:
        """Take one entry; ``where`` names it in messages."""
        if not isinstance(entry, dict):
            raise self._error(f"{where} is not an object")
        absent = [name for name in _FIELDS if name not in entry and (scored or name != "score")]
        if absent:
            raise self._error(f"{where} has no {absent[0]}")
        image_id, category_id, bbox = entry["image_id"], entry["category_id"], entry["bbox"]
        score = entry["score"] if scored else 1.0
        if not isinstance(image_id, int) or image_id not in self._rows:
            raise self._error(f"{where} has the unknown image_id {image_id!r}")
        if not isinstance(category_id, int) or not 1 <= category_id <= self._num_classes:
            raise self._error(
                f"{where} has category_id {category_id!r}, not 1 to {self._num_classes}"
            )
        if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_number, bbox)):
            raise self._error(f"{where} has the bbox {bbox!r}, not four numbers")
        try:
            x, y, width, height = map(float, bbox)
        except OverflowError as error:  # JSON's integers have no end
            raise self._error(f"{where} has a bbox beyond all numbers") from error
        right, bottom = x + width, y + height
        if not (math.isfinite(right) and math.isfinite(bottom) and width >= 0 and height >= 0):
            raise self._error(f"{where} has the impossible bbox {bbox}")
        if not (_is_number(score) and 0 <= score <= 1):
            raise self._error(f"{where} has the score {score!r}, not a number from 0 to 1")
        self._rows[image_id].append((x, y, right, bottom, category_id - 1, score))

    def boxes(self) -> list[Boxes]:
        """Return one ``Boxes`` an image."""
        tables = (np.array(rows, np.float64).reshape(-1, 6) for rows in self._rows.values())
        return [Boxes(rows[:, :4], rows[:, 4].astype(np.int64), rows[:, 5]) for rows in tables]

    def _error(self, problem: str) -> InputError:
        return InputError(self._source, problem, self._remedy)
