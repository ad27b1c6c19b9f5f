"""Write COCO: `annotations/instances_SPLIT.json` and `images/SPLIT/`, with all known fields."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converters.core.files import write_json
from converters.formats.content import Content, Format, Picture

NOTES = """\
annotations/instances_{train,val,test}.json, pictures in images/{train,val,test}/.
bbox is [x, y, width, height] in pixels from 0; category_id counts from 1.
Every picture is listed, those without boxes too. Beyond COCO: case, patient, slice and position of
each picture; lesion, area in mm2 and longest diameter in mm of each box.

    torchvision.datasets.CocoDetection("images/train", "annotations/instances_train.json")
"""


def place(split: str, name: str) -> str:
    """Return the path of a picture below the export."""
    return f"images/{split}/{name}"


def write(folder: Path, content: Content) -> None:
    """Write the annotation files."""
    categories = [
        {"id": i, "name": name, "supercategory": "lesion"}
        for i, name in enumerate(content.class_names, start=1)
    ]
    for split, pictures in content.splits.items():
        file = folder / "annotations" / f"instances_{split}.json"
        write_json(file, annotation_file(content, pictures, categories))


def annotation_file(
    content: Content, pictures: Sequence[Picture], categories: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Build a COCO annotation file; the categories stand in order of the class index."""
    return {
        "info": {"description": content.title, "version": "1.0"},
        "licenses": [{"id": 1, "name": content.licence}],
        "categories": categories,
        "images": [dict(picture.coco) for picture in pictures],
        "annotations": [
            {**box.coco, "category_id": categories[box.label]["id"]}
            for picture in pictures
            for box in picture.boxes
        ],
    }


FORMAT = Format(place, write, NOTES)
