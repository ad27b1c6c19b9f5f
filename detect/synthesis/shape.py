"""Draw outlines of lesions: a few ellipsoids run into one, with a wavy surface."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detect.phantom.shapes import join
from detect.synthesis.patch import Array, Patch
from detect.synthesis.texture import uneven

REACH = 1.7  # radii: no outline goes further from its centre


@dataclass(frozen=True)
class Form:
    """Hold what the outlines of a kind have in common.

    Attributes:
        lobes: fewest and most.
        stretch: how far the axes of an ellipsoid differ from their mean, as a share of it.
        waves: height of the surface's waves as a share of the radius.
    """

    lobes: tuple[int, int]
    stretch: float
    waves: float


@dataclass(frozen=True)
class Outline:
    """One outline, drawn for a radius of 1.

    Attributes:
        lobes: (centre, semi-axes, ``(3, 3)`` rotation) of each; slice, row, column.
        waves: as in `Form`.
        seed: of the waves.
    """

    lobes: list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]
    waves: float
    seed: int

    def distance(self, patch: Patch, radius: float) -> Array:
        """Return about how many mm each point of a patch lies outside; negative inside."""
        field: Array | None = None
        for centre, axes, rotation in self.lobes:
            lobe = _ellipsoid(patch, centre * radius, axes * radius, rotation)
            field = lobe if field is None else join(field, lobe, 0.35 * radius)
        assert field is not None  # noqa: S101  (there is at least one)
        rng = np.random.default_rng(self.seed)
        for cell, share in ((0.8, 1.0), (0.4, 0.5)):
            height = np.float32(self.waves * share * radius)
            field = field + height * uneven(rng, patch.axes, cell * radius, REACH * radius)
        return np.asarray(field, np.float32)


def draw_outline(rng: np.random.Generator, form: Form) -> Outline:
    """Draw an outline of about the volume of a ball of radius 1."""
    count = int(rng.integers(form.lobes[0], form.lobes[1] + 1))
    lobes = []
    for _ in range(count):
        axes = 1 + form.stretch * rng.uniform(-1, 1, 3)
        axes /= axes.prod() ** (1 / 3)
        rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        way = rng.standard_normal(3)
        if count == 1:
            lobes.append((np.zeros(3), axes, rotation))
        else:
            away = way / np.linalg.norm(way) * rng.uniform(0.3, 0.6)
            lobes.append((away, axes * rng.uniform(0.55, 0.8), rotation))
    return Outline(lobes, form.waves, int(rng.integers(2**62)))


def _ellipsoid(
    patch: Patch,
    centre: NDArray[np.float64],
    radii: NDArray[np.float64],
    rotation: NDArray[np.float64],
) -> Array:
    """Return the distance to an ellipsoid, exact on its surface and to first order near it."""
    z, y, x = (axis - np.float32(c) for axis, c in zip(patch.axes, centre, strict=True))
    once: Array | float = 0.0
    twice: Array | float = 0.0
    for row, radius in zip(rotation.astype(np.float32), radii.astype(np.float32), strict=True):
        u = (row[0] * z[:, None, None] + row[1] * y[None, :, None] + row[2] * x) / radius
        once = once + u * u
        twice = twice + (u / radius) ** 2
    tiny = np.float32(1e-6)  # in the very middle both are 0
    length = np.sqrt(once + tiny)
    slope = np.sqrt(twice + tiny / np.float32(radii.max() ** 2))
    return np.asarray(length * (length - 1) / slope, np.float32)
