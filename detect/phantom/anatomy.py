"""Paint an abdomen in the late arterial phase, in HU, from soft shapes.

HU values are textbook ranges for a late arterial phase, some 35 s after the injection: aorta
250-350; portal vein 100-150; liver 60-80 with hepatic veins still unenhanced; spleen 100-130 and
patchy; renal cortex 150-200, medulla 60-90; muscle 50-65; fat -110...-90; bile and water 0-20;
lung about -850; cortical bone above 300 (W. Dähnert, Radiology Review Manual; M. Prokop and
M. Galanski, Spiral and Multislice CT of the Body).
"""

from dataclasses import dataclass

import numpy as np

from detect.phantom.liver import gallbladder, liver_field, liver_texture, liver_vessels
from detect.phantom.shapes import (
    Array,
    Grid,
    Point,
    chain,
    ellipsoid,
    jitter,
    paint,
    smooth_noise,
    soft,
    tube,
)
from detect.phantom.trunk import Trunk, make_trunk


@dataclass(frozen=True)
class Body:
    """Hold what lesions are painted into: the HU of an abdomen and its liver.

    Attributes:
        hu: ``(slices, rows, columns)`` HU, painted on in place.
        liver: share of the voxel that is liver, 0...1.
        depth: about how many mm a voxel lies under the liver's surface; negative outside.
        liver_hu: mean HU of this liver.
    """

    hu: Array
    liver: Array
    depth: Array
    liver_hu: float


def make_body(rng: np.random.Generator, grid: Grid) -> Body:
    """Paint one patient without lesions."""
    hu = np.full(grid.shape, -1000.0, np.float32)
    trunk = make_trunk(rng, grid, hu)
    lung = soft(np.maximum(trunk.cavity, -trunk.dome))
    _gut(rng, grid, hu, trunk)
    _spleen(rng, grid, hu, trunk)
    _kidneys(rng, grid, hu)
    field = liver_field(rng, grid, trunk)
    liver = soft(field)
    liver_hu = float(rng.uniform(62, 80))
    paint(hu, lung, -850.0)
    paint(hu, liver, liver_hu + liver_texture(rng, grid))
    liver_vessels(rng, grid, hu, liver, liver_hu)
    _great_vessels(rng, grid, hu)
    liver = liver * (1 - gallbladder(rng, grid, hu))
    return Body(hu, liver, -field, liver_hu)


def _gut(rng: np.random.Generator, grid: Grid, hu: Array, trunk: Trunk) -> None:
    inside = np.maximum(trunk.cavity + 3, trunk.dome + 4)
    center = jitter(rng, (62, -35, 22), 7)
    radii = (float(rng.uniform(36, 50)), float(rng.uniform(26, 36)), float(rng.uniform(36, 50)))
    box = grid.box(center, 55)
    at, view = grid.at(box), hu[box]
    stomach = np.maximum(ellipsoid(at, center, radii, -35) * 33, inside[box])
    level = at[1] - np.float32(center[1] + rng.uniform(-16, -2))
    paint(view, soft(stomach), 75.0)
    content = np.where(level < 0, np.float32(-920), np.float32(rng.uniform(8, 35)))
    paint(view, soft(stomach + 4), content)
    for _ in range(26):
        spot = (
            float(rng.uniform(-95, 100)),
            float(rng.uniform(-75, -8)),
            float(rng.uniform(-85, -12)),
        )
        r = float(rng.uniform(10, 17))
        box = grid.box(spot, r)
        at, view = grid.at(box), hu[box]
        loop = ellipsoid(at, spot, (r * float(rng.uniform(0.8, 1.5)), r, r * 1.3)) * np.float32(r)
        loop = np.maximum(loop, inside[box])
        filling = float(rng.choice([-700.0, 15.0, 30.0, 45.0, 60.0]))
        paint(view, soft(loop), 90.0)
        paint(view, soft(loop + 2.6), filling)
    points: list[Point] = [(-22, 8, -42), (-8, 0, -30), (14, -2, -20), (42, 8, -12), (72, 22, -2)]
    for start, end in chain([jitter(rng, p, 3) for p in points]):
        box = grid.box(start, 45)
        paint(hu[box], soft(tube(grid.at(box), start, end, 9.5, 8.5)), 98.0)  # pancreas


def _spleen(rng: np.random.Generator, grid: Grid, hu: Array, trunk: Trunk) -> None:
    center = jitter(rng, (98, 26, 22), 5)
    radii = (float(rng.uniform(24, 31)), float(rng.uniform(40, 54)), float(rng.uniform(42, 60)))
    field = ellipsoid((grid.x, grid.y, grid.z), center, radii, 22) * 32
    hollow = ellipsoid((grid.x, grid.y, grid.z), (64, 8, 10), (36, 44, 70)) * 38
    field = np.maximum(np.maximum(field, -hollow), np.maximum(trunk.cavity + 2, trunk.dome + 4))
    paint(hu, soft(field), float(rng.uniform(105, 125)) + smooth_noise(rng, grid.shape, 20.0, 13.0))


def _kidneys(rng: np.random.Generator, grid: Grid, hu: Array) -> None:
    cortex, medulla = float(rng.uniform(150, 195)), float(rng.uniform(65, 90))
    for side, height in ((-1.0, -50.0), (1.0, -36.0)):
        center = jitter(rng, (side * 60, 38, height), 4)
        box = grid.box(center, 60)
        at, view = grid.at(box), hu[box]
        kidney = ellipsoid(at, center, (25, 29, 52), side * 28)
        paint(view, soft(kidney), cortex)
        angle = np.arctan2(at[1] - center[1], at[0] - center[0])
        pyramids = kidney + np.float32(0.3) + 0.12 * np.cos(7 * angle + at[2] / 5)
        paint(view, soft(np.asarray(pyramids, np.float32)), medulla)
        sinus = ellipsoid(at, (center[0] - side * 10, center[1] - 4, center[2]), (13, 8, 26))
        paint(view, soft(sinus), -70.0)


def _great_vessels(rng: np.random.Generator, grid: Grid, hu: Array) -> None:
    blood, cava = float(rng.uniform(250, 340)), float(rng.uniform(75, 105))
    box = (slice(None), *grid.box((0, 20, 0), 60)[1:])
    at, view = grid.at(box), hu[box]
    x, y = float(rng.uniform(4, 14)), float(rng.uniform(26, 31))
    paint(view, soft(ellipsoid(at, (x, y, 0), (11, 11, 9000)) * 11), blood)
    paint(view, soft(ellipsoid(at, (-22, y + 2, 0), (13, 10, 9000)) * 11), cava)
    branches = [
        ((x, y - 8, 6), (x - 2, y - 26, 4), 3.6),
        ((x, y - 20, 6), (85, 18, 12), 2.6),  # splenic artery
        ((x, y - 20, 6), (-32, 4, 0), 2.6),  # hepatic artery
        ((x, y - 12, -20), (x - 2, y - 24, -90), 4.0),  # superior mesenteric artery
    ]
    for start, end, r in branches:
        paint(view, soft(tube(at, start, end, r, r * 0.8)), blood - 15)
    vein = tube(at, (-14, 12, -40), (-32, 6, -2), 7.0, 7.0)
    paint(view, soft(vein), 118.0)
