"""A dataset and a model small enough to train within a test."""

from pathlib import Path

import numpy as np

from converters.conversion.convert import convert
from converters.imaging.nifti import write_nifti
from converters.recipes.recipe import Recipe, load_recipe
from detect.detectors.settings import TrainSettings

AFFINE = np.diag([0.8, 0.8, 2.0, 1.0])

RECIPE = """
name: tiny
title: bright and dark squares in noise
image: "{case}-scan.nii*"
mask: "{case}-mask.nii*"
classes: {bright: 1, dark: 2}
codes: {dark: {value: 85057007, meaning: Cyst of liver}}
window: {level: 0, width: 400}
"""
SHAPE = (6, 48, 64)  # not square, so that rows and columns cannot be mistaken for each other
SETTINGS = TrainSettings(
    epochs=2, batch=4, imgsz=64, lr=2e-3, warmup_epochs=1, device="cpu", workers=0
)
LONGER = SETTINGS.model_copy(update={"epochs": 14})  # until there are hits worth scoring


def recipe(folder: Path, text: str = RECIPE) -> Recipe:
    file = folder / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    return load_recipe(file)


def make_scans(folder: Path, cases: int = 12, seed: int = 0, noise: float = 30) -> Path:
    """Each case has a bright and a dark block on three or four of six slices."""
    folder.mkdir(parents=True)
    for case in range(cases):
        rng = np.random.default_rng([seed, case])
        hu = rng.normal(0, noise, SHAPE)
        mask = np.zeros(SHAPE, np.uint8)
        for label, value in ((1, 110), (2, -110)):
            half = 0 if label == 1 else SHAPE[2] // 2
            z, size = int(rng.integers(0, 3)), int(rng.integers(12, 18))
            y = int(rng.integers(2, SHAPE[1] - size - 2))
            x = half + int(rng.integers(1, SHAPE[2] // 2 - size - 1))
            block = np.s_[z : z + 3 + case % 2, y : y + size, x : x + size]
            hu[block] += value
            mask[block] = label
        affine = np.diag([0.8, 0.8, 2.0, 1.0])
        write_nifti(folder / f"case{case}-scan.nii", hu.astype(np.int16), affine)
        write_nifti(folder / f"case{case}-mask.nii", mask, affine)
    return folder


def make_dataset(
    folder: Path, cases: int = 12, noise: float = 30, split: tuple[float, ...] = (8, 2, 2)
) -> Path:
    scans = make_scans(folder / "scans", cases, noise=noise)
    dataset = folder / "dataset"
    convert(
        recipe(folder), scans, dataset,
        split=split, negatives="train=0.5,val=all,test=all",
    )  # fmt: skip
    return dataset
