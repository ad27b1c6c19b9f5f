"""Collect the pictures and boxes of a dataset, from which every format is written."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from converters.core.errors import InputError
from converters.dataset.folder import Dataset
from converters.dataset.stratify import SPLITS


@dataclass(frozen=True)
class Box:
    """One box of a picture.

    Attributes:
        label: class index, from 0.
        x, y, width, height: px, COCO's corner convention: the box covers [x, x + width).
        coco: its entry in the dataset's annotation file, with lesion and size in mm.
    """

    label: int
    x: float
    y: float
    width: float
    height: float
    coco: Mapping[str, Any]


@dataclass(frozen=True)
class Picture:
    """One picture; without boxes it is a negative.

    Attributes:
        split: train, val or test.
        name: bare file name, unique in the whole dataset.
        width, height: px.
        coco: its entry in the dataset's annotation file, with case, patient and slice.
        boxes: in the dataset's order.
    """

    split: str
    name: str
    width: int
    height: int
    coco: Mapping[str, Any]
    boxes: list[Box] = field(default_factory=list)

    @property
    def stem(self) -> str:
        """Return the file name without its suffix."""
        return Path(self.name).stem


@dataclass(frozen=True)
class Content:
    """The pictures and boxes of a dataset, and facts about its data.

    Attributes:
        class_names: in order of their index.
        title, licence, citation: of the data.
        splits: split → pictures, in the dataset's order; every split is a key.
    """

    class_names: list[str]
    title: str
    licence: str
    citation: str
    splits: dict[str, list[Picture]]


@dataclass(frozen=True)
class Format:
    """A layout of pictures and annotations.

    Attributes:
        place: (split, file name) → where the picture lies below the export.
        write: writes everything but the pictures into an existing folder. The pictures lie there
            already, for formats that say something of them which the dataset does not.
        notes: how to read it, and its conventions; goes into the export's README.txt.
    """

    place: Callable[[str, str], str]
    write: Callable[[Path, Content], None]
    notes: str


def read_content(dataset: Dataset) -> Content:
    """Collect a dataset's pictures and boxes.

    Raises:
        InputError: an annotation file is damaged, or two pictures share a name.
    """
    recipe = dataset.manifest.request.recipe
    stems: set[str] = set()
    splits = {}
    for split in SPLITS:
        content = dataset.annotations(split)
        file = dataset.folder / "annotations" / f"instances_{split}.json"
        try:
            splits[split] = _pictures(split, content, len(recipe.class_names))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(file, f"is damaged ({error!r})", "convert again") from error
        for picture in splits[split]:
            dataset.image_path(split, picture.name)  # refuses a name that leads out of the folder
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*[.]png", picture.name):
                problem = f"names a picture {picture.name!r}, which no conversion does"
                raise InputError(file, problem, "convert again")
            if picture.stem in stems:  # several formats put all splits into one folder
                raise InputError(file, f"lists a second picture {picture.name}", "convert again")
            stems.add(picture.stem)
    return Content(recipe.class_names, recipe.title, recipe.licence, recipe.citation, splits)


def _pictures(split: str, content: Mapping[str, Any], classes: int) -> list[Picture]:
    pictures: dict[int, Picture] = {}
    for image in content["images"]:
        if image["id"] in pictures:
            raise ValueError(f"image id {image['id']} twice")
        width, height = int(image["width"]), int(image["height"])
        if min(width, height) < 1:
            raise ValueError(f"a picture of {width}x{height} px")
        pictures[image["id"]] = Picture(split, str(image["file_name"]), width, height, image)
    for entry in content["annotations"]:
        label = int(entry["category_id"]) - 1
        x, y, width, height = entry["bbox"]
        if not (0 <= label < classes and isfinite(x + y + width + height)):
            raise ValueError(f"box {entry['bbox']} of class {label}")
        pictures[entry["image_id"]].boxes.append(Box(label, x, y, width, height, entry))
    return list(pictures.values())


def number(value: float) -> str:
    """Write a coordinate as text: whole ones without a point, others to a millionth of a pixel."""
    return f"{round(value, 6):.16g}"


def add(parent: ET.Element, tag: str, text: str | None = None) -> ET.Element:
    """Append a child element."""
    child = ET.SubElement(parent, tag)
    child.text = text
    return child


def xml_text(root: ET.Element) -> str:
    """Format an XML document, indented."""
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", short_empty_elements=False) + "\n"
