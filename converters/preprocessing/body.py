"""Find the body in a scan from its values alone, as inference must."""

from dataclasses import dataclass

import cc3d
import cv2
import numpy as np
from numpy.typing import NDArray

from converters.imaging.volume import Volume
from converters.preprocessing.frame import Region

GRID_MM = 2.0  # in-plane pixels are averaged to about this: less noise, and quick
AIR_HU = -300  # what is above it is tissue: the lungs stay inside the body by their walls
THINNEST_MM = 10.0  # what is thinner on a slice is no body: table tops, tubes, cloths
SMALLEST = 0.02  # parts of the body (legs, arms) have at least this share of the largest one


@dataclass(frozen=True)
class Body:
    """The body in a scan.

    Attributes:
        region: holds it on every slice; the whole slice where no body was found.
        values: ``(n,)`` of its voxels, averaged over `GRID_MM` in-plane, in no order.
    """

    region: Region
    values: NDArray[np.integer | np.floating]


def find_body(volume: Volume, modality: str = "CT") -> Body:
    """Find the body: what is denser than air, thicker than a table top, and large.

    Args:
        volume: the scan.
        modality: `CT` is cut at `AIR_HU`, or just above the scan's lowest value where that is
            higher (windowed scans read so in air). Anything else is cut by Otsu's rule on the
            square roots, in which bright fat weighs less.
    """
    slices, rows, columns = volume.array.shape
    fx, fy = (max(round(GRID_MM / size), 1) for size in volume.spacing[:2])
    size = (-(-columns // fx), -(-rows // fy))
    # Averaged slice by slice: a fraction of the volume, in its own type.
    coarse = np.empty((slices, size[1], size[0]), volume.array.dtype)
    for z, plane in enumerate(volume.array):
        coarse[z] = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    body = coarse > _threshold(coarse, modality)

    grid = (volume.spacing[0] * columns / size[0], volume.spacing[1] * rows / size[1])
    kernel = cv2.getStructuringElement(
        cv2.MORPH_ELLIPSE, (_odd(THINNEST_MM / grid[0]), _odd(THINNEST_MM / grid[1]))
    )
    for z in range(slices):
        body[z] = cv2.morphologyEx(body[z].view(np.uint8), cv2.MORPH_OPEN, kernel)
    if not _keep_large_parts(body):
        return Body(Region(0, 0, columns, rows), coarse.reshape(-1))
    for z in range(slices):
        body[z] = _filled(body[z])
    y, x = (np.flatnonzero(body.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    region = Region(
        int(x[0]) * columns // size[0],
        int(y[0]) * rows // size[1],
        -(-(int(x[-1]) + 1) * columns // size[0]),
        -(-(int(y[-1]) + 1) * rows // size[1]),
    )
    return Body(region, coarse[body])


def _threshold(coarse: NDArray[np.generic], modality: str) -> float:
    lowest = float(coarse.min())
    if modality == "CT":
        return max(AIR_HU, lowest)
    roots = np.sqrt(coarse.astype(np.float32) - lowest)
    grey = np.round(roots * (255 / max(float(roots.max()), 1e-9))).astype(np.uint8)
    level, _ = cv2.threshold(grey.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return lowest + float((level + 0.5) / 255 * float(roots.max())) ** 2


def _odd(pixels: float) -> int:
    return 2 * round((pixels - 1) / 2) + 1


def _keep_large_parts(tissue: NDArray[np.bool_]) -> bool:
    """Clear what is connected but small beside the largest part; False where there is nothing."""
    parts = cc3d.connected_components(tissue, connectivity=6)
    sizes = cc3d.statistics(parts)["voxel_counts"][1:]
    if not len(sizes):
        return False
    large = np.append(False, sizes >= SMALLEST * sizes.max())
    for plane, numbers in zip(tissue, parts, strict=True):  # no volume of indices
        plane[:] = large[numbers]
    return True


def _filled(plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what is enclosed: lungs, bowel gas, dark vessels."""
    around = np.pad(plane, 1).astype(np.uint8)
    cv2.floodFill(around, None, (0, 0), 2)
    return np.asarray(around[1:-1, 1:-1] != 2)
