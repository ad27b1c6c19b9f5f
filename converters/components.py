"""Boxes and lesions from a voxel mask: the rule that everything else counts on."""

from collections.abc import Mapping
from dataclasses import dataclass

import cc3d
import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

SMALL_MM = 3.0  # boxes under this diameter are counted in every report, though kept by default


@dataclass(frozen=True)
class Component:
    """One 8-connected component of one class on one axial slice, and the box around it.

    Attributes:
        lesion_id: the 3D lesion it belongs to; from 1, unique within the case.
        label: class index, from 0.
        slice_index: canonical slice.
        x, y: first column and first row, px.
        width, height: last - first + 1, px: the box covers whole pixels.
        area: px.
        area_mm2: mm².
        diameter_mm: longest axial diameter, see `longest_diameter`.
        rle: COCO's compressed run-length string over the whole slice (column-major).
    """

    lesion_id: int
    label: int
    slice_index: int
    x: int
    y: int
    width: int
    height: int
    area: int
    area_mm2: float
    diameter_mm: float
    rle: str


@dataclass(frozen=True)
class Lesion:
    """One 26-connected component of one class in 3D.

    Attributes:
        lesion_id: from 1, in order of (class, first voxel in raster order).
        label: class index, from 0.
        voxels: number of voxels.
        volume_mm3: mm³; None where boxes were marked without a mask.
        max_axial_diameter_mm: the greatest `diameter_mm` of its components.
        first_slice, last_slice: canonical slices, both inclusive.
    """

    lesion_id: int
    label: int
    voxels: int
    volume_mm3: float | None
    max_axial_diameter_mm: float
    first_slice: int
    last_slice: int


def find_lesions(
    mask: NDArray[np.unsignedinteger],
    classes: Mapping[int, int],
    spacing: tuple[float, float, float],
) -> tuple[list[Lesion], list[Component]]:
    """Find the 3D lesions of a mask and the 2D components they leave on each slice.

    Args:
        mask: ``(slices, rows, columns)`` label numbers in the canonical frame.
        classes: label number in the mask → class index; labels not named are background, labels
            that share a class are merged before components are sought.
        spacing: mm along (column, row, slice).

    Returns:
        lesions in order of their id, and components in order of (slice, class, y, x).
    """
    lesion_map, label_of = _label_lesions(mask, classes)
    components: list[Component] = []
    for z in np.flatnonzero(lesion_map.any(axis=(1, 2))):
        components.extend(_slice_components(lesion_map[z], int(z), label_of, spacing))

    voxel_mm3 = float(np.prod(spacing))
    lesions = []
    for lesion_id, label in label_of.items():
        own = [c for c in components if c.lesion_id == lesion_id]
        voxels = sum(c.area for c in own)
        lesions.append(
            Lesion(
                lesion_id=lesion_id,
                label=label,
                voxels=voxels,
                volume_mm3=voxels * voxel_mm3,
                max_axial_diameter_mm=max(c.diameter_mm for c in own),
                first_slice=own[0].slice_index,
                last_slice=own[-1].slice_index,
            )
        )
    return lesions, components


def _label_lesions(
    mask: NDArray[np.unsignedinteger], classes: Mapping[int, int]
) -> tuple[NDArray[np.uint32], dict[int, int]]:
    """Number the 26-connected lesions; returns the numbered volume and lesion id → class index."""
    table = np.zeros(int(max([mask.max(initial=0), *classes])) + 1, dtype=np.uint16)
    for value, label in classes.items():
        table[value] = label + 1
    by_class = table[mask]
    numbered = cc3d.connected_components(by_class, connectivity=26, out_dtype=np.uint32)

    # cc3d numbers as it pleases; ours must not depend on its version.
    flat = np.flatnonzero(numbered)
    numbers, first = np.unique(numbered.ravel()[flat], return_index=True)
    labels = by_class.ravel()[flat[first]].astype(int) - 1
    order = np.lexsort((flat[first], labels))
    renumber = np.zeros(int(numbered.max(initial=0)) + 1, dtype=np.uint32)
    renumber[numbers[order]] = np.arange(1, len(order) + 1)
    return renumber[numbered], {i + 1: int(labels[k]) for i, k in enumerate(order)}


def _slice_components(
    lesion_slice: NDArray[np.uint32],
    z: int,
    label_of: Mapping[int, int],
    spacing: tuple[float, float, float],
) -> list[Component]:
    rows = np.flatnonzero(lesion_slice.any(axis=1))
    columns = np.flatnonzero(lesion_slice.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    crop = lesion_slice[top : rows[-1] + 1, left : columns[-1] + 1]
    # Touching lesions of two classes stay apart: cc3d joins equal values only.
    numbered = cc3d.connected_components(np.ascontiguousarray(crop), connectivity=8)
    found = []
    for number in range(1, int(numbered.max()) + 1):
        r, c = np.nonzero(numbered == number)
        lesion_id = int(crop[r[0], c[0]])
        x, y = left + int(c.min()), top + int(r.min())
        found.append(
            Component(
                lesion_id=lesion_id,
                label=label_of[lesion_id],
                slice_index=z,
                x=x,
                y=y,
                width=left + int(c.max()) - x + 1,
                height=top + int(r.max()) - y + 1,
                area=len(r),
                area_mm2=len(r) * spacing[0] * spacing[1],
                diameter_mm=longest_diameter(c, r, spacing[0], spacing[1]),
                rle=encode_rle(r + top, c + left, *lesion_slice.shape),
            )
        )
    return sorted(found, key=lambda b: (b.label, b.y, b.x, b.lesion_id))


def longest_diameter(
    columns: NDArray[np.integer], rows: NDArray[np.integer], dx: float, dy: float
) -> float:
    """Greatest distance in mm between two points on the outline of a set of pixels.

    The outline is taken through the middles of the pixels' edges, as scikit-image's
    ``feret_diameter_max`` does: n pixels in a row are exactly n pixels long.

    Args:
        columns, rows: pixel coordinates, px.
        dx, dy: pixel size along columns' and rows' direction, mm.
    """
    hull = cv2.convexHull(np.stack([columns, rows], axis=1).astype(np.int32))[:, 0, :]
    edges = np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]])
    points = ((hull[:, None, :] + edges).reshape(-1, 2)) * (dx, dy)
    return float(np.linalg.norm(points[:, None] - points[None], axis=2).max())


def encode_rle(
    rows: NDArray[np.integer], columns: NDArray[np.integer], height: int, width: int
) -> str:
    """Encode pixels as COCO's compressed RLE string of a ``(height, width)`` image."""
    flat = np.sort(columns.astype(np.int64) * height + rows)  # COCO runs down the columns
    starts = np.flatnonzero(np.diff(flat, prepend=-2) != 1)
    run_first = flat[starts]
    run_last = flat[np.append(starts[1:], len(flat))[: len(starts)] - 1]  # none in an empty mask
    edges = np.empty(2 * len(starts) + 1, dtype=np.int64)
    edges[0:-1:2], edges[1::2], edges[-1] = run_first, run_last + 1, height * width
    counts = np.diff(edges, prepend=0)
    counts = counts[: len(counts) - (counts[-1] == 0)].tolist()  # COCO ends with what there is
    packed = coco_mask.frPyObjects({"counts": counts, "size": [height, width]}, height, width)
    return str(packed["counts"], "ascii")


def decode_rle(rle: str, height: int, width: int) -> NDArray[np.bool_]:
    """Decode a COCO compressed RLE string to a ``(height, width)`` mask."""
    decoded = coco_mask.decode({"counts": rle.encode("ascii"), "size": [height, width]})
    return np.asarray(decoded).astype(bool)
