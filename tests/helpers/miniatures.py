"""Public datasets in miniature: folders and file names of each as published, with tiny scans.

Every volume is 24 x 24 x 6 voxels in LPS order; the thing number ``n`` (a label, a structure, …) is
a block of 4 x 3 px in cell ``n`` of a 4 x 4 grid, on two slices.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from tests.helpers.dicom_series import slice_dataset

SHAPE = (6, 24, 24)
SLICES = (1, 2)  # not in the middle, so that upside down shows
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
    """Write a NIfTI file as KiTS does: slices along the first axis, each from front to back."""
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
    "amos-mr": _split(
        "amos22", "amos", ("Tr", "0507"), ("Va", "0540"), ("Tr", "0600"), ("Tr", "0001")
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


def dicom_slices(
    folder: Path, array: NDArray[np.generic], names: Sequence[str], modality: str = "CT"
) -> list[FileDataset]:
    """A series, slice 0 undermost; ``names`` are from the topmost slice down, as scanners count."""
    folder.mkdir(parents=True, exist_ok=True)
    series, frame, study, slices = generate_uid(), generate_uid(), generate_uid(), []
    for z, name in zip(range(len(array)), reversed(names), strict=True):
        place = (0.0, 0.0, z * SPACING[2])
        item = slice_dataset(array[z] + 1024, place, series, spacing=SPACING[:2])
        item.FrameOfReferenceUID, item.Modality = frame, modality
        item.StudyInstanceUID = study
        item.PatientSex, item.StudyDate, item.StudyTime, item.StudyID = (
            "O",
            "20000101",
            "120000",
            "1",
        )
        item.ReferringPhysicianName, item.SeriesNumber, item.InstanceNumber = "", 1, z + 1
        item.SliceThickness = SPACING[2]
        item.save_as(folder / name, enforce_file_format=True)
        slices.append(item)
    return slices


def make_ircadb(root: Path) -> Path:
    """Patients 1 to 3: a folder a structure, of DICOM slices without suffix; 3 has no tumour."""
    names = [f"image_{z}" for z in range(SHAPE[0])]
    structures = {"liver": 1, "livertumor01": 2, "livertumor02": 3, "liverkyst": 4, "bone": 5}
    structures["leftsurretumor"] = 6
    for n in (1, 2, 3):
        folder = root / f"3Dircadb1.{n}"
        dicom_slices(folder / "PATIENT_DICOM", scan(n), names)
        for name, number in structures.items():
            if n < 3 or name in ("liver", "bone"):
                mask = (label_volume([number]) > 0) * 255
                dicom_slices(folder / "MASKS_DICOM" / name, mask, names)
    return root


def make_chaos(root: Path) -> Path:
    """CT livers 1, 2 and 5, and the T2 MR of 1, 2 and 3 with four organs.

    The labels are a picture a slice, topmost first like the slices' names.
    """
    for n, value in ((1, 255), (2, 1), (5, 255)):
        folder = root / "Train_Sets" / "CT" / str(n)
        dicom_slices(
            folder / "DICOM_anon", scan(n), [f"i{z:04d},0000b.dcm" for z in range(SHAPE[0])]
        )
        (folder / "Ground").mkdir()
        for z, plane in enumerate(label_volume([1])[::-1]):
            picture = Image.fromarray(plane * np.uint8(value))
            picture = picture.convert("1") if n == 5 else picture
            picture.save(folder / "Ground" / f"liver_GT_{z:03d}.png")
    for n in (1, 2, 3):
        folder = root / "Train_Sets" / "MR" / str(n) / "T2SPIR"
        names = [f"IMG-0002-{z:05d}" for z in range(1, SHAPE[0] + 1)]
        dicom_slices(folder / "DICOM_anon", scan(n), [f"{name}.dcm" for name in names], "MR")
        (folder / "Ground").mkdir()
        for name, plane in zip(names, label_volume((1, 2, 3, 4))[::-1], strict=True):
            Image.fromarray(plane * np.uint8(63)).save(folder / "Ground" / f"{name}.png")
    return root


def make_deeplesion(root: Path) -> Path:
    """Three people; the second was scanned twice. Row and column of the table as published."""
    head = (
        "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Measurement_coordinates,"
        "Bounding_boxes,Lesion_diameters_Pixel_,Normalized_lesion_location,Coarse_lesion_type,"
        "Possibly_noisy,Slice_range,Spacing_mm_px_,Image_size,DICOM_windows,Patient_gender,"
        "Patient_age,Train_Val_Test"
    )
    lines = [head]
    cases = (("000001_01_01", -1), ("000002_01_01", 5), ("000002_02_01", 5), ("000003_01_02", 4))
    for seed, (name, kind) in enumerate(cases):
        folder = root / "Images_png" / name
        folder.mkdir(parents=True)
        for z, plane in enumerate(scan(seed)):
            stored = (plane.astype(np.int32) + 32768).astype(np.uint16)
            Image.fromarray(stored).save(folder / f"{100 + z:03d}.png")
        x, y, width, height = box(5)
        # corners count from 1 at the first pixel's centre
        corners = f"{x + 1}, {y + 1}, {x + width}, {y + height}"
        lines.append(
            f'{name}_102.png,1,1,1,102,"1, 2, 3, 4","{corners}","5, 4","0.5, 0.5, 0.5",{kind},0,'
            f'"100, 105","0.8, 0.8, 2.5","24, 24","-175, 275",F,60,{seed % 3 + 1}'
        )
    (root / "DL_info.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def make_lidc(root: Path) -> Path:
    """Two readers outline a nodule of three people, each in a SEG of its own; a faulty patient."""
    for patient in ("0001", "0002", "0003", "0262"):
        study = root / "LIDC-IDRI" / f"LIDC-IDRI-{patient}" / f"01-01-2000-NA-NA-3{patient}"
        names = [f"1-{z:03d}.dcm" for z in range(SHAPE[0])]
        slices = dicom_slices(study / f"3000566.000000-NA-0{patient}", scan(int(patient)), names)
        for reader in (0, 1):
            name = f"Nodule 1 - Annotation IL0571{reader}"
            mask = label_volume([1]) > 0
            mask |= np.roll(mask, reader, axis=2)  # the second sees a column more
            folder = study / f"{reader}.000000-Segmentation of {name}-{reader}"
            folder.mkdir()
            segmentation(slices, mask, name, reader).save_as(folder / "1-1.dcm")
    return root


def segmentation(
    slices: Sequence[FileDataset], mask: NDArray[np.bool_], name: str, number: int
) -> Segmentation:
    code = codes.SCT.Nodule
    described = SegmentDescription(
        1, name, codes.SCT.MorphologicallyAbnormalStructure, code, SegmentAlgorithmTypeValues.MANUAL
    )
    return Segmentation(
        slices, mask, SegmentationTypeValues.BINARY, [described], generate_uid(), 300 + number,
        generate_uid(), 1, "maker", "model", "1", "serial",
    )  # fmt: skip
