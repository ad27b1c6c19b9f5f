"""Write Create ML: for each split `_annotations.createml.json` with the pictures beside it."""

from pathlib import Path

from converters.core.files import write_json
from converters.formats.content import Content, Format
from converters.formats.rfdetr import FOLDERS, place

NOTES = """\
{train,valid,test}/_annotations.createml.json with the pictures beside it: each folder is a data
source of the Create ML app. x and y are the middle of the box, in pixels from the upper left corner
of the picture. A picture without boxes is listed with no annotations.
"""


def write(folder: Path, content: Content) -> None:
    """Write the annotation files."""
    for split, pictures in content.splits.items():
        entries = [
            {
                "image": picture.name,
                "annotations": [
                    {
                        "label": content.class_names[box.label],
                        "coordinates": {
                            "x": box.x + box.width / 2,
                            "y": box.y + box.height / 2,
                            "width": box.width,
                            "height": box.height,
                        },
                    }
                    for box in picture.boxes
                ],
            }
            for picture in pictures
        ]
        write_json(folder / FOLDERS[split] / "_annotations.createml.json", entries)


FORMAT = Format(place, write, NOTES)
