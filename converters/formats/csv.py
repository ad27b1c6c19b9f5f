"""Write CSV: `boxes.csv`, one row a box, `images.csv`, one row a picture, and `images/SPLIT/`."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from converters.core.files import write_text
from converters.formats.content import Content, Format

NOTES = """\
images.csv has one row a picture, those without boxes too (boxes = 0); boxes.csv one row a box. Both
name the picture by its path in this folder. x, y, width, height are pixels from 0, x and y of the
upper left corner; class_index counts from 0; diameter_mm is the longest in the slice. Boxes of one
case with one lesion_id are one 3D lesion. spacing is mm a pixel or slice, position_* the middle of
the first pixel in patient mm (LPS). What the dataset does not know is empty.
"""

PICTURE = ("image", "split", "case", "patient", "slice")
IMAGES = (
    *PICTURE, "width", "height", "boxes",
    "spacing_x", "spacing_y", "spacing_z", "position_x", "position_y", "position_z",
)  # fmt: skip
BOXES = (
    *PICTURE, "class", "class_index", "x", "y", "width", "height",
    "area_mm2", "diameter_mm", "lesion_id",
)  # fmt: skip


def place(split: str, name: str) -> str:
    """Return the path of a picture below the export."""
    return f"images/{split}/{name}"


def write(folder: Path, content: Content) -> None:
    """Write both tables."""
    images, boxes = [], []
    for split, pictures in content.splits.items():
        for picture in pictures:
            coco = picture.coco
            key = [
                place(split, picture.name),
                split,
                *(coco.get(name) for name in ("case_id", "patient_id", "slice_index")),
            ]
            geometry = [*_three(coco.get("spacing_mm")), *_three(coco.get("position_mm"))]
            images.append([*key, picture.width, picture.height, len(picture.boxes), *geometry])
            for box in picture.boxes:
                size = [box.x, box.y, box.width, box.height]
                facts = [box.coco.get(name) for name in ("area_mm2", "diameter_mm", "lesion_id")]
                boxes.append([*key, content.class_names[box.label], box.label, *size, *facts])
    write_text(folder / "images.csv", _table(IMAGES, images))
    write_text(folder / "boxes.csv", _table(BOXES, boxes))


def _three(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list) and len(values) == 3 else [None] * 3


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(head)
    table.writerows(rows)
    return text.getvalue()


FORMAT = Format(place, write, NOTES)
