"""Paint the wall of the trunk and its bones."""

from dataclasses import dataclass

import numpy as np

from detect.phantom.shapes import Array, Grid, ellipsoid, paint, soft, tube


@dataclass(frozen=True)
class Trunk:
    """Hold the spaces that wall and bones leave for the organs.

    Attributes:
        cavity: ``(slices, rows, columns)`` mm outside the inner face of the wall; negative within.
        dome: as ``cavity``, mm above the diaphragm.
    """

    cavity: Array
    dome: Array


def make_trunk(rng: np.random.Generator, grid: Grid, hu: Array) -> Trunk:
    """Paint skin, fat, muscles, ribs and spine; the cavity is filled with fat."""
    x, y, z = grid.x, grid.y, grid.z
    a, b = float(rng.uniform(146, 164)), float(rng.uniform(98, 114))
    fat, muscle = float(rng.uniform(7, 20)), float(rng.uniform(8, 11))
    u, v = x / np.float32(a), y / np.float32(b)
    # A squircle, since a trunk is flatter behind and at the flanks than an ellipse.
    rho = np.sqrt(u * u + v * v - np.float32(0.2) * u * u * v * v)
    skin = (rho - 1) * np.float32((a + b) / 2)
    paint(hu, soft(skin), 25.0)
    paint(hu, soft(skin + 2.0), -105.0)
    paint(hu, soft(skin + fat), 58.0)
    paint(hu, soft(np.abs(skin + (fat + muscle / 2)) - 0.8), -40.0)  # fat between the wall's layers
    cavity = skin + np.float32(fat + muscle)
    # The spine and the muscles of the back push the cavity's rear wall forward.
    back = ellipsoid((x, y, z), (0, b * 0.86, 0), (62, 43, 9000)) * 43
    cavity = np.asarray(np.maximum(cavity, -back), np.float32)
    paint(hu, soft(cavity), -100.0)
    top, shift = float(rng.uniform(50, 72)), float(rng.uniform(-14, 14))
    fall = ((x + 45) / 95) ** 2 + ((y + 8) / 75) ** 2
    left = ((x - 62) / 75) ** 2 + ((y + 2) / 78) ** 2
    height = np.maximum(top - 42 * fall, top - 14 - 42 * left)
    dome = np.asarray(z - height, np.float32) * np.float32(0.7)
    _ribs(grid, hu, skin + np.float32(fat + muscle * 0.62), (a, b), shift)
    _spine(rng, grid, hu)
    return Trunk(cavity, dome)


def _ribs(grid: Grid, hu: Array, wall: Array, axes: tuple[float, float], shift: float) -> None:
    # Ribs run down and forward, so that a slice cuts each obliquely: an oval along the wall.
    turn = np.arctan2(np.abs(grid.x) / axes[0], grid.y / axes[1])  # 0 behind ... pi in front
    rise = (grid.z + shift + 52 * turn) % 27.0 - 13.5
    rib = np.asarray(np.hypot(wall / 4.2, rise / 5.5) - 1, np.float32)
    rib = np.maximum(rib, (turn - 2.0 - 0.004 * grid.z) * 3)
    rib = np.asarray(np.maximum(rib, (0.42 - turn) * 3), np.float32)
    paint(hu, soft(rib), np.where(rib > -0.55, np.float32(360), np.float32(150)))


def _spine(rng: np.random.Generator, grid: Grid, hu: Array) -> None:
    y0 = 58.0
    bone, phase = float(rng.uniform(150, 210)), float(rng.uniform(0, 34))
    box = grid.box((0, y0 + 14, 0), 66)
    box = (slice(None), box[1], box[2])
    at, view = grid.straight(box), hu[box]
    for side in (-1.0, 1.0):
        paint(view, soft(ellipsoid(at, (side * 31, y0 + 26, 0), (26, 17, 9000))), 58.0)
        paint(view, soft(ellipsoid(at, (side * 36, y0 - 2, -60), (14, 15, 70))), 60.0)  # psoas
        level = np.abs((at[2] + phase) % 34 - 17) - 9
        flat = tube((at[0], at[1], at[2] * 0), (side * 13, y0 + 17, 0),
                    (side * 34, y0 + 23, 0), 4.5, 3.0)  # fmt: skip
        paint(view, soft(np.maximum(flat, level.astype(np.float32))), 330.0)
    arch = ellipsoid(at, (0, y0 + 25, 0), (15, 13, 9000)) * 14
    paint(view, soft(arch), 340.0)
    spinous = ellipsoid(at, (0, y0 + 42, 0), (4.2, 13, 9000)) * 5
    paint(view, soft(spinous), 300.0)
    vertebra = ellipsoid(at, (0, y0, 0), (23, 17, 9000)) * 20
    disc = np.abs((at[2] + phase) % 34 - 17) < 3.5
    core = np.where(disc, np.float32(95), np.float32(bone))
    paint(view, soft(vertebra), np.where(disc, np.float32(120), np.float32(380)))
    paint(view, soft(vertebra + 2.6), core)
    paint(view, soft(ellipsoid(at, (0, y0 + 25, 0), (9.5, 8, 9000)) * 9), 30.0)
