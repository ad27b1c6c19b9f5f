"""Write CVAT for images 1.1: for each split `annotations.xml` and `images/` of a task."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET  # only writes

from converters.core.files import write_text
from converters.formats.content import Content, Format, Picture, add, number, xml_text

NOTES = """\
One folder a split, as CVAT itself exports a task ("CVAT for images 1.1"): annotations.xml and
images/. In CVAT make a task from the pictures of images/, then "Upload annotations" with
annotations.xml (or a zip of it), format CVAT 1.1; for a new task copy the labels from its <meta>.
xtl, ytl, xbr, ybr are the edges of the box in pixels from 0: width = xbr - xtl. The attribute
lesion_id says which boxes of a case are one 3D lesion. Pictures without boxes are listed.
"""


def place(split: str, name: str) -> str:
    """Return the path of a picture below the export."""
    return f"{split}/images/{name}"


def write(folder: Path, content: Content) -> None:
    """Write an annotation file for each split."""
    for split, pictures in content.splits.items():
        write_text(folder / split / "annotations.xml", xml_text(_task(content, split, pictures)))


def _task(content: Content, split: str, pictures: Sequence[Picture]) -> ET.Element:
    root = ET.Element("annotations")
    add(root, "version", "1.1")
    task = add(add(root, "meta"), "task")
    add(task, "name", split)
    add(task, "size", str(len(pictures)))
    add(task, "mode", "annotation")
    add(task, "overlap", "0")
    add(task, "flipped", "False")
    labels = add(task, "labels")
    for name in content.class_names:
        label = add(labels, "label")
        add(label, "name", name)
        add(label, "type", "rectangle")
        attribute = add(add(label, "attributes"), "attribute")
        add(attribute, "name", "lesion_id")
        add(attribute, "mutable", "False")
        add(attribute, "input_type", "text")
        add(attribute, "default_value", "")
        add(attribute, "values", "")
    for index, picture in enumerate(pictures):
        image = add(root, "image")
        image.attrib = {
            "id": str(index),
            "name": picture.name,
            "width": str(picture.width),
            "height": str(picture.height),
        }
        for box in picture.boxes:
            entry = add(image, "box")
            entry.attrib = {
                "label": content.class_names[box.label],
                "source": "manual",
                "occluded": "0",
                "xtl": number(box.x),
                "ytl": number(box.y),
                "xbr": number(box.x + box.width),
                "ybr": number(box.y + box.height),
                "z_order": "0",
            }
            add(entry, "attribute", str(box.coco.get("lesion_id", ""))).set("name", "lesion_id")
    return root


FORMAT = Format(place, write, NOTES)
