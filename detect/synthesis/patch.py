"""Lay out the neighbourhood of a lesion: its voxels, and the finer points it is drawn on.

A lesion is drawn in mm on points finer than the voxels and averaged over each: thick slices get
their partial volume, and the same lesion comes out at any spacing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Box = tuple[slice, slice, slice]
Mm = tuple[float, float, float]

_FINEST_MM, _COARSEST_MM = 0.5, 1.5  # between the points that a lesion is drawn on
_SPLIT = 5  # a voxel is never split into more along an axis


@dataclass(frozen=True)
class Patch:
    """Hold the points that a lesion is drawn on; axes in the order slice, row, column.

    Attributes:
        box: its voxels in the volume.
        axes: mm of the points from the lesion's centre, one array an axis.
        split: points in a voxel along each axis.
        step: mm between points.
    """

    box: Box
    axes: tuple[Array, Array, Array]
    split: tuple[int, int, int]
    step: Mm

    def average(self, points: Array) -> Array:
        """Average the values of points over their voxels."""
        a, b, c = self.split
        z, y, x = points.shape
        return np.asarray(
            points.reshape(z // a, a, y // b, b, x // c, c).mean(axis=(1, 3, 5)), np.float32
        )

    @property
    def offsets(self) -> tuple[Array, Array, Array]:
        """Return the mm of the voxel centres from the lesion's centre, to be broadcast."""
        z, y, x = (
            axis.reshape(-1, n).mean(axis=1) for axis, n in zip(self.axes, self.split, strict=True)
        )
        return z[:, None, None], y[None, :, None], x[None, None, :]


def make_patch(
    shape: tuple[int, ...],
    step: Mm,
    centre: tuple[float, float, float],
    radius: float,
    reach: float,
) -> Patch:
    """Lay out the voxels within `reach` mm of a centre along each axis.

    Args:
        shape: of the volume: slices, rows, columns.
        step: voxel size in mm, in that order.
        centre: in voxels, in that order.
        radius: of the lesion in mm: small ones are drawn on finer points.
        reach: in mm.
    """
    wanted = min(max(radius / 8, _FINEST_MM), _COARSEST_MM)
    box, axes, split, fine = [], [], [], []
    for count, size, at in zip(shape, step, centre, strict=True):
        low = max(int(np.floor(at - reach / size)), 0)
        high = min(int(np.ceil(at + reach / size)) + 1, count)
        parts = min(max(int(np.ceil(size / wanted - 1e-6)), 1), _SPLIT)
        points = (np.arange((high - low) * parts) + 0.5) / parts - 0.5 + low - at
        box.append(slice(low, high))
        axes.append((points * size).astype(np.float32))
        split.append(parts)
        fine.append(size / parts)
    return Patch(
        (box[0], box[1], box[2]),
        (axes[0], axes[1], axes[2]),
        (split[0], split[1], split[2]),
        (fine[0], fine[1], fine[2]),
    )
