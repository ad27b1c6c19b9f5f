"""Read boxes without masks: DeepLesion's table `DL_info.csv`, or one `.tru` file a picture.

Both place a box by the corners of its measurement with the first pixel's centre at 1 (DeepLesion's
own code subtracts it); `.tru` files give the same as fractions of the picture's size. The pixels
taken are those that the box touches.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.core.errors import InputError
from converters.imaging.png_stack import picture_files, picture_shape
from converters.imaging.raw import unreadable
from converters.masks.components import Component, Lesion, encode_rle
from converters.recipes.name_rules import Names
from converters.recipes.recipe import Recipe

_MOST_BYTES = 1 << 28  # of a table; DL_info.csv has 8 million
_COLUMNS = {
    "name": "File_name",
    "corners": "Bounding_boxes",
    "diameters": "Lesion_diameters_Pixel_",
    "code": "Coarse_lesion_type",
    "noisy": "Possibly_noisy",
    "spacing": "Spacing_mm_px_",
    "published": "Train_Val_Test",
}
"""What is read of a table. Its other columns, sex and age among them, are not."""

_NEEDED = ("name", "corners", "code")
_ONE_BASED = 0.5  # from the centre of pixel 1 at 1 to the outer edge of the first pixel at 0


@dataclass(frozen=True)
class BoxRow:
    """One row of a table as text; empty where it has no such column.

    Attributes:
        line: in the file.
        name: `PATIENT_STUDY_SERIES_SLICE.png`.
        corners: `x1, y1, x2, y2`, px.
        diameters: long and short, px.
        code: of the type of lesion.
        noisy: not 0 where the annotation may be wrong.
        spacing: `x, y, z`, mm.
        published: 1, 2 or 3, for train, val or test.
    """

    line: int
    name: str
    corners: str
    diameters: str = ""
    code: str = ""
    noisy: str = ""
    spacing: str = ""
    published: str = ""


@dataclass(frozen=True)
class _Box:
    """Corners as px from the outer edge of the first pixel; diameter in px, or None."""

    number: int
    code: str
    corners: tuple[float, float, float, float]
    diameter: float | None


@dataclass(frozen=True)
class Marked:
    """The boxes of one case.

    Attributes:
        shape: slices, rows, columns.
        spacing: mm along (column, row, slice).
        lesions, components: one of each a box; a lesion's volume is not known.
        notes: what a user ought to know, a line each.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    lesions: list[Lesion]
    components: list[Component]
    notes: list[str]


def read_table(path: Path) -> Mapping[str, Sequence[BoxRow]]:
    """Read a table of boxes; return its rows by the name of a picture, or of its folder.

    `PATIENT_STUDY_SERIES_SLICE.png` belongs to the picture of that name and to the folder
    `PATIENT_STUDY_SERIES`.

    Raises:
        InputError: unreadable, or a column that is needed is not there.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(path, "is too large for a table of boxes", "give the right file")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            head = [name.strip() for name in next(reader, [])]
            missing = [_COLUMNS[key] for key in _NEEDED if _COLUMNS[key] not in head]
            if missing:
                raise InputError(
                    path, f"has no column {', '.join(missing)}", "give DeepLesion's DL_info.csv"
                )
            at = {key: head.index(name) for key, name in _COLUMNS.items() if name in head}
            rows = defaultdict(list)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                text = {key: cells[k].strip() if k < len(cells) else "" for key, k in at.items()}
                row = BoxRow(line=reader.line_num, **text)
                stem = row.name.rsplit(".", 1)[0]
                rows[stem].append(row)
                rows[stem.rpartition("_")[0]].append(row)
            return dict(rows)
    except OSError as error:
        raise unreadable(path, error) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            path, "is not a table of comma-separated values", "give it as CSV"
        ) from error


def spacing_of(path: Path | None, rows: Sequence[BoxRow]) -> tuple[float, float, float] | None:
    """Return the voxel size in mm along (column, row, slice) that a table states, or None.

    Raises:
        InputError: it is malformed.
    """
    if path is None or not rows or not rows[0].spacing:
        return None
    x, y, z = (abs(v) for v in _numbers(path, rows[0].line, "spacing", rows[0].spacing, 3))
    if min(x, y, z) <= 0:
        raise InputError(path, f"line {rows[0].line}: has a spacing of 0", "correct the row")
    return x, y, z


def read_boxes(recipe: Recipe, image: Path, mask: Path, rows: Sequence[BoxRow]) -> Marked:
    """Read the boxes of one case.

    Args:
        recipe: names the type codes.
        image: its pictures.
        mask: the table, or the case's `.tru` file.
        rows: of the table.

    Raises:
        InputError: a malformed row, a box outside its picture, or a code that no class has.
    """
    shape = picture_shape(image)
    numbers = list(picture_files(image))
    known = spacing_of(mask, rows)
    spacing = known or (1.0, 1.0, 1.0)
    boxes = _of_table(mask, rows) if rows else _of_file(mask, numbers[0], shape)
    names = Names(recipe)
    strangers = sorted({box.code for box in boxes if not names.knows(box.code)})
    if strangers:
        raise InputError(
            mask,
            f"holds boxes of types {', '.join(strangers)} that recipe `{recipe.name}` lacks",
            "name them under classes or ignore in the recipe",
        )
    lesions: list[Lesion] = []
    components: list[Component] = []
    for box in boxes:
        role = names.role(box.code)
        if role is None or role < 0:
            continue
        if box.number not in numbers:
            raise InputError(
                mask, f"marks slice {box.number}, which is not there", "add its picture"
            )
        z = box.number - numbers[0]
        component = _component(mask, box, len(lesions) + 1, role, z, shape, spacing)
        components.append(component)
        lesions.append(
            Lesion(
                lesion_id=component.lesion_id,
                label=role,
                voxels=0,
                volume_mm3=None,
                max_axial_diameter_mm=component.diameter_mm,
                first_slice=z,
                last_slice=z,
            )
        )
    components.sort(key=lambda c: (c.slice_index, c.label, c.y, c.x, c.lesion_id))
    return Marked(shape, spacing, lesions, components, _notes(known is not None, rows))


def _notes(measured: bool, rows: Sequence[BoxRow]) -> list[str]:
    notes = ["boxes without masks: a segmentation is the box itself, and no volume is known"]
    if not measured:
        notes.append("no spacing is stated: millimetres are pixels")
    noisy = sum(row.noisy not in ("", "0") for row in rows)
    if noisy:
        notes.append(f"{noisy} boxes are marked as possibly noisy")
    return notes


def _of_table(path: Path, rows: Sequence[BoxRow]) -> list[_Box]:
    boxes = []
    for row in rows:
        corners = _numbers(path, row.line, "box", row.corners, 4)
        diameter = None
        if row.diameters:
            diameter = max(_numbers(path, row.line, "diameter", row.diameters, 2))
        number = row.name.rsplit(".", 1)[0].rpartition("_")[2]
        if not number.isdigit():
            raise InputError(path, f"line {row.line}: names no slice", "correct the row")
        x1, y1, x2, y2 = (value - _ONE_BASED for value in corners)
        boxes.append(_Box(int(number), row.code, (x1, y1, x2, y2), diameter))
    return boxes


def _of_file(path: Path, number: int, shape: tuple[int, int, int]) -> list[_Box]:
    """Read rows of `class ymin xmin ymax xmax`, in fractions."""
    _, height, width = shape
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(path, "is too large for a list of boxes", "give the right file")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise InputError(path, "is not text", "give rows of class ymin xmin ymax xmax") from error
    boxes = []
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        code, _, rest = text.strip().partition(" ")
        y1, x1, y2, x2 = _numbers(path, line, "box", ",".join(rest.split()), 4)
        if min(y1, x1, y2, x2) < 0 or max(y1, x1, y2, x2) > 1:
            raise InputError(path, f"line {line}: holds no fractions", "correct the row")
        edges = (x1 * width, y1 * height, x2 * width, y2 * height)
        a, b, c, d = (value - _ONE_BASED for value in edges)
        boxes.append(_Box(number, code, (a, b, c, d), None))
    return boxes


def _numbers(path: Path, line: int, what: str, text: str, count: int) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        raise InputError(
            path, f"line {line}: has a malformed {what}", f"write {count} numbers, or drop the row"
        )
    return values


def _component(
    path: Path,
    box: _Box,
    lesion_id: int,
    label: int,
    z: int,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
) -> Component:
    x1, y1, x2, y2 = box.corners
    _, height, width = shape
    if not (x1 < x2 and y1 < y2 and x2 > 0 and y2 > 0 and x1 < width and y1 < height):
        raise InputError(
            path,
            f"has a box on slice {box.number} that is empty or outside the picture",
            "correct or drop its row",
        )
    x, y = max(math.floor(x1), 0), max(math.floor(y1), 0)
    right, bottom = min(math.ceil(x2), width), min(math.ceil(y2), height)
    rows, columns = np.mgrid[y:bottom, x:right]
    longer = max((right - x) * spacing[0], (bottom - y) * spacing[1])
    return Component(
        lesion_id=lesion_id,
        label=label,
        slice_index=z,
        x=x,
        y=y,
        width=right - x,
        height=bottom - y,
        area=rows.size,
        area_mm2=rows.size * spacing[0] * spacing[1],
        diameter_mm=longer if box.diameter is None else box.diameter * spacing[0],
        rle=encode_rle(rows.ravel(), columns.ravel(), height, width),
    )
