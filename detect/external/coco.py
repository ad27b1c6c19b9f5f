"""Detections in COCO's results format, the images named by id or by file name."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.dataset.coco import detections_from_coco
from converters.dataset.split import Split


def read_coco(path: Path, split: Split, num_classes: int) -> list[Boxes]:
    """Read a results file: a list of objects with image_id, category_id, bbox and score.

    The image is named by the id of the dataset's annotation file; or, as ultralytics' `save_json`
    does, by the picture's name, in `file_name` or in `image_id`, with or without suffix.

    Returns:
        the boxes of each picture of the split.

    Raises:
        InputError: not such a file, or of other pictures or classes.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            path, f"cannot be read as JSON ({error})", "give a COCO results file"
        ) from error
    if isinstance(results, list):
        ids: dict[str, int] = {}
        for picture, image_id in zip(split.paths, split.image_ids, strict=True):
            ids |= {picture.name: image_id, picture.stem: image_id}
        results = [_with_id(entry, k, ids, split, path) for k, entry in enumerate(results)]
    return detections_from_coco(results, split.image_ids, num_classes, path)


def _with_id(entry: Any, index: int, ids: dict[str, int], split: Split, source: Path) -> Any:
    """Put the id in place of the picture's name, where an entry gives the name."""
    if not isinstance(entry, dict):
        return entry
    given = entry.get("file_name", entry.get("image_id"))
    if not isinstance(given, str):
        return entry
    name = PurePosixPath(given.replace("\\", "/")).name
    if name not in ids:
        raise InputError(
            source,
            f"result {index} is of `{name}`, which is no picture of {split.name}",
            "give the results of this very split, or another --split",
        )
    return entry | {"image_id": ids[name]}
