"""Read YOLO's label files: one line a box, `class cx cy width height` as shares of the image."""

import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from converters.core.errors import InputError
from converters.dataset.stratify import SPLITS


def read_labels(
    path: Path, height: int, width: int
) -> list[tuple[int, float, float, float, float]]:
    """Read a label file as (class, x, y, width, height) in px, COCO's corner convention.

    Raises:
        InputError: unreadable, or a line that is not a class and four finite numbers.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"cannot be read ({error})", "convert again") from error
    boxes = []
    for number, line in enumerate(lines, start=1):
        try:
            label, *place = line.split()
            cx, cy, w, h = map(float, place)
            if not isfinite(cx + cy + w + h):
                raise ValueError("not finite")
            box = (int(label), (cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height)
        except ValueError as error:
            raise InputError(
                path, f"line {number} is not `class cx cy w h`", "convert again"
            ) from error
        boxes.append(box)
    return boxes


def data_yaml(class_names: Sequence[str]) -> str:
    """Format ultralytics' `data.yaml`; without a `path:` key the folder can move."""
    lines = [f"{split}: images/{split}" for split in SPLITS]
    lines += ["names:"] + [f"  {i}: {json.dumps(name)}" for i, name in enumerate(class_names)]
    return "\n".join(lines) + "\n"
