"""Fill polygons: which voxel centres of a slice lie inside."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 4096  # edges; bounds the memory that a structure set with endless contours can take


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
