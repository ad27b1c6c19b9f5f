"""A made liver: a ball of noisy parenchyma in fat, with one bright vessel; any spacing."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from converters.imaging.nifti import write_nifti
from converters.recipes.recipe import Recipe, load_recipe

LEVEL, SIGMA, BLOOD = 100.0, 10.0, 170.0
RECIPE = """
name: livers
title: made livers
image: "{case}-scan.nii.gz"
mask: "{case}-mask.nii.gz"
case_id: "livers-{case}"
classes: {tumour: 2}
organs: {liver: 1}
window: {level: 60, width: 200}
patients: [[1, 2]]
"""


def liver(
    spacing: tuple[float, float, float] = (1.5, 1.5, 2.0), radius: float = 40, noise: float = SIGMA
) -> tuple[NDArray[np.int16], NDArray[np.bool_], NDArray[np.bool_]]:
    """HU, organ and vessel; spacing along (column, row, slice)."""
    x, y, z = (np.arange(-radius - 6, radius + 6, s) for s in spacing)
    away = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    inside = away < radius
    vessel = (np.hypot(y[:, None] - 8, x - 5) < 3)[None] & inside
    grain = np.random.default_rng(1).standard_normal(inside.shape)
    grain = ndimage.gaussian_filter(grain, [0, 0.8, 0.8])
    hu = np.where(inside, LEVEL, -100) + np.where(vessel, BLOOD - LEVEL, 0)
    return np.rint(hu + noise * grain / grain.std()).astype(np.int16), inside, vessel


def write_livers(
    folder: Path, cases: int = 3, radius: float = 30, tumour: tuple[int, ...] = ()
) -> tuple[Recipe, Path]:
    """Scans with a liver each, 1.5 x 1.5 x 3 mm; those of `tumour` have one of 12 mm."""
    root = folder / "livers"
    root.mkdir(parents=True)
    affine = np.diag([1.5, 1.5, 3.0, 1.0])
    affine[:3, 3] = -40, -50, 700
    for case in range(1, cases + 1):
        hu, inside, _ = liver((1.5, 1.5, 3.0), radius + case)
        mask = inside.astype(np.uint8)
        if case in tumour:
            z, y, x = (n // 2 for n in mask.shape)
            mask[z - 1 : z + 2, y - 14 : y - 6, x - 4 : x + 4] = 2
            hu[mask == 2] = 40
        write_nifti(root / f"{case}-scan.nii.gz", hu, affine)
        write_nifti(root / f"{case}-mask.nii.gz", mask, affine)
    file = folder / "livers.yaml"
    file.write_text(RECIPE, encoding="utf-8")
    return load_recipe(file), root
