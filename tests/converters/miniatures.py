"""Public datasets in miniature: folders and file names of each as published, with tiny scans.

Every volume is 24 x 24 x 6 voxels in LPS order; the thing number ``n`` (a label, a structure, …) is
a block of 4 x 3 px in cell ``n`` of a 4 x 4 grid, on two slices.
"""

from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

SHAPE = (6, 24, 24)
SLICES = (2, 3)
SPACING = (0.8, 0.8, 2.5)


def box(number: int) -> list[int]:
    """(x, y, width, height) of thing ``number``, from 1."""
    row, column = divmod(number - 1, 4)
    return [6 * column + 1, 6 * row + 1, 4, 3]


def label_volume(numbers: Iterable[int]) -> NDArray[np.uint8]:
    """(slice, row, column): each number as a label in its own cell."""
    labels = np.zeros(SHAPE, np.uint8)
    for number in numbers:
        x, y, width, height = box(number)
        labels[SLICES[0] : SLICES[1] + 1, y : y + height, x : x + width] = number
    return labels


def scan(seed: int) -> NDArray[np.int16]:
    return np.random.default_rng(seed).normal(60, 20, SHAPE).astype(np.int16)


def write_nii(path: Path, array: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])  # LPS in nibabel's RAS
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), affine), path)


def write_sagittal_nii(path: Path, array: NDArray[np.generic]) -> None:
    """As KiTS is stored: the slices along the first axis, and each from front to back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = (
        -SPACING[2],
        -SPACING[1],
        -SPACING[0],
        1,
    )
    nib.save(nib.Nifti1Image(array[::-1], affine), path)


def write_mhd(path: Path, array: NDArray[np.generic]) -> None:
    """A header and a .raw file beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    sitk.WriteImage(image, str(path))


def _decathlon(task: str, stem: str, *numbers: str) -> list[tuple[str, str]]:
    return [tuple(f"{task}/{k}Tr/{stem}_{n}.nii.gz" for k in ("images", "labels")) for n in numbers]


def _split(folder: str, stem: str, *cases: tuple[str, str]) -> list[tuple[str, str]]:
    return [
        tuple(f"{folder}/{kind}{split}/{stem}_{n}.nii.gz" for kind in ("images", "labels"))
        for split, n in cases
    ]


PATHS: dict[str, list[tuple[str, str]]] = {  # recipe → (scan, mask) of each case
    "limt": [(f"images/{n}.nii.gz", f"masks/{n}.nii.gz") for n in ("001", "002", "003")],
    "lits": [
        (f"{batch}/volume-{n}.nii", f"{batch}/segmentation-{n}.nii")
        for batch, n in (
            ("Training Batch 1", 7),
            ("Training Batch 1", 27),
            ("Training Batch 2", 99),
        )
    ],
    "msd-liver": _decathlon("Task03_Liver", "liver", "0", "1", "130"),
    "msd-pancreas": _decathlon("Task07_Pancreas", "pancreas", "001", "004", "421"),
    "msd-hepatic-vessel": _decathlon("Task08_HepaticVessel", "hepaticvessel", "001", "002", "456"),
    "msd-colon": _decathlon("Task10_Colon", "colon", "001", "005", "221"),
    "kits23": [
        (f"dataset/case_{n}/imaging.nii.gz", f"dataset/case_{n}/segmentation.nii.gz")
        for n in ("00000", "00299", "00588")
    ],
    "word": _split("WORD-V0.1.0", "word", ("Tr", "0002"), ("Val", "0001"), ("Ts", "0014")),
    "ct-org": [
        (f"OrganSegmentations/volume-{n}.nii.gz", f"OrganSegmentations/labels-{n}.nii.gz")
        for n in (0, 21, 139)
    ],
    "flare22": [
        (f"{folder}/images/FLARE22_Tr_{n}_0000.nii.gz", f"{folder}/labels/FLARE22_Tr_{n}.nii.gz")
        for folder, n in (("FLARE22Train", f"{n:04d}") for n in (1, 2, 50))
    ],
    "amos": _split(
        "amos22", "amos", ("Tr", "0001"), ("Tr", "0004"), ("Va", "0008"), ("Tr", "0507")
    ),
    "sliver07": [
        (f"training-scans/liver-orig{n}.mhd", f"training-labels/liver-seg{n}.mhd")
        for n in ("001", "002", "020")
    ],
}
WRITERS = {"kits23": write_sagittal_nii, "sliver07": write_mhd}


def make(name: str, root: Path, labels: Iterable[int]) -> Path:
    """Write a dataset whose masks are label volumes; the last case's mask is empty.

    Args:
        name: of the recipe.
        root: folder to make.
        labels: that the masks hold.
    """
    write = WRITERS.get(name, write_nii)
    cases = PATHS[name]
    for seed, (image, mask) in enumerate(cases):
        write(root / image, scan(seed))
        write(root / mask, label_volume(labels if seed < len(cases) - 1 else ()))
    return root
