"""Draw soft shapes on a voxel grid, for the anatomy of the phantom.

A *field* is an array that is negative inside a shape and positive outside. Lengths are in mm, with
x to the patient's left, y to the back and z to the head, from the middle of the scan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Point = tuple[float, float, float]
Box = tuple[slice, slice, slice]

FIELD_OF_VIEW = 350.0  # mm, in plane, whatever the number of pixels
SLICE_STEP = 5.0  # mm


@dataclass(frozen=True)
class Grid:
    """Hold the coordinates of the voxels.

    Attributes:
        x: ``(slices, rows, columns)`` mm, bent a little so that no organ is a perfect ellipse.
        y: as ``x``.
        z: ``(slices, 1, 1)`` mm.
        shape: ``(slices, rows, columns)``.
        pixel: width of a pixel in mm.
    """

    x: Array
    y: Array
    z: Array
    shape: tuple[int, int, int]
    pixel: float

    def box(self, center: Point, radius: float) -> Box:
        """Find the voxels within ``radius`` mm of ``center`` along each axis, bends allowed for."""
        steps = (SLICE_STEP, self.pixel, self.pixel)
        ranges = []
        for count, step, middle in zip(self.shape, steps, center[::-1], strict=True):
            at = middle / step + (count - 1) / 2
            reach = (radius + 14.0) / step
            low = min(max(int(at - reach), 0), count)
            ranges.append(slice(low, max(min(int(at + reach) + 2, count), low)))
        return ranges[0], ranges[1], ranges[2]

    def at(self, box: Box) -> tuple[Array, Array, Array]:
        """Return x, y and z of the voxels in ``box``."""
        return self.x[box], self.y[box], self.z[box[0]]

    def straight(self, box: Box) -> tuple[Array, Array, Array]:
        """Return x, y and z of the voxels in ``box`` without the bends: bones are stiff."""
        line = _line(self.shape[2], self.pixel)
        shape = self.x[box].shape
        x = np.broadcast_to(line[None, None, box[2]], shape)
        y = np.broadcast_to(line[None, box[1], None], shape)
        return x, y, self.z[box[0]]


def make_grid(rng: np.random.Generator, size: int, slices: int) -> Grid:
    """Lay out ``size`` x ``size`` pixels and ``slices`` slices, and bend them smoothly."""
    pixel = FIELD_OF_VIEW / size
    line, z = _line(size, pixel), _line(slices, SLICE_STEP)
    shape = (slices, size, size)
    x = line[None, None, :] + smooth_noise(rng, shape, 55.0, 2.6)
    y = line[None, :, None] + smooth_noise(rng, shape, 55.0, 2.6)
    return Grid(x, y, z[:, None, None], shape, pixel)


def _line(count: int, step: float) -> Array:
    return (np.arange(count, dtype=np.float32) - np.float32((count - 1) / 2)) * np.float32(step)


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], cell: float, sigma: float
) -> Array:
    """Draw a random field that varies over about ``cell`` mm with standard deviation ``sigma``.

    The draws depend on the extent in mm only, so that the anatomy does not change with the number
    of pixels.
    """
    slices, rows, columns = shape
    knots = int(np.ceil(FIELD_OF_VIEW / cell)) + 2
    layers = int(np.ceil(slices * SLICE_STEP / cell)) + 2
    coarse = rng.standard_normal((layers, knots, knots)).astype(np.float32)
    at = np.arange(slices) * SLICE_STEP / cell
    low = at.astype(int)
    part = (at - low).astype(np.float32)[:, None, None]
    levels = coarse[low] * (1 - part) + coarse[low + 1] * part
    fine = np.empty(shape, np.float32)
    for index in range(slices):
        cv2.resize(levels[index], (columns, rows), dst=fine[index], interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine * np.float32(sigma / max(float(fine.std()), 1e-6)))


def ellipsoid(
    at: tuple[Array, Array, Array], center: Point, radii: Point, degrees: float = 0.0
) -> Array:
    """Return the field of an ellipsoid turned about z: -1 at its centre, 0 on its surface."""
    x, y, z = at
    dx, dy = x - np.float32(center[0]), y - np.float32(center[1])
    if degrees:
        c, s = np.float32(np.cos(np.radians(degrees))), np.float32(np.sin(np.radians(degrees)))
        dx, dy = c * dx + s * dy, c * dy - s * dx
    u, v, w = dx / np.float32(radii[0]), dy / np.float32(radii[1]), (z - center[2]) / radii[2]
    return np.asarray(np.sqrt(u * u + v * v + (w * w).astype(np.float32)) - 1, np.float32)


def tube(at: tuple[Array, Array, Array], start: Point, end: Point, r0: float, r1: float) -> Array:
    """Return the field in mm of a straight tube that goes from radius ``r0`` to ``r1``."""
    x, y, z = at
    axis = np.subtract(end, start)
    dx, dy, dz = x - np.float32(start[0]), y - np.float32(start[1]), z - np.float32(start[2])
    along = (dx * axis[0] + dy * axis[1] + dz * axis[2]) / max(float(axis @ axis), 1e-6)
    t = np.clip(along, 0, 1).astype(np.float32)
    ex, ey, ez = (d - t * np.float32(a) for d, a in zip((dx, dy, dz), axis, strict=True))
    return np.asarray(np.sqrt(ex * ex + ey * ey + ez * ez) - (r0 + (r1 - r0) * t), np.float32)


def soft(field: Array) -> Array:
    """Return how much of every voxel a shape fills, 0...1: the partial-volume effect of CT.

    Along the way the field changes by the sum of its steps across one voxel, so that a dome which
    a thick slice cuts obliquely fades over many pixels and an upright wall over one.
    """
    steps = np.full(field.shape, 1e-6, np.float32)
    for axis in range(3):
        if field.shape[axis] > 1 and field.size:
            steps += np.abs(np.gradient(field, axis=axis))
    return np.asarray(np.clip(0.5 - field / steps, 0, 1), np.float32)


def join(a: Array, b: Array, reach: float) -> Array:
    """Merge two fields, rounding the groove between them over ``reach`` (polynomial minimum)."""
    mix = np.maximum(reach - np.abs(a - b), 0)
    return np.asarray(np.minimum(a, b) - mix * mix / (4 * reach), np.float32)


def paint(hu: Array, share: Array, value: float | Array) -> None:
    """Blend ``value`` HU into ``hu`` in place where a shape fills the voxel by ``share``."""
    hu += share * (value - hu)


def chain(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    """Pair up successive points of a line."""
    return list(pairwise(points))


def jitter(rng: np.random.Generator, point: Point, sigma: float) -> Point:
    """Move a point by up to 1.6 ``sigma`` mm along each axis."""
    x, y, z = (float(v) for v in np.asarray(point) + rng.uniform(-1.6, 1.6, 3) * sigma)
    return x, y, z
