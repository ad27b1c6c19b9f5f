"""Resample a mask onto another grid by nearest neighbour, when a user asks for it.

SimpleITK is not used, for its rounding along a row lets a place midway between two voxels of the
mask fall to either, even where all numbers are exact, as on a grid that is twice as fine.
"""

import numpy as np
from numpy.typing import NDArray

from converters.imaging.volume import Volume

_ALIGNED = 1e-6  # voxels: a tilt that moves no voxel by more than this is rounding


def nearest(mask: Volume, grid: Volume) -> NDArray[np.generic]:
    """Give each voxel of a grid the value of the mask's voxel that its centre lies in, or 0.

    Args:
        mask: label numbers or truth values.
        grid: its array's shape and its affine are used.

    Returns:
        an array of the grid's shape and the mask's type.
    """
    # (column, row, slice) of the grid to that of the mask
    across = np.linalg.inv(mask.affine) @ grid.affine
    extents = np.array(mask.array.shape[::-1])
    shape = grid.array.shape
    result = np.zeros(shape, mask.array.dtype)
    tilt = np.abs(across[:3, :3] - np.diag(np.diag(across[:3, :3]))) * shape[::-1]
    if tilt.max() < _ALIGNED:  # each axis by itself
        places = [
            np.floor(across[axis, axis] * np.arange(shape[2 - axis]) + across[axis, 3] + 0.5)
            for axis in range(3)
        ]
        inside = [np.flatnonzero((p >= 0) & (p < n)) for p, n in zip(places, extents, strict=True)]
        target, source = (
            np.ix_(*(index.astype(np.intp) for index in reversed(indices)))
            for indices in (inside, [p[i] for p, i in zip(places, inside, strict=True)])
        )
        result[target] = mask.array[source]
        return result
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    plane = [across[axis, 0] * columns + across[axis, 1] * rows for axis in range(3)]
    for z in range(shape[0]):
        shift = across[:3, 2] * z + across[:3, 3]
        places = [np.floor(plane[axis] + shift[axis] + 0.5) for axis in range(3)]
        held = np.all([(p >= 0) & (p < n) for p, n in zip(places, extents, strict=True)], axis=0)
        c, r, s = (p[held].astype(np.intp) for p in places)
        result[z][held] = mask.array[s, r, c]
    return result
