import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from converters.core.errors import InputError
from converters.imaging.nifti import write_nifti
from converters.imaging.read import (
    GRID_TOLERANCE_MM,
    check_same_grid,
    find_scans,
    is_scan,
    read_mask,
    read_volume,
    source_files,
)
from converters.imaging.volume import Volume
from tests.helpers.dicom_series import write_series

VALUES = np.arange(5 * 7 * 9, dtype=np.int16).reshape(5, 7, 9)


def volume(affine: np.ndarray, array: np.ndarray = VALUES) -> Volume:
    return Volume(array, affine, np.eye(4))


def test_every_format_gives_the_same_volume(tmp_path) -> None:
    image = sitk.GetImageFromArray(VALUES)
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((-10, 20, 30))
    image = image[::-1, :, ::-1]
    names = ["a.nii", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd"]
    for name in names:
        sitk.WriteImage(image, str(tmp_path / name))
    write_series(tmp_path / "dicom", (VALUES + 1024).astype(np.uint16))
    expected = np.array([[0.5, 0, 0, -10], [0, 0.75, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1]])
    for name in [*names, "dicom"]:
        scan = read_volume(tmp_path / name)
        np.testing.assert_array_equal(scan.array, VALUES, name)
        np.testing.assert_allclose(scan.affine, expected, atol=1e-5)


def test_what_cannot_be_read(tmp_path) -> None:
    cases = {
        "absent.nii": "does not exist",
        "absent": "does not exist",
        "picture.png": "is not a format that can be read",
        "x" * 300: "cannot be read",
    }
    (tmp_path / "picture.png").write_bytes(b"\x89PNG" * 100)
    for name, problem in cases.items():
        with pytest.raises(InputError, match=problem) as caught:
            read_volume(tmp_path / name)
        assert caught.value.path == str(tmp_path / name)
    slices = write_series(tmp_path / "series", np.zeros((1, 4, 4)))
    with pytest.raises(InputError, match="single DICOM file"):
        read_volume(slices[0])
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(InputError, match="not a regular file"):
        read_volume(tmp_path / "pipe.nii")


def test_no_permission(tmp_path, monkeypatch) -> None:
    write_nifti(tmp_path / "scan.nii", VALUES, np.eye(4))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="may not be read"):
        read_volume(tmp_path / "scan.nii")


def test_same_grid_within_the_tolerance() -> None:
    shifted = np.eye(4)
    shifted[0, 3] = GRID_TOLERANCE_MM * 0.99
    check_same_grid(volume(shifted), volume(np.eye(4)), Path("mask.nii"), Path("scan.nii"))


@pytest.mark.parametrize("entry", [(0, 3), (0, 0), (2, 1)])
def test_another_grid_is_refused(entry) -> None:
    other = np.eye(4)
    other[entry] += GRID_TOLERANCE_MM * 1.1
    with pytest.raises(InputError) as caught:
        check_same_grid(volume(other), volume(np.eye(4)), Path("mask.nii"), Path("scan.nii"))
    text = str(caught.value)
    assert text.startswith("mask.nii: is not on the grid of scan.nii (corners up to")
    assert "scan 9 x 7 x 5 voxels of 1 x 1 x 1 mm from (0.00, 0.00, 0.00) mm" in text
    assert "nearest neighbour" in text


def test_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="shapes differ; mask 9 x 7 x 4 voxels"):
        check_same_grid(
            volume(np.eye(4), VALUES[:4]), volume(np.eye(4)), Path("mask.nii"), Path("scan.nii")
        )


def test_finding_scans(tmp_path) -> None:
    root = tmp_path / "root"
    series = root / "b" / "series"
    write_series(series, np.zeros((2, 4, 4)))
    write_nifti(root / "b" / "scan.nii.gz", VALUES, np.eye(4))
    sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(root / "a.MHD".lower()))
    (root / "notes.txt").write_text("nothing")
    (root / ".hidden.nii").write_text("nothing")
    outside = tmp_path / "outside"
    outside.mkdir()
    write_nifti(outside / "out.nii", VALUES, np.eye(4))
    (root / "link").symlink_to(outside)
    (root / "link.nii").symlink_to(outside / "out.nii")
    (root / "inner.nii.gz").symlink_to(root / "b" / "scan.nii.gz")
    assert find_scans(root) == [
        root / "a.mhd",
        root / "b" / "scan.nii.gz",
        series,
        root / "inner.nii.gz",
    ]
    assert find_scans(series) == [series]
    assert is_scan(series)
    assert not is_scan(root / "notes.txt")
    assert not is_scan(root / "absent.nii")
    with pytest.raises(InputError, match="is not a folder"):
        find_scans(root / "notes.txt")
    assert source_files(root / "b" / "scan.nii.gz") == [root / "b" / "scan.nii.gz"]
    with pytest.raises(InputError, match="does not exist"):
        source_files(root / "absent.nii")


def simpleitk(path: Path) -> tuple[np.ndarray, sitk.Image]:
    if path.is_dir():
        reader = sitk.ImageSeriesReader()
        names = sorted(
            (str(file) for file in source_files(path)),
            key=lambda name: sitk.ReadImage(name).GetOrigin()[2],
        )
        reader.SetFileNames(names)
        image = reader.Execute()
    else:
        image = sitk.ReadImage(str(path))
    image = sitk.DICOMOrient(image, "LPS")
    return sitk.GetArrayFromImage(image), image


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    [
        "dicom_jpeg2000",
        "rtstruct_mixed/pat_2",
        "sts/STS_008/CT/image",
        "flipped_nifti/ct_ras.nii.gz",
        "lung_nrrd/lung1_image.nrrd",
        "lits256/volume-0.nii.gz",
    ],
)
def test_real_scans_agree_with_simpleitk(realdata, name) -> None:
    scan = read_volume(realdata / name)
    array, image = simpleitk(realdata / name)
    assert scan.array.dtype == np.int16
    np.testing.assert_array_equal(scan.array, array)
    np.testing.assert_allclose(scan.spacing, image.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(scan.affine[:3, 3], image.GetOrigin(), atol=1e-3)


@pytest.mark.realdata
def test_real_jpeg2000_values(realdata) -> None:
    scan = read_volume(realdata / "dicom_jpeg2000")
    assert scan.array.shape == (20, 512, 512)
    assert (scan.array.min(), scan.array.max(), scan.modality) == (-1024, 1839, "CT")


@pytest.mark.realdata
@pytest.mark.parametrize("patient", ["008", "019", "025", "042"])
def test_real_dicom_equals_its_nifti(realdata, patient) -> None:
    folder = realdata / "sts" / f"STS_{patient}"
    dicom = read_volume(folder / "CT" / "image")
    nifti = read_volume(folder / "NIFTI" / "CT_image.nii.gz")
    np.testing.assert_array_equal(dicom.array, nifti.array)
    check_same_grid(nifti, dicom, folder, folder)


@pytest.mark.realdata
def test_real_masks_are_on_their_scans_grid(realdata) -> None:
    pairs = [
        (folder / "NIFTI" / "CT_mask.nii.gz", folder / "CT" / "image", 1)
        for folder in sorted((realdata / "sts").glob("STS_*"))
    ]
    pairs.append(
        (realdata / "lits256/segmentation-0.nii.gz", realdata / "lits256/volume-0.nii.gz", 2)
    )
    pairs.append(
        (realdata / "lung_nrrd/lung1_label.nrrd", realdata / "lung_nrrd/lung1_image.nrrd", 1)
    )
    assert len(pairs) == 14
    for mask_path, scan_path, highest in pairs:
        mask, scan = read_mask(mask_path), read_volume(scan_path)
        check_same_grid(mask, scan, mask_path, scan_path)
        assert (mask.array.dtype, mask.array.max()) == (np.uint8, highest)
    assert int((mask.array == 1).sum()) == 837
