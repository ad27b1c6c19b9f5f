"""An abdomen in the late arterial phase, in HU, from soft shapes.

HU values are textbook ranges for a late arterial phase, some 35 s after the injection: aorta
250-350; portal vein 100-150; liver 60-80 with hepatic veins still unenhanced; spleen 100-130 and
patchy; renal cortex 150-200, medulla 60-90; muscle 50-65; fat -110...-90; bile and water 0-20;
lung about -850; cortical bone above 300 (W. Dähnert, Radiology Review Manual; M. Prokop and
M. Galanski, Spiral and Multislice CT of the Body).
"""

from dataclasses import dataclass

import numpy as np

from detect.phantom.shapes import (
    Array,
    Grid,
    Point,
    chain,
    ellipsoid,
    join,
    paint,
    smooth_noise,
    soft,
    tube,
)


@dataclass(frozen=True)
class Body:
    """What the lesions need to know of an abdomen.

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


@dataclass(frozen=True)
class _Trunk:
    cavity: Array  # mm outside the inner face of the abdominal wall; negative within
    dome: Array  # mm above the diaphragm


def make_body(rng: np.random.Generator, grid: Grid) -> Body:
    """Paint one patient without lesions."""
    hu = np.full(grid.shape, -1000.0, np.float32)
    trunk = _wall(rng, grid, hu)
    _spine(rng, grid, hu)
    lung = soft(np.maximum(trunk.cavity, -trunk.dome))
    _gut(rng, grid, hu, trunk)
    _spleen(rng, grid, hu, trunk)
    _kidneys(rng, grid, hu)
    field = _liver_field(rng, grid, trunk)
    liver = soft(field)
    liver_hu = float(rng.uniform(62, 80))
    paint(hu, lung, -850 + 40 * (trunk.dome < 12))
    paint(hu, liver, liver_hu + _texture(rng, grid))
    _liver_vessels(rng, grid, hu, liver, liver_hu)
    _great_vessels(rng, grid, hu)
    liver = liver * (1 - _gallbladder(rng, grid, hu))
    return Body(hu, liver, -field, liver_hu)


def _jitter(rng: np.random.Generator, point: Point, sigma: float) -> Point:
    x, y, z = (float(v) for v in np.asarray(point) + rng.uniform(-1.6, 1.6, 3) * sigma)
    return x, y, z


def _texture(rng: np.random.Generator, grid: Grid) -> Array:
    return smooth_noise(rng, grid.shape, 14.0, 2.5) + smooth_noise(rng, grid.shape, 70.0, 2.0)


def _wall(rng: np.random.Generator, grid: Grid, hu: Array) -> _Trunk:
    x, y, z = grid.x, grid.y, grid.z
    a, b = float(rng.uniform(146, 164)), float(rng.uniform(98, 114))
    fat, muscle = float(rng.uniform(7, 20)), float(rng.uniform(8, 11))
    u, v = x / np.float32(a), y / np.float32(b)
    # A squircle, since a trunk is flatter behind and at the flanks than an ellipse.
    rho = np.sqrt(u * u + v * v - np.float32(0.3) * u * u * v * v)
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
    return _Trunk(cavity, dome)


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
    bent, view = grid.at(box), hu[box]
    # Bone does not bend: the straight coordinates, which are the mean of the bent ones.
    at = (
        bent[0].mean((0, 1))[None, None, :] + 0 * bent[0],
        bent[1].mean((0, 2))[None, :, None] + 0 * bent[1],
        bent[2],
    )
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


def _gut(rng: np.random.Generator, grid: Grid, hu: Array, trunk: _Trunk) -> None:
    inside = np.maximum(trunk.cavity + 3, trunk.dome + 4)
    center = _jitter(rng, (62, -35, 22), 7)
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
    for start, end in chain([_jitter(rng, p, 3) for p in points]):
        box = grid.box(start, 45)
        paint(hu[box], soft(tube(grid.at(box), start, end, 9.5, 8.5)), 98.0)  # pancreas


def _spleen(rng: np.random.Generator, grid: Grid, hu: Array, trunk: _Trunk) -> None:
    center = _jitter(rng, (98, 26, 22), 5)
    radii = (float(rng.uniform(24, 31)), float(rng.uniform(40, 54)), float(rng.uniform(42, 60)))
    field = ellipsoid((grid.x, grid.y, grid.z), center, radii, 22) * 32
    hollow = ellipsoid((grid.x, grid.y, grid.z), (64, 8, 10), (36, 44, 70)) * 38
    field = np.maximum(np.maximum(field, -hollow), np.maximum(trunk.cavity + 2, trunk.dome + 4))
    paint(hu, soft(field), float(rng.uniform(105, 125)) + smooth_noise(rng, grid.shape, 20.0, 13.0))


def _kidneys(rng: np.random.Generator, grid: Grid, hu: Array) -> None:
    cortex, medulla = float(rng.uniform(150, 195)), float(rng.uniform(65, 90))
    for side, height in ((-1.0, -50.0), (1.0, -36.0)):
        center = _jitter(rng, (side * 60, 38, height), 4)
        box = grid.box(center, 60)
        at, view = grid.at(box), hu[box]
        kidney = ellipsoid(at, center, (25, 29, 52), side * 28)
        paint(view, soft(kidney), cortex)
        angle = np.arctan2(at[1] - center[1], at[0] - center[0])
        pyramids = kidney + np.float32(0.3) + 0.12 * np.cos(7 * angle + at[2] / 5)
        paint(view, soft(np.asarray(pyramids, np.float32)), medulla)
        sinus = ellipsoid(at, (center[0] - side * 10, center[1] - 4, center[2]), (13, 8, 26))
        paint(view, soft(sinus), -70.0)


def _liver_field(rng: np.random.Generator, grid: Grid, trunk: _Trunk) -> Array:
    at = (grid.x, grid.y, grid.z)
    right = _jitter(rng, (-74, -4, 12), 5)
    r = (float(rng.uniform(66, 78)), float(rng.uniform(70, 84)), float(rng.uniform(66, 84)))
    left = _jitter(rng, (-4, -44, 26), 6)
    s = (float(rng.uniform(52, 76)), float(rng.uniform(28, 38)), float(rng.uniform(36, 52)))
    field = join(ellipsoid(at, right, r) * 66, ellipsoid(at, left, s, -12) * 30, 22.0)
    # The porta, the stomach and the right kidney dent the underside.
    porta = ellipsoid(at, _jitter(rng, (-14, 14, -14), 4), (30, 30, 40), -20) * 28
    kidney = ellipsoid(at, (-50, 52, -50), (36, 34, 62)) * 34
    notch = tube(at, (-28, -90, -30), (-24, -18, 4), 6.0, 2.0)  # the round ligament's fissure
    field = np.maximum(np.maximum(field, -porta), np.maximum(-kidney, -notch))
    spine = ellipsoid(at, (0, 50, 0), (36, 30, 9000)) * 32
    field = np.maximum(np.maximum(field, -spine), np.maximum(trunk.cavity + 2, trunk.dome + 3))
    return np.asarray(field, np.float32)


def _liver_vessels(
    rng: np.random.Generator, grid: Grid, hu: Array, liver: Array, liver_hu: float
) -> None:
    portal, veins = float(rng.uniform(100, 135)), liver_hu - float(rng.uniform(4, 12))
    hilum, cava = _jitter(rng, (-32, 6, -2), 3), _jitter(rng, (-22, 30, 52), 3)
    fork = _jitter(rng, (-68, 4, 8), 5)
    tree: list[tuple[Point, Point, float, float, float]] = [
        (hilum, fork, 6.5, 5.0, portal),
        (fork, _jitter(rng, (-95, -30, 22), 8), 4.2, 1.8, portal),
        (fork, _jitter(rng, (-108, 28, 20), 8), 4.2, 1.8, portal),
        (fork, _jitter(rng, (-98, 14, -32), 8), 3.8, 1.6, portal),
        (hilum, _jitter(rng, (-22, -34, 22), 6), 4.5, 3.4, portal),
        ((-22, -34, 22), _jitter(rng, (22, -46, 28), 8), 3.2, 1.5, portal),
        (cava, _jitter(rng, (-112, 4, 24), 9), 5.5, 2.0, veins),
        (cava, _jitter(rng, (-62, -44, 24), 9), 5.0, 2.0, veins),
        (cava, _jitter(rng, (0, -44, 34), 9), 4.5, 2.0, veins),
    ]
    for start, end, r0, r1, value in tree:
        middle = tuple((np.add(start, end) / 2).tolist())
        box = grid.box(middle, float(np.abs(np.subtract(end, start)).max()) / 2 + 8)
        paint(hu[box], soft(tube(grid.at(box), start, end, r0, r1)) * liver[box], value)


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


def _gallbladder(rng: np.random.Generator, grid: Grid, hu: Array) -> Array:
    center = _jitter(rng, (-52, -34, -34), 5)
    share = np.zeros(grid.shape, np.float32)
    present, turn = rng.random() < 0.8, float(rng.uniform(-40, 40))
    if present:  # about one patient in five has had it removed
        box = grid.box(center, 36)
        field = ellipsoid(grid.at(box), center, (13, 20, 24), turn) * 16
        share[box] = soft(field)
        paint(hu[box], share[box], 55.0)
        paint(hu[box], soft(field + 2), float(rng.uniform(4, 16)))
    return share
