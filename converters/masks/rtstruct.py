"""Read DICOM RTSTRUCT: contours in patient mm, filled on the slices that they were drawn on.

A contour is placed by its points alone. What it says of the image it was drawn on is not needed,
and in real files often leads nowhere.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from converters.core.errors import InputError
from converters.imaging.dicom.series import as_input_errors
from converters.masks.class_masks import ClassMasks
from converters.masks.dicom_objects import DicomObject, Kind, Scan, objects_of
from converters.recipes.name_rules import Names, listed
from converters.recipes.recipe import Recipe

_AT_ONCE = 4096  # edges; bounds the memory that a structure set with endless contours can take

KIND = Kind(
    name="RTSTRUCT",
    classes=frozenset({"1.2.840.10008.5.1.4.1.1.481.3"}),
    tags=("StructureSetROISequence", "ROIContourSequence"),
)
FILLED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
"""Kinds of contours that are filled. The latter is even-odd by its definition."""

OFF_SLICE = 0.1
"""Steps between slices that a contour may lie off its slice. Headers round to 0.1 mm and better."""

_DIGITS = 6  # of a voxel: a corner that was drawn on a voxel's centre lies on it

_OUTSIDE = "give the structure set that was drawn on this scan"

_Polygon = NDArray[np.float64]


def read(recipe: Recipe, scan: Scan, paths: Sequence[Path]) -> ClassMasks:
    """Fill the contours of the ROIs that a recipe names.

    Args:
        recipe: names the ROIs.
        scan: the grid to fill them on.
        paths: RTSTRUCT files, or folders that hold one.

    Raises:
        InputError: no such ROI, contours that do not fit the scan, or a damaged file.
    """
    objects = objects_of(scan, paths, KIND)
    masks = ClassMasks(scan.grid, [item.path for item in objects])
    if not any(item.resolved for item in objects):
        masks.notes.append("no reference to the scan resolves: contours were placed by position")
    names = Names(recipe)
    seen: list[str] = []
    matched = False
    for item in objects:
        with as_input_errors(item.path):
            rois = list(_rois(item.header))
        seen += [name for name, _ in rois]
        for name, contours in rois:
            role = names.role(name)
            if role is not None:
                matched = True
                _fill(masks, role, item, contours)
    if not matched:
        secrets = [secret for item in objects for secret in item.secrets]
        raise InputError(
            objects[0].path,
            f"holds no ROI that recipe `{recipe.name}` names; there are "
            f"{listed(recipe, seen, secrets)}",
            "correct the names under classes in the recipe",
        )
    return masks


def _rois(header: Dataset) -> Iterator[tuple[str, list[Dataset]]]:
    """Return the name and the contours of each ROI."""
    names = {
        int(roi.ROINumber): str(roi.get("ROIName", ""))
        for roi in header.get("StructureSetROISequence") or ()
    }
    drawn: dict[int, list[Dataset]] = {number: [] for number in names}
    for roi in header.get("ROIContourSequence") or ():
        number = int(roi.ReferencedROINumber)
        drawn.setdefault(number, []).extend(roi.get("ContourSequence") or ())
    for number, contours in drawn.items():
        yield names.get(number, ""), contours


def _fill(masks: ClassMasks, role: int, item: DicomObject, contours: list[Dataset]) -> None:
    """Fill one ROI; those of one class are united."""
    with as_input_errors(item.path):
        kinds = [str(contour.get("ContourGeometricType", "")) for contour in contours]
        drawn = [
            _polygon(item.path, contour.get("ContourData"))
            for contour, kind in zip(contours, kinds, strict=True)
            if kind in FILLED
        ]
    others = Counter(_known(kind) for kind in kinds if kind not in FILLED)
    if others:
        left_out = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        if not drawn:
            raise InputError(
                item.path,
                f"has an ROI of the recipe's without closed contours ({left_out})",
                "draw it as closed contours",
            )
        masks.notes.append(f"contours that enclose nothing were left out: {left_out}")
    planes, between = _by_slice(masks, item.path, drawn)
    if between:
        if not planes:
            raise InputError(
                item.path,
                f"has contours that all lie between the slices of the scan ({between})",
                _OUTSIDE,
            )
        masks.notes.append(f"contours between two slices were left out: {between}")
    volume = masks.of(role)
    _, height, width = volume.shape
    for z, polygons in planes.items():
        volume[z] |= fill_even_odd(polygons, height, width)


def _polygon(path: Path, data: Any) -> _Polygon:
    """Return the corners of a contour in patient mm, ``(n, 3)``."""
    points = np.array(list(data) if data is not None else [], np.float64)
    if len(points) < 3 or len(points) % 3 or not np.isfinite(points).all():
        raise InputError(path, "has a contour that is not a list of points", "export it again")
    return points.reshape(-1, 3)


def _known(kind: str) -> str:
    """Name a kind of contour as DICOM does; other text is not repeated."""
    return kind if kind in ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR") else "unnamed"


def _by_slice(
    masks: ClassMasks, path: Path, drawn: list[_Polygon]
) -> tuple[dict[int, list[_Polygon]], int]:
    """Sort contours by slice, as (column, row); and count those that lie between two slices."""
    slices, height, width = masks.grid.array.shape
    planes: dict[int, list[_Polygon]] = defaultdict(list)
    between = 0
    for points in drawn:
        voxels = masks.grid.from_patient(points).round(_DIGITS)
        depth = voxels[:, 2]
        if np.ptp(depth) > 2 * OFF_SLICE:
            raise InputError(
                path,
                "has a contour that is not parallel to the axial slices of the scan",
                "draw it on axial slices, or give a mask as NIfTI",
            )
        z = int(np.rint(depth.mean()))
        low, high = voxels[:, :2].min(axis=0), voxels[:, :2].max(axis=0)
        if not (
            0 <= z < slices and (high > -0.5).all() and (low < (width - 0.5, height - 0.5)).all()
        ):
            raise InputError(path, "has a contour outside the scan", _OUTSIDE)
        if np.abs(depth - z).max() > OFF_SLICE:
            between += 1
        else:
            planes[z].append(voxels[:, :2])
    return dict(planes), between


def fill_even_odd(
    polygons: Iterable[NDArray[np.float64]], height: int, width: int
) -> NDArray[np.bool_]:
    """Find the pixels whose centres lie inside an odd number of times.

    So a contour inside another is a hole, and the channel of a keyhole, which runs along one line
    to and fro, cancels out. A centre on a left or upper outline is inside, one on a right or lower
    outline is not: of two polygons that share an edge, exactly one holds it.

    Args:
        polygons: each ``(n, 2)`` corners as (column, row); the last is joined to the first. Pixel
            centres are whole numbers.
        height, width: of the picture, px; what lies outside is cut off.
    """
    crossings = np.zeros((height, width + 1), np.int32)
    for polygon in polygons:
        following = np.roll(polygon, -1, axis=0)
        for at in range(0, len(polygon), _AT_ONCE):
            _cross(crossings, polygon[at : at + _AT_ONCE], following[at : at + _AT_ONCE])
    return (np.cumsum(crossings[:, :width], axis=1) % 2).astype(np.bool_)


def _cross(
    crossings: NDArray[np.int32], begin: NDArray[np.float64], end: NDArray[np.float64]
) -> None:
    """Count for each edge and row the first column right of where they cross."""
    height, width = crossings.shape[0], crossings.shape[1] - 1
    # Seen from the upper end, so that an edge and its way back cross at the very same place.
    swap = (begin[:, 1] > end[:, 1])[:, None]
    upper, lower = np.where(swap, end, begin), np.where(swap, begin, end)
    first = np.ceil(np.clip(upper[:, 1], 0, height)).astype(np.int64)
    counts = np.ceil(np.clip(lower[:, 1], 0, height)).astype(np.int64) - first
    edge = np.repeat(np.arange(len(begin)), counts)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    (xa, ya), (xb, yb) = upper[edge].T, lower[edge].T
    x = xa + (row - ya) * ((xb - xa) / (yb - ya))
    np.add.at(crossings, (row, np.ceil(np.clip(x, 0, width)).astype(np.int64)), 1)
