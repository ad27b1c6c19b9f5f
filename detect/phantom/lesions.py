"""Paint the four lesion types of the LiMT classes as in the late arterial phase.

* HCC: enhances beyond the liver, a mosaic inside; about half show a dark capsule.
* Metastasis: an enhancing rim around a hypovascular or necrotic centre; usually several.
* Cyst: water (0-20 HU), round, sharp, no enhancement.
* Cavernous hemangioma: darker than the liver, with nodules at its edge as bright as blood.

After the American College of Radiology's LI-RADS (HCC) and K. M. Horton et al., RadioGraphics 1999
(imaging of hemangiomas and metastases).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detect.phantom.anatomy import Body
from detect.phantom.shapes import (
    SLICE_STEP,
    Array,
    Grid,
    Point,
    ellipsoid,
    paint,
    smooth_noise,
    soft,
)

HCC, METASTASIS, CYST, HEMANGIOMA = 2, 3, 4, 5
# Per class: fewest and most lesions, smallest and largest diameter in mm.
_RANGES = {
    HCC: (1, 3, 18.0, 45.0),
    METASTASIS: (3, 5, 18.0, 38.0),
    CYST: (2, 4, 16.0, 40.0),
    HEMANGIOMA: (2, 3, 24.0, 45.0),
}


@dataclass(frozen=True)
class _Spot:
    center: Point  # mm
    radius: float  # mm


def add_lesions(
    rng: np.random.Generator, grid: Grid, body: Body, classes: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Paint lesions of ``classes`` into ``body.hu``; return their mask, uint8, 0 elsewhere."""
    mask = np.zeros(grid.shape, np.uint8)
    taken: list[_Spot] = []
    for label in classes:
        low, high, small, large = _RANGES[label]
        for _ in range(int(rng.integers(low, high + 1))):
            radius = (small + (large - small) * float(rng.beta(1.5, 1.5))) / 2
            spot = _place(rng, grid, body, radius, taken)
            if spot is not None:
                taken.append(spot)
                _paint(rng, grid, body, mask, label, spot)
    return mask


def _place(
    rng: np.random.Generator, grid: Grid, body: Body, radius: float, taken: list[_Spot]
) -> _Spot | None:
    """Find room in the liver, for a smaller lesion if need be; lesions never touch."""
    for shrink in (1.0, 0.8, 0.65, 0.5):
        r = radius * shrink
        free = (body.depth > r * 0.7 + 2) & (body.liver > 0.99)
        free &= np.abs(grid.z) <= (grid.shape[0] / 2 * SLICE_STEP) - r * 0.5
        for other in taken:
            gap = ellipsoid((grid.x, grid.y, grid.z), other.center, (1, 1, 1)) + 1
            free &= gap > 1.15 * (r + other.radius) + 6
        spots = np.flatnonzero(free)
        if len(spots):
            k, i, j = np.unravel_index(int(spots[int(rng.random() * len(spots))]), grid.shape)
            center = (float(grid.x[k, i, j]), float(grid.y[k, i, j]), float(grid.z[k, 0, 0]))
            return _Spot(center, r)
    return None


def _paint(
    rng: np.random.Generator,
    grid: Grid,
    body: Body,
    mask: NDArray[np.uint8],
    label: int,
    spot: _Spot,
) -> None:
    box = grid.box(spot.center, spot.radius * 1.25)
    at, liver = grid.at(box), body.liver[box]
    field = _outline(rng, at, spot, 0.02 if label == CYST else 0.1)  # mm
    inside = soft(field) * liver
    painter = {HCC: _hcc, METASTASIS: _metastasis, CYST: _cyst, HEMANGIOMA: _hemangioma}[label]
    paint(body.hu[box], inside, painter(rng, at, field, spot, body.liver_hu))
    mask[box][inside > 0.5] = label


def _outline(
    rng: np.random.Generator, at: tuple[Array, Array, Array], spot: _Spot, bumps: float
) -> Array:
    axes = spot.radius * (1 + bumps * rng.uniform(-1.2, 1.2, 3))
    field = ellipsoid(at, spot.center, (float(axes[0]), float(axes[1]), float(axes[2])),
                      float(rng.uniform(0, 90)))  # fmt: skip
    for wave in (0.9, 1.7):
        way, phase = rng.standard_normal(3), float(rng.uniform(0, 6.3))
        way *= wave * 2 / (np.linalg.norm(way) * spot.radius)
        ripple = np.sin(at[0] * way[0] + at[1] * way[1] + at[2] * way[2] + phase)
        field = field + np.float32(bumps * 0.7) * ripple
    return np.asarray(field * np.float32(spot.radius), np.float32)


def _hcc(
    rng: np.random.Generator,
    at: tuple[Array, Array, Array],
    field: Array,
    spot: _Spot,
    liver: float,
) -> Array:
    value = liver + float(rng.uniform(45, 75)) + _mosaic(rng, field.shape, 9.0, 10.0)
    if rng.random() < 0.5:
        paint(value, soft(np.abs(field + 1.2) - 1.2), liver - float(rng.uniform(18, 28)))
    if spot.radius > 16 and rng.random() < 0.5:  # large ones outgrow their blood supply
        core = field + np.float32(spot.radius * 0.68)
        paint(value, soft(core), liver - float(rng.uniform(0, 15)))
    return value


def _metastasis(
    rng: np.random.Generator,
    at: tuple[Array, Array, Array],
    field: Array,
    spot: _Spot,
    liver: float,
) -> Array:
    rim = min(max(0.32 * spot.radius, 3.2), 5.0)
    value = np.full(field.shape, liver + rng.uniform(32, 48), np.float32)
    centre = float(rng.uniform(26, 40)) + _mosaic(rng, field.shape, 9.0, 4.0)
    # Necrosis has no sharp border: it fades over some 3 mm.
    fade = np.clip(0.5 - (field + np.float32(rim)) / 3, 0, 1)
    return np.asarray(value + fade * (centre - value), np.float32)


def _cyst(
    rng: np.random.Generator,
    at: tuple[Array, Array, Array],
    field: Array,
    spot: _Spot,
    liver: float,
) -> Array:
    return np.full(field.shape, rng.uniform(1, 12), np.float32)


def _hemangioma(
    rng: np.random.Generator,
    at: tuple[Array, Array, Array],
    field: Array,
    spot: _Spot,
    liver: float,
) -> Array:
    value = liver - float(rng.uniform(28, 36)) + _mosaic(rng, field.shape, 9.0, 3.0)
    blood = float(rng.uniform(180, 240))
    ways = rng.standard_normal((int(rng.integers(12, 19)), 3))
    for way in ways / np.linalg.norm(ways, axis=1, keepdims=True):
        x, y, z = (np.asarray(spot.center) + way * spot.radius * 0.86).tolist()
        r = spot.radius * float(rng.uniform(0.2, 0.34))
        nodule = ellipsoid(at, (x, y, z), (r, r, r)) * np.float32(r)
        paint(value, soft(nodule), blood)
    return value


def _mosaic(rng: np.random.Generator, shape: tuple[int, ...], cell: float, sigma: float) -> Array:
    slices, rows, columns = shape
    return smooth_noise(rng, (slices, rows, columns), cell, sigma)
