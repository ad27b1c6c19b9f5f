"""Find the boxes and lesions in a voxel mask."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cc3d
import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from converters.masks.labels import classes_of, foreground

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

    Two slices of one lesion give two boxes, which share its id:

    >>> mask = np.zeros((3, 8, 8), np.uint8)
    >>> mask[0, 2:4, 1:5] = mask[1, 3, 4] = 7
    >>> lesions, components = find_lesions(mask, {7: 0}, spacing=(0.5, 0.5, 2.0))
    >>> [(lesion.lesion_id, lesion.voxels, lesion.volume_mm3) for lesion in lesions]
    [(1, 9, 4.5)]
    >>> [(c.lesion_id, c.slice_index, c.x, c.y, c.width, c.height) for c in components]
    [(1, 0, 1, 2, 4, 2), (1, 1, 4, 3, 1, 1)]
    """
    by_class, (z0, y0, x0) = _classes(mask, classes)
    numbered = cc3d.connected_components(by_class, connectivity=26, out_dtype=np.uint32)
    parts = [
        (number, int(z), r, c)
        for z in np.flatnonzero(numbered.any(axis=(1, 2)))
        for number, r, c in _parts(numbered[z])
    ]
    # The ids must not depend on how cc3d numbers: by class, then by the first voxel.
    first: dict[int, tuple[int, int, int]] = {}
    for number, z, r, c in parts:
        here = (z, int(r[0]), int(c[0]))
        first[number] = min(first.get(number, here), here)
    label_of = {number: int(by_class[voxel]) - 1 for number, voxel in first.items()}
    order = sorted(first, key=lambda number: (label_of[number], first[number]))
    id_of = {number: lesion_id for lesion_id, number in enumerate(order, start=1)}

    components = [
        _component(id_of[k], label_of[k], z + z0, r + y0, c + x0, mask.shape, spacing)
        for k, z, r, c in parts
    ]
    components.sort(key=lambda b: (b.slice_index, b.label, b.y, b.x, b.lesion_id))
    by_lesion: dict[int, list[Component]] = {lesion_id: [] for lesion_id in id_of.values()}
    for component in components:
        by_lesion[component.lesion_id].append(component)
    voxel_mm3 = float(np.prod(spacing))
    lesions = []
    for lesion_id, boxes in by_lesion.items():
        voxels = sum(b.area for b in boxes)
        lesions.append(
            Lesion(
                lesion_id=lesion_id,
                label=boxes[0].label,
                voxels=voxels,
                volume_mm3=voxels * voxel_mm3,
                max_axial_diameter_mm=max(b.diameter_mm for b in boxes),
                first_slice=boxes[0].slice_index,
                last_slice=boxes[-1].slice_index,
            )
        )
    return lesions, components


def _classes(
    mask: NDArray[np.unsignedinteger], classes: Mapping[int, int]
) -> tuple[NDArray[np.unsignedinteger], tuple[int, int, int]]:
    """Cut out the block that holds all lesions, as class index + 1; and its corner in the mask."""
    outer = foreground(mask)  # organs too
    by_class = classes_of(mask[outer], classes)
    inner = foreground(by_class)
    z, y, x = (a.start + b.start for a, b in zip(outer, inner, strict=True))
    return np.ascontiguousarray(by_class[inner]), (z, y, x)


def _parts(
    numbered: NDArray[np.unsignedinteger],
) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
    """List the 8-connected parts of a slice: lesion number, rows, columns (in raster order)."""
    y, x = (np.flatnonzero(numbered.any(axis=axis)) for axis in (1, 0))
    crop = np.ascontiguousarray(numbered[y[0] : y[-1] + 1, x[0] : x[-1] + 1])
    # Touching lesions of two classes stay apart: cc3d joins equal values only.
    parts = cc3d.connected_components(crop, connectivity=8)
    r, c = np.nonzero(parts)
    part = parts[r, c]
    order = np.argsort(part, kind="stable")
    for pixels in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
        yield int(crop[r[pixels[0]], c[pixels[0]]]), r[pixels] + y[0], c[pixels] + x[0]


def _component(
    lesion_id: int,
    label: int,
    z: int,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    shape: tuple[int, ...],
    spacing: tuple[float, float, float],
) -> Component:
    x, y = int(columns.min()), int(rows.min())
    last = np.flatnonzero(np.diff(rows, append=-1))  # of each row: pixels are in raster order
    ends = np.concatenate([[0], last[:-1] + 1, last])
    return Component(
        lesion_id=lesion_id,
        label=label,
        slice_index=z,
        x=x,
        y=y,
        width=int(columns.max()) - x + 1,
        height=int(rows.max()) - y + 1,
        area=len(rows),
        area_mm2=len(rows) * spacing[0] * spacing[1],
        diameter_mm=longest_diameter(columns[ends], rows[ends], spacing[0], spacing[1]),
        rle=encode_rle(rows, columns, shape[1], shape[2]),
    )


def longest_diameter(
    columns: NDArray[np.integer], rows: NDArray[np.integer], dx: float, dy: float
) -> float:
    """Measure the greatest distance in mm between two points on the outline of a set of pixels.

    The outline is taken through the middles of the pixels' edges, as scikit-image's
    ``feret_diameter_max`` does: n pixels in a row are exactly n pixels long.

    Args:
        columns, rows: pixel coordinates, px.
        dx, dy: pixel size along columns' and rows' direction, mm.

    >>> longest_diameter(np.arange(10), np.zeros(10, int), dx=0.5, dy=0.5)
    5.0
    """
    hull = cv2.convexHull(np.stack([columns, rows], axis=1).astype(np.int32))[:, 0, :]
    edges = np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]])
    x, y = (((hull[:, None, :] + edges).reshape(-1, 2)) * (dx, dy)).T
    squared = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    return float(np.sqrt(squared.max()))


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
    """Decode a COCO compressed RLE string to a ``(height, width)`` mask.

    >>> rle = encode_rle(np.array([0, 1, 1]), np.array([1, 1, 2]), height=2, width=3)
    >>> decode_rle(rle, height=2, width=3).astype(int).tolist()
    [[0, 1, 0], [0, 1, 1]]
    """
    decoded = coco_mask.decode({"counts": rle.encode("ascii"), "size": [height, width]})
    return np.asarray(decoded).astype(bool)
