"""Paint the liver, its vessels and the gallbladder."""

import numpy as np

from detect.phantom.shapes import (
    Array,
    Grid,
    Point,
    ellipsoid,
    jitter,
    join,
    paint,
    smooth_noise,
    soft,
    tube,
)
from detect.phantom.trunk import Trunk


def liver_field(rng: np.random.Generator, grid: Grid, trunk: Trunk) -> Array:
    """Return the field of the liver, in mm or nearly so."""
    at = (grid.x, grid.y, grid.z)
    right = jitter(rng, (-74, -4, 12), 5)
    r = (float(rng.uniform(66, 78)), float(rng.uniform(70, 84)), float(rng.uniform(66, 84)))
    left = jitter(rng, (-4, -44, 26), 6)
    s = (float(rng.uniform(52, 76)), float(rng.uniform(28, 38)), float(rng.uniform(36, 52)))
    field = join(ellipsoid(at, right, r) * 66, ellipsoid(at, left, s, -12) * 30, 22.0)
    # The porta, the stomach and the right kidney dent the underside.
    porta = ellipsoid(at, jitter(rng, (-14, 14, -14), 4), (30, 30, 40), -20) * 28
    kidney = ellipsoid(at, (-50, 52, -50), (36, 34, 62)) * 34
    notch = tube(at, (-28, -90, -30), (-24, -18, 4), 6.0, 2.0)  # the round ligament's fissure
    field = np.maximum(np.maximum(field, -porta), np.maximum(-kidney, -notch))
    spine = ellipsoid(at, (0, 50, 0), (36, 30, 9000)) * 32
    field = np.maximum(np.maximum(field, -spine), np.maximum(trunk.cavity + 2, trunk.dome + 3))
    return np.asarray(field, np.float32)


def liver_texture(rng: np.random.Generator, grid: Grid) -> Array:
    """Draw the unevenness of healthy liver tissue, in HU."""
    return smooth_noise(rng, grid.shape, 14.0, 2.5) + smooth_noise(rng, grid.shape, 70.0, 2.0)


def liver_vessels(
    rng: np.random.Generator, grid: Grid, hu: Array, liver: Array, liver_hu: float
) -> None:
    """Paint the portal tree, bright by now, and the hepatic veins, still dark."""
    portal, veins = float(rng.uniform(100, 135)), liver_hu - float(rng.uniform(4, 12))
    hilum, cava = jitter(rng, (-32, 6, -2), 3), jitter(rng, (-22, 30, 52), 3)
    fork = jitter(rng, (-68, 4, 8), 5)
    bend = jitter(rng, (-22, -34, 22), 6)
    tree: list[tuple[Point, Point, float, float, float]] = [
        (hilum, fork, 6.5, 5.0, portal),
        (fork, jitter(rng, (-95, -30, 22), 8), 4.2, 1.8, portal),
        (fork, jitter(rng, (-108, 28, 20), 8), 4.2, 1.8, portal),
        (fork, jitter(rng, (-98, 14, -32), 8), 3.8, 1.6, portal),
        (hilum, bend, 4.5, 3.4, portal),
        (bend, jitter(rng, (22, -46, 28), 8), 3.2, 1.5, portal),
        (cava, jitter(rng, (-112, 4, 24), 9), 5.5, 2.0, veins),
        (cava, jitter(rng, (-62, -44, 24), 9), 5.0, 2.0, veins),
        (cava, jitter(rng, (0, -44, 34), 9), 4.5, 2.0, veins),
    ]
    for start, end, r0, r1, value in tree:
        middle = tuple((np.add(start, end) / 2).tolist())
        box = grid.box(middle, float(np.abs(np.subtract(end, start)).max()) / 2 + 8)
        paint(hu[box], soft(tube(grid.at(box), start, end, r0, r1)) * liver[box], value)


def gallbladder(rng: np.random.Generator, grid: Grid, hu: Array) -> Array:
    """Paint the gallbladder, if there is one; return the share of every voxel that it fills."""
    center = jitter(rng, (-52, -34, -34), 5)
    share = np.zeros(grid.shape, np.float32)
    present, turn = rng.random() < 0.8, float(rng.uniform(-40, 40))
    if present:  # about one patient in five has had it removed
        box = grid.box(center, 36)
        field = ellipsoid(grid.at(box), center, (13, 20, 24), turn) * 16
        share[box] = soft(field)
        paint(hu[box], share[box], 55.0)
        paint(hu[box], soft(field + 2), float(rng.uniform(4, 16)))
    return share
