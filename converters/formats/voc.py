"""Write PASCAL VOC: `Annotations/`, `ImageSets/Main/`, `JPEGImages/`."""

from pathlib import Path
from xml.etree import ElementTree as ET  # only writes

from converters.core.files import write_text
from converters.formats.content import Content, Format, Picture, add, number, xml_text

NOTES = """\
Annotations/NAME.xml, ImageSets/Main/{train,val,trainval,test}.txt, and the pictures in JPEGImages/,
which are PNG all the same: JPEG would alter them. (torchvision's VOCDetection looks for .jpg; point
its `images` to the .png files.)
bndbox counts pixels from 1 and includes the last: a box over columns 0 to 9 has xmin 1, xmax 10, so
width = xmax - xmin + 1. Pictures without boxes are listed and have an annotation without object.
"""


def place(_split: str, name: str) -> str:
    """Return the path of a picture below the export."""
    return f"JPEGImages/{name}"


def write(folder: Path, content: Content) -> None:
    """Write the annotations and the lists."""
    (folder / "Annotations").mkdir()
    names = {split: [p.stem for p in pictures] for split, pictures in content.splits.items()}
    names["trainval"] = names["train"] + names["val"]
    for split, stems in names.items():
        write_text(folder / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{s}\n" for s in stems))
    for pictures in content.splits.values():
        for picture in pictures:
            channels = _channels(folder / place(picture.split, picture.name))
            text = xml_text(_annotation(content, picture, channels))
            file = folder / "Annotations" / f"{picture.stem}.xml"
            file.write_text(text, encoding="utf-8", newline="\n")


def _annotation(content: Content, picture: Picture, channels: int) -> ET.Element:
    root = ET.Element("annotation")
    add(root, "folder", "JPEGImages")
    add(root, "filename", picture.name)
    add(add(root, "source"), "database", content.title)
    size = add(root, "size")
    for tag, value in zip(
        ("width", "height", "depth"), (picture.width, picture.height, channels), strict=True
    ):
        add(size, tag, str(value))
    add(root, "segmented", "0")
    for box in picture.boxes:
        entry = add(root, "object")
        add(entry, "name", content.class_names[box.label])
        add(entry, "pose", "Unspecified")
        add(entry, "truncated", "0")
        add(entry, "difficult", "0")
        corners = add(entry, "bndbox")
        add(corners, "xmin", number(box.x + 1))
        add(corners, "ymin", number(box.y + 1))
        add(corners, "xmax", number(box.x + box.width))
        add(corners, "ymax", number(box.y + box.height))
    return root


def _channels(png: Path) -> int:
    with png.open("rb") as stream:
        colour = stream.read(26)[25]  # of the first chunk: 0 grey, 2 colour
    return 3 if colour & 2 else 1


FORMAT = Format(place, write, NOTES)
