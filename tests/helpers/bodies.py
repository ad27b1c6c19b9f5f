"""Scans with air, a body, a table under it, and a bright ball in it: something to crop to."""

from pathlib import Path

import numpy as np

from converters.imaging.nifti import write_nifti
from converters.recipes.recipe import Recipe
from tests.helpers import tiny

SHAPE = (16, 72, 90)  # slices, rows, columns
AFFINE = np.array([[1.2, 0, 0, -50], [0, 1.3, 0, 20], [0, 0, 2.5, -300], [0, 0, 0, 1.0]])
BODY_CENTRE, BODY_RADII = np.array([50.0, 34.0]), np.array([24.0, 18.0])  # column, row
RECIPE = """
name: bodies
title: bright balls in bodies
image: "{case}-scan.nii*"
mask: "{case}-mask.nii*"
classes: {ball: 2}
organs: {trunk: 1}
window: {level: 100, width: 400}
"""


def body(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Return the mask of the body, an elliptic cylinder, ``(slices, rows, columns)``."""
    _, row, column = np.indices(shape)
    place = np.stack([column, row], axis=-1)
    return (((place - BODY_CENTRE) / BODY_RADII) ** 2).sum(axis=-1) <= 1


def scan(ball_voxel: tuple[float, float, float], radius_mm: float = 7.0, seed: int = 0):
    """Return HU and mask with a ball at a canonical voxel (column, row, slice)."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(SHAPE)
    hu = np.full(SHAPE, -1000.0)
    inside = body()
    hu[inside] = 40
    hu[:, 62:64, 5:85] = 300  # the table: thin and long
    hu += rng.normal(0, 8, SHAPE)
    steps = np.diag(AFFINE)[:3]
    off = (np.stack([x, y, z], axis=-1) - np.array(ball_voxel)) * steps
    ball = np.linalg.norm(off, axis=-1) <= radius_mm
    hu[ball] += 260
    mask = inside.astype(np.uint8)
    mask[ball] = 2
    return hu.astype(np.int16), mask


def make_scans(folder: Path, cases: int = 6) -> Path:
    folder.mkdir(parents=True)
    for case in range(cases):
        rng = np.random.default_rng([5, case])
        voxel = (rng.uniform(40, 60), rng.uniform(28, 40), rng.uniform(4, 11))
        hu, mask = scan(voxel, radius_mm=float(rng.uniform(5, 8)), seed=case)
        write_nifti(folder / f"case{case}-scan.nii", hu, AFFINE)
        write_nifti(folder / f"case{case}-mask.nii", mask, AFFINE)
    return folder


def recipe(folder: Path, extra: str = "") -> Recipe:
    return tiny.recipe(folder, RECIPE + extra)
