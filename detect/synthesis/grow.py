"""Grow lesions into an organ: draw, place, displace what is around, paint."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from detect.synthesis.kinds import KINDS, Kind, Tissue, share
from detect.synthesis.organ import Mask, Organ, measure_organ
from detect.synthesis.patch import Array, Mm, Patch, make_patch
from detect.synthesis.place import GAP_MM, draw_centre, draw_diameter
from detect.synthesis.shape import REACH, draw_outline

_TRIES = 8  # places that are tried at each size
_SHRINK = (1.0, 0.8, 0.64, 0.5)  # of the diameter drawn, where nothing larger fits
_MAIN = 0.75  # share of a scan's lesions that are of its main kind
_CROSSING = 0.01  # share of a lesion's voxels that may be bright vessel
_FEWEST = 8  # voxels that show a lesion
_PUSH_MM = 3.0  # furthest that tissue is displaced
_STRUCTURE_MM = 2.0  # what varies more slowly than this is structure, the rest noise


@dataclass(frozen=True)
class GrownLesion:
    """One lesion.

    Attributes:
        kind: name in `KINDS`.
        diameter_mm: of the ball of its volume.
        centre: voxel (column, row, slice).
        voxels: of its mask.
    """

    kind: str
    diameter_mm: float
    centre: tuple[float, float, float]
    voxels: int


@dataclass(frozen=True)
class Grown:
    """A volume with lesions grown into it.

    Attributes:
        hu: ``(slices, rows, columns)``, in the type of what was given.
        labels: uint8, `Kind.label` of each voxel's lesion, else 0. No two lesions touch.
        lesions: in the order they grew.
        wanted: how many were drawn; fewer grew where there was no room.
    """

    hu: NDArray[np.generic]
    labels: NDArray[np.uint8]
    lesions: list[GrownLesion]
    wanted: int


def grow_lesions(
    hu: NDArray[np.generic],
    organ: Mask | Organ | None,
    spacing: Mm,
    rng: np.random.Generator,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    count: tuple[int, int] = (1, 6),
    avoid: Mask | None = None,
    push: bool = True,
) -> Grown:
    """Grow lesions into the organ of a scan; what is given stays as it is.

    One of the kinds leads in a scan, as in patients: three in four lesions are of it.

    Args:
        hu: ``(slices, rows, columns)`` HU, whole numbers or float32.
        organ: voxels of the organ, or what `measure_organ` made of them (for growing many times).
        spacing: voxel size in mm along (column, row, slice), as `Volume.spacing`.
        rng: random numbers; the same ones give the same lesions.
        kinds: names in `KINDS` to choose from.
        count: fewest and most lesions.
        avoid: voxels of lesions that are there already; lesions keep their distance.
        push: displace the tissue around a lesion (mass effect).
    """
    if not isinstance(organ, Organ) and organ is not None:
        organ = measure_organ(hu, organ, spacing, avoid)
    wanted = int(rng.integers(count[0], count[1] + 1))
    main = kinds[int(rng.integers(len(kinds)))]
    names = [
        main if rng.random() < _MAIN else kinds[int(rng.integers(len(kinds)))]
        for _ in range(wanted)
    ]
    new, labels = hu.copy(), np.zeros(hu.shape, np.uint8)
    lesions: list[GrownLesion] = []
    if organ is None:
        return Grown(new, labels, lesions, wanted)
    values = np.asarray(hu[organ.box], np.float32)
    organ_labels = labels[organ.box]
    for name in names:
        grown = _grow(rng, values, organ_labels, organ, name, push)
        if grown is not None:
            lesions.append(grown)
    changed = values if new.dtype.kind == "f" else np.rint(values)
    new[organ.box] = np.clip(changed, *organ.limits)
    return Grown(new, labels, lesions, wanted)


def _grow(
    rng: np.random.Generator,
    hu: Array,
    labels: NDArray[np.uint8],
    organ: Organ,
    name: str,
    push: bool,
) -> GrownLesion | None:
    """Grow one lesion into `hu` and `labels`, both cut to the organ's box; None: no room."""
    kind = KINDS[name]
    diameter = draw_diameter(rng, kind.min_mm)
    outline = draw_outline(rng, kind.form)
    painting, pressure = int(rng.integers(2**62)), float(rng.uniform(0.05, 0.2))
    for shrink in _SHRINK:
        radius = max(diameter * shrink, kind.min_mm) / 2
        for _ in range(_TRIES):
            centre = draw_centre(rng, organ, labels > 0, radius)
            if centre is None:
                break
            reach = REACH * radius + 4 * (kind.edge_mm + 1)
            patch = make_patch(hu.shape, organ.step, centre, radius, reach)
            distance = outline.distance(patch, radius)
            part = patch.average(share(distance, kind.edge_mm))
            room = organ.depth[patch.box]
            part *= np.clip(
                room / (1.5 * np.float32(organ.step[2])), 0, 1
            )  # spare the organ's skin
            solid = (patch.average(distance) <= 0) & organ.inside[patch.box]
            if not _fits(solid, labels[patch.box] > 0, organ, patch):
                continue
            if push:
                room = _room(organ, labels, patch)
                _displace(
                    hu, patch, patch.average(distance), room, min(pressure * radius, _PUSH_MM)
                )
            strokes = np.random.default_rng(painting)
            _paint(strokes, hu, patch, distance, part, organ, kind, radius)
            labels[patch.box][solid] = kind.label
            return _describe(name, solid, patch, organ)
    return None


def _fits(solid: Mask, taken: Mask, organ: Organ, patch: Patch) -> bool:
    """Check that a lesion is of one piece, clear of others, and not across bright vessels."""
    voxels = int(solid.sum())
    if voxels < _FEWEST or ndimage.label(solid, np.ones((3, 3, 3)))[1] != 1:
        return False
    if (organ.from_vessel[patch.box][solid] == 0).sum() > _CROSSING * voxels:
        return False
    blocked = taken | organ.lesions[patch.box]
    if not blocked.any():
        return True
    touching = ndimage.binary_dilation(solid, np.ones((3, 3, 3)), iterations=2) & blocked
    if touching.any():
        return False
    away = ndimage.distance_transform_edt(~blocked, sampling=organ.step)
    return bool(away[solid].min() >= GAP_MM)


def _room(organ: Organ, labels: NDArray[np.uint8], patch: Patch) -> Array:
    """Measure the mm from each voxel to the organ's surface and to other lesions."""
    taken = labels[patch.box] > 0
    room = organ.depth[patch.box]
    if taken.any():
        away = ndimage.distance_transform_edt(~taken, sampling=organ.step)
        room = np.minimum(room, away.astype(np.float32))
    return room


def _displace(hu: Array, patch: Patch, distance: Array, room: Array, most: float) -> None:
    """Push the tissue around a lesion away from its centre, in place.

    By `most` mm at its edge, ever less further away, and never onto what must stay where it is.
    Interpolated cubically: linearly, a ring of smooth noise would give the lesion away.
    """
    if min(distance.shape) < 4:
        return
    reach = max(float(max(map(np.max, patch.offsets))) * 0.5, 4.0)
    fall = np.clip(1 - np.maximum(distance, 0) / np.float32(reach), 0, 1) ** 2
    push = np.minimum(np.float32(most) * fall, 0.5 * np.maximum(room - 1.5, 0))
    offsets = patch.offsets
    length = np.sqrt(sum(axis**2 for axis in offsets)) + np.float32(1e-3)
    index = np.indices(distance.shape, dtype=np.float32)
    steps = [s * n for s, n in zip(patch.step, patch.split, strict=True)]
    source = [
        i - push * o / length / np.float32(s) for i, o, s in zip(index, offsets, steps, strict=True)
    ]
    moved = ndimage.map_coordinates(hu[patch.box], source, order=3, mode="nearest")
    shifted = push > 0.05
    hu[patch.box][shifted] = moved[shifted]


def _paint(
    rng: np.random.Generator,
    hu: Array,
    patch: Patch,
    distance: Array,
    part: Array,
    organ: Organ,
    kind: Kind,
    radius: float,
) -> None:
    """Replace the structure of what was there by the lesion's, and its noise by noise like it.

    Where the two are mixed, noise is mixed so that its variance stays.
    """
    view = hu[patch.box]
    around = organ.inside[patch.box] & (part < 0.02) & (organ.from_vessel[patch.box] > 2)
    near = float(np.median(view[around])) if around.sum() > 100 else organ.level
    painted = patch.average(
        kind.paint(rng, patch, distance, radius, Tissue(near, organ.blood, organ.noise.sigma))
    )
    smooth = ndimage.gaussian_filter(view, [_STRUCTURE_MM / size for size in organ.step])
    sigma = np.float32(organ.noise.sigma)
    noise = np.clip(view - smooth, -3 * sigma, 3 * sigma)  # beyond that it is an edge
    turn = np.float32(np.pi / 2) * part
    structure = (1 - part) * (view - noise) + part * painted
    grown = (
        structure + np.cos(turn) * noise + np.sin(turn) * sigma * organ.noise.draw(rng, view.shape)
    )
    inside = part > 0
    view[inside] = grown[inside]


def _describe(name: str, solid: Mask, patch: Patch, organ: Organ) -> GrownLesion:
    voxels = int(solid.sum())
    volume = voxels * float(np.prod(organ.step))
    z, y, x = (
        float(at.mean()) + cut.start + whole.start
        for at, cut, whole in zip(np.nonzero(solid), patch.box, organ.box, strict=True)
    )
    return GrownLesion(name, float((6 * volume / np.pi) ** (1 / 3)), (x, y, z), voxels)
