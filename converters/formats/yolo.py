"""Write YOLO as ultralytics reads it: `data.yaml`, `images/SPLIT/` and `labels/SPLIT/`."""

from pathlib import Path

from converters.core.files import write_text
from converters.dataset.yolo import data_yaml
from converters.formats.content import Content, Format, Picture

NOTES = """\
data.yaml, images/{train,val,test}/, and labels/{train,val,test}/ with a text file for each picture,
empty for one without boxes. A line is `class cx cy width height`: class index from 0, the rest as
fractions of the picture. data.yaml names no absolute path, so that the folder can move.

    yolo detect train data=data.yaml model=yolo11n.yaml
"""


def place(split: str, name: str) -> str:
    """Return the path of a picture below the export."""
    return f"images/{split}/{name}"


def write(folder: Path, content: Content) -> None:
    """Write `data.yaml` and the labels."""
    write_text(folder / "data.yaml", data_yaml(content.class_names))
    for split, pictures in content.splits.items():
        labels = folder / "labels" / split
        labels.mkdir(parents=True)
        for picture in pictures:
            file = labels / f"{picture.stem}.txt"
            file.write_text(_lines(picture), encoding="ascii", newline="\n")


def _lines(picture: Picture) -> str:
    w, h = picture.width, picture.height
    return "".join(
        f"{b.label} {(b.x + b.width / 2) / w:.9f} {(b.y + b.height / 2) / h:.9f}"
        f" {b.width / w:.9f} {b.height / h:.9f}\n"
        for b in picture.boxes
    )


FORMAT = Format(place, write, NOTES)
