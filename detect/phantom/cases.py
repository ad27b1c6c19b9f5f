"""Make the patients of the phantom: their lesions, the blur and noise of a scanner, the files."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.imaging.nifti import write_nifti
from detect.phantom.anatomy import make_body
from detect.phantom.lesions import CYST, HCC, HEMANGIOMA, METASTASIS, add_lesions
from detect.phantom.shapes import FIELD_OF_VIEW, SLICE_STEP, Array, Grid, make_grid

CLASSES = {"HCC": HCC, "metastasis": METASTASIS, "cyst": CYST, "hemangioma": HEMANGIOMA}
LIVER = 1
_BLOCK = 5  # in every five patients each class leads once, and one patient is normal


def make_phantom(
    root: Path, patients: int = 50, seed: int = 0, size: int = 160, slices: int = 24
) -> None:
    """Write ``patients`` scans and masks in the layout of the ``limt`` recipe.

    ``root/images/phantom-0001.nii.gz`` holds int16 HU, ``root/masks/phantom-0001.nii.gz`` uint8
    labels (0 background, 1 liver, 2 HCC, 3 metastasis, 4 cyst, 5 hemangioma). The same arguments
    give the same bytes, and a patient does not depend on how many others there are.
    """
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(patients):
        hu, mask, affine = make_case(seed, index, size, slices)
        name = f"phantom-{index + 1:04d}.nii.gz"
        write_nifti(root / "images" / name, hu, affine)
        write_nifti(root / "masks" / name, mask, affine)


def make_case(
    seed: int, index: int, size: int = 160, slices: int = 24
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """Make patient ``index``.

    Returns:
        ``(slices, size, size)`` HU and labels in the canonical frame (slice 0 inferior, row 0
        anterior, column 0 the patient's right), and the ``(4, 4)`` affine from (column, row, slice)
        to patient mm, LPS.
    """
    rng = np.random.default_rng([seed, index])
    grid = make_grid(rng, size, slices)
    body = make_body(rng, grid)
    lesions = add_lesions(rng, grid, body, classes_of(seed, index))
    mask = np.where(lesions > 0, lesions, (body.liver > 0.5).astype(np.uint8) * LIVER)
    _scan(rng, grid, body.hu)
    hu = np.clip(np.rint(body.hu), -1024, 3071).astype(np.int16)
    affine = np.diag([grid.pixel, grid.pixel, SLICE_STEP, 1.0])
    affine[:2, 3] = -FIELD_OF_VIEW / 2 + grid.pixel / 2 + np.rint(rng.uniform(-15, 15, 2))
    affine[2, 3] = float(np.rint(rng.uniform(-900, -200)))
    return hu, mask.astype(np.uint8), affine


def classes_of(seed: int, index: int) -> tuple[int, ...]:
    """Say which lesion classes patient ``index`` has: none, one or two."""
    block, place = divmod(index, _BLOCK)
    order = np.random.default_rng([seed, block, _BLOCK]).permutation(_BLOCK)
    lead = int(order[place])
    if lead == len(CLASSES):
        return ()
    labels = list(CLASSES.values())
    if (lead + block) % 4:
        return (labels[lead],)
    return labels[lead], labels[(lead + 1 + block // 4 % 3) % 4]  # every fourth has a second class


def _scan(rng: np.random.Generator, grid: Grid, hu: Array) -> None:
    """Blur and add noise in place, as a scanner with a soft-tissue kernel does."""
    sigma, blur = float(rng.uniform(8, 12)), 1.1 / grid.pixel
    noise = rng.standard_normal(grid.shape, dtype=np.float32)
    for layer, grain in zip(hu, noise, strict=True):
        cv2.GaussianBlur(layer, (0, 0), blur, dst=layer)
        fine = cv2.GaussianBlur(grain, (0, 0), max(1.5 / grid.pixel, 0.3))
        coarse = cv2.GaussianBlur(grain, (0, 0), 9.0 / grid.pixel)
        fine -= coarse  # a filtered back-projection has little noise at low frequencies
        layer += fine * np.float32(sigma / fine.std())
