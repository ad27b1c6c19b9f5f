"""Read 3D boxes without masks: LLD-MMRI's `Annotation.json`.

A cuboid holds its whole lesion, so towards its ends in z it is larger than what a slice shows.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.core.errors import InputError
from converters.imaging.raw import unreadable
from converters.imaging.volume import Volume
from converters.masks.components import Component, Lesion, encode_rle
from converters.recipes.name_rules import Names
from converters.recipes.recipe import Recipe

NOTE = "3D boxes without masks: a segmentation is the box itself, the same on each of its slices"

_MOST_BYTES = 1 << 28  # of a table
_AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Cuboid:
    """One box of a scan.

    Attributes:
        code: type of the lesion.
        low, high: file voxel (i, j, k); in i and j `high` is the first beyond, in k the last
            within, as the authors' own code cuts them out.
        published: empty; which side of a published split is not said.
    """

    code: str
    low: tuple[int, int, int]
    high: tuple[int, int, int]
    published: str = ""


def read_table(path: Path, phase: str) -> Mapping[str, Sequence[Cuboid]]:
    """Read a table of 3D boxes; return those of each series by its name.

    Args:
        path: the JSON file.
        phase: only series of this phase; empty: all.

    Raises:
        InputError: unreadable, or not laid out as LLD-MMRI's.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(path, "is too large for a table of boxes", "give the right file")
        patients = json.loads(path.read_bytes())["Annotation_info"]
        by_series: dict[str, list[Cuboid]] = defaultdict(list)
        for series in (series for listed in patients.values() for series in listed):
            if not phase or series["phase"] == phase:
                lesions = series["annotation"]["lesion"].values()
                by_series[str(series["seriesUID"])] += [_cuboid(lesion) for lesion in lesions]
        return dict(by_series)
    except OSError as error:
        raise unreadable(path, error) from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            path, "is not laid out as a table of 3D boxes", "give LLD-MMRI's Annotation.json"
        ) from error


def _cuboid(lesion: Mapping[str, Any]) -> Cuboid:
    box = lesion["bbox"]["3D_box"]
    low, high = ([float(box[f"{axis}_{end}"]) for axis in _AXES] for end in ("min", "max"))
    if not all(map(math.isfinite, (*low, *high))):
        raise ValueError("not finite")
    (a, b, c), (d, e, f) = ([int(value) for value in corner] for corner in (low, high))
    return Cuboid(str(lesion["category"]), (a, b, c), (d, e, f))


def find_cuboids(
    recipe: Recipe, grid: Volume, table: Path, rows: Sequence[Cuboid]
) -> tuple[list[Lesion], list[Component]]:
    """Cut the boxes of one scan into slices.

    Args:
        recipe: names the types.
        grid: of the scan.
        table: named in errors.
        rows: of this scan.

    Returns:
        lesions, one a box and of unknown volume, and their components.

    Raises:
        InputError: a type that no class has, or a box that is empty or outside the scan.
    """
    names = Names(recipe)
    strangers = sorted({row.code for row in rows if not names.knows(row.code)})
    if strangers:
        raise InputError(
            table,
            f"holds boxes of types {', '.join(strangers)} that recipe `{recipe.name}` lacks",
            "name them under classes or ignore in the recipe",
        )
    lesions: list[Lesion] = []
    components: list[Component] = []
    for row in rows:
        role = names.role(row.code)
        if role is not None and role >= 0:
            on_slices = _slices(grid, table, row, len(lesions) + 1, role)
            components += on_slices
            lesions.append(
                Lesion(
                    lesion_id=len(lesions) + 1,
                    label=role,
                    voxels=0,
                    volume_mm3=None,
                    max_axial_diameter_mm=on_slices[0].diameter_mm,
                    first_slice=on_slices[0].slice_index,
                    last_slice=on_slices[-1].slice_index,
                )
            )
    components.sort(key=lambda c: (c.slice_index, c.label, c.y, c.x, c.lesion_id))
    return lesions, components


def _slices(grid: Volume, table: Path, row: Cuboid, lesion_id: int, label: int) -> list[Component]:
    i, j, k = row.high
    inside = np.array([row.low, (i - 1, j - 1, k)], dtype=np.float64)  # first and last voxel
    ends = np.rint((inside - grid.to_file[:3, 3]) @ grid.to_file[:3, :3]).astype(int)
    depth, height, width = grid.array.shape
    x, y, first = np.maximum(ends.min(axis=0), 0)
    right, bottom, last = np.minimum(ends.max(axis=0) + 1, (width, height, depth))
    if (inside[0] > inside[1]).any() or not (x < right and y < bottom and first < last):
        raise InputError(table, "has a box that is empty or outside its scan", "correct the table")
    rows, columns = np.mgrid[y:bottom, x:right]
    dx, dy, _ = grid.spacing
    return [
        Component(
            lesion_id=lesion_id,
            label=label,
            slice_index=int(z),
            x=int(x),
            y=int(y),
            width=int(right - x),
            height=int(bottom - y),
            area=rows.size,
            area_mm2=rows.size * dx * dy,
            diameter_mm=max((right - x) * dx, (bottom - y) * dy),
            rle=encode_rle(rows.ravel(), columns.ravel(), height, width),
        )
        for z in range(first, last)
    ]
