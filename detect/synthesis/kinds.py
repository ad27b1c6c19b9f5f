"""Describe the four lesion types of the LiMT classes in the late arterial phase.

HU are relative to the parenchyma (but for the cyst's), so that they fit any phase. After the
American College of Radiology's LI-RADS (HCC) and K. M. Horton et al., RadioGraphics 1999
(hemangiomas, metastases), as the phantom's; contrast, edge and mottling of the metastases are set
so that they measure like the tumours of seven portal-venous scans of LiTS.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import erfc

from detect.synthesis.patch import Array, Patch
from detect.synthesis.shape import Form
from detect.synthesis.texture import uneven

SCANNER_MM = 0.6  # standard deviation of the blur of a soft-tissue kernel


@dataclass(frozen=True)
class Tissue:
    """Describe the tissue that the HU of a lesion are relative to.

    Attributes:
        level: HU of the parenchyma around it.
        blood: HU of the bright vessels.
        noise: standard deviation of the parenchyma's noise in HU: it hides finer detail.
    """

    level: float
    blood: float
    noise: float


Painter = Callable[[np.random.Generator, Patch, Array, float, Tissue], Array]


@dataclass(frozen=True)
class Kind:
    """One lesion type.

    Attributes:
        label: number in the labels of `grow_lesions`.
        form: of its outline.
        edge_mm: standard deviation of its edge's blur, the scanner's apart.
        min_mm: smallest diameter at which it shows what makes it.
        paint: HU of its inside on the points of a patch, from the distance to its outline.
    """

    label: int
    form: Form
    edge_mm: float
    min_mm: float
    paint: Painter


def share(distance: Array, edge_mm: float) -> Array:
    """Return the share of each point that is inside, 0...1, for a blurred edge."""
    width = float(np.hypot(edge_mm, SCANNER_MM)) * np.sqrt(2)
    return np.asarray(0.5 * erfc(distance / np.float32(width)), np.float32)


def _hcc(rng: np.random.Generator, at: Patch, distance: Array, radius: float, of: Tissue) -> Array:
    """Paint an HCC.

    It is a mosaic brighter than the liver (+25...60), often with a dark core (-10...-30) and a
    capsule.
    """
    mosaic = uneven(rng, at.axes, max(0.45 * radius, 4.0), 1.7 * radius)
    depth = np.float32(8 if radius > 8 else 4)  # small ones are even
    hu = of.level + float(rng.uniform(25, 60)) + depth * mosaic
    washout, rim, core = rng.random(), float(rng.uniform(0.3, 0.5)), float(rng.uniform(10, 30))
    if washout < 0.6 and radius > 9:  # large ones outgrow their blood supply
        edge = distance + np.float32(rim * radius) + np.float32(0.1 * radius) * mosaic
        hu = _blend(hu, share(edge, 2.0), of.level - core)
    capsule, thick, dark = rng.random(), float(rng.uniform(0.5, 1.0)), float(rng.uniform(12, 25))
    if capsule < 0.5 and radius > 6:  # a dark line just inside the outline
        line = np.abs(distance + np.float32(thick + 0.3)) - np.float32(thick)
        hu = _blend(hu, share(line, 0.2), of.level - dark)
    return hu


def _metastasis(
    rng: np.random.Generator, at: Patch, distance: Array, radius: float, of: Tissue
) -> Array:
    """Paint a metastasis.

    It has a mottled dark centre (-30...-60), in a rim (0...+25) in about half of those with room.
    """
    mottled = uneven(rng, at.axes, float(rng.uniform(3, 6)), 1.7 * radius)
    mottled += uneven(rng, at.axes, max(0.7 * radius, 4.0), 1.7 * radius)
    grain = uneven(rng, at.axes, 2.0, 1.7 * min(radius, 15))
    dark = _below(of, float(rng.uniform(30, 60)))
    middle = np.clip(distance / np.float32(-0.7 * radius), 0, 1)  # darkest there
    centre = np.float32(of.level) - np.float32(dark) * (0.75 + 0.35 * middle)
    centre += np.float32(rng.uniform(3, 7)) * mottled + np.float32(0.6 * of.noise) * grain
    rimmed, thick, bright = rng.random(), float(rng.uniform(1.5, 3.5)), float(rng.uniform(0, 25))
    if rimmed < 0.5 and radius > 6:
        thick = min(thick, 0.35 * radius)
        fade = share(distance + np.float32(thick) + np.float32(0.5) * mottled, 1.2)
        return _blend(np.full_like(distance, of.level + bright), fade, centre)
    return np.asarray(centre, np.float32)


def _cyst(rng: np.random.Generator, at: Patch, distance: Array, radius: float, of: Tissue) -> Array:
    """Paint a cyst: water, 0...20 HU whatever the liver's, and nothing in it."""
    return np.full_like(distance, rng.uniform(0, 20))


def _hemangioma(
    rng: np.random.Generator, at: Patch, distance: Array, radius: float, of: Tissue
) -> Array:
    """Paint a hemangioma.

    It is darker than the liver (-15...-35), with nodules at its edge nearly as bright as blood.
    """
    hu = of.level - _below(of, float(rng.uniform(15, 35))) + np.float32(3) * uneven(
        rng, at.axes, max(0.5 * radius, 3.0), 1.7 * radius
    )  # fmt: skip
    filled = of.level + float(rng.uniform(0.7, 1.0)) * (of.blood - of.level)
    ways = rng.standard_normal((int(rng.integers(4, 12)), 3))
    sizes = rng.uniform(0.18, 0.36, len(ways)) * radius
    z, y, x = at.axes
    for way, size in zip(ways / np.linalg.norm(ways, axis=1, keepdims=True), sizes, strict=True):
        c = (way * radius * 0.85).astype(np.float32)
        away = (z - c[0])[:, None, None] ** 2 + (y - c[1])[:, None] ** 2 + (x - c[2]) ** 2
        hu = _blend(hu, share(np.sqrt(away) - np.float32(size), 0.5), filled)
    return hu


def _below(of: Tissue, hu: float) -> float:
    """Limit how much darker than the parenchyma tissue is: where that is dark, it would be fat."""
    return min(hu, 0.7 * abs(of.level))


def _blend(hu: Array, part: Array, value: float | Array) -> Array:
    return np.asarray(hu + part * (value - hu), np.float32)


KINDS = {
    "hcc": Kind(1, Form((2, 4), 0.2, 0.07), edge_mm=0.8, min_mm=8.0, paint=_hcc),
    "metastasis": Kind(2, Form((1, 3), 0.25, 0.12), edge_mm=1.5, min_mm=5.0, paint=_metastasis),
    "cyst": Kind(3, Form((1, 1), 0.08, 0.015), edge_mm=0.0, min_mm=5.0, paint=_cyst),
    "hemangioma": Kind(4, Form((1, 2), 0.2, 0.08), edge_mm=0.5, min_mm=8.0, paint=_hemangioma),
}
"""Name, as in the `limt` recipe → kind."""
