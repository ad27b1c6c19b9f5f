"""Write RF-DETR's folder, which is Roboflow's COCO: `train/`, `valid/` and `test/`."""

from pathlib import Path

from converters.core.files import write_json
from converters.formats.coco import annotation_file
from converters.formats.content import Content, Format

FOLDERS = {"train": "train", "val": "valid", "test": "test"}

NOTES = """\
{train,valid,test}/_annotations.coco.json with the pictures beside it.
bbox is [x, y, width, height] in pixels from 0. category_id is the class index, from 0, and no
category is the parent of another: RF-DETR drops a parent that has no boxes of its own, and all
classes after it would move up by one. Pictures without boxes are listed.

    rfdetr.RFDETRNano().train(dataset_dir="THIS FOLDER")
"""


def place(split: str, name: str) -> str:
    """Return the path of a picture below the export."""
    return f"{FOLDERS[split]}/{name}"


def write(folder: Path, content: Content) -> None:
    """Write the annotation files."""
    categories = [
        {"id": i, "name": name, "supercategory": "none"}
        for i, name in enumerate(content.class_names)
    ]
    for split, pictures in content.splits.items():
        file = folder / FOLDERS[split] / "_annotations.coco.json"
        write_json(file, annotation_file(content, pictures, categories))


FORMAT = Format(place, write, NOTES)
