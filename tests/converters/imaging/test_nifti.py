import gzip
import itertools
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from converters.core.errors import InputError
from converters.imaging.nifti import write_nifti
from converters.imaging.read import read_mask, read_volume

SHAPE = (5, 7, 9)  # canonical: slices, rows, columns
VALUES = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 100
AFFINE = np.array([[0.5, 0, 0, -10], [0, 0.75, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1.0]])
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def save(path: Path, array_ijk: np.ndarray = VALUES.T, lps: np.ndarray = AFFINE, **header) -> Path:
    image = nib.Nifti1Image(array_ijk, RAS @ lps, dtype=array_ijk.dtype)
    image.set_sform(RAS @ lps, code=1)
    image.set_qform(RAS @ lps, code=1)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def poke(path: Path, offset: int, form: str, *values) -> Path:
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, offset, *values)
    path.write_bytes(data)
    return path


def refused(path: Path, problem: str, reader=read_volume) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        reader(path)
    assert caught.value.path == str(path)
    assert caught.value.remedy


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product([1, -1], repeat=3)))
def test_all_48_orientations_read_alike(tmp_path, order, signs) -> None:
    array = VALUES.T.transpose(order)
    affine = AFFINE[:, [*order, 3]].copy()
    for axis, sign in enumerate(signs):
        if sign < 0:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, axis)
    volume = read_volume(save(tmp_path / "scan.nii", array, affine))
    np.testing.assert_array_equal(volume.array, VALUES)
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    corner = np.array([[8.0, 6.0, 4.0]])
    np.testing.assert_allclose(
        volume.to_file_voxels(corner) @ affine[:3, :3].T + affine[:3, 3],
        volume.to_patient(corner),
        atol=1e-5,
    )


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "SCAN.NII.GZ"])
def test_plain_and_gzipped(tmp_path, name) -> None:
    write_nifti(tmp_path / name, VALUES, AFFINE)
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, VALUES)


def test_a_gzip_stream_in_several_members(tmp_path) -> None:
    data = save(tmp_path / "one.nii").read_bytes()
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(data[:500]) + gzip.compress(data[500:]))
    np.testing.assert_array_equal(read_volume(path).array, VALUES)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_both_versions_and_byte_orders(tmp_path, kind, endian) -> None:
    header = kind.header_class(endianness=endian)
    header.set_data_dtype(np.dtype(np.int16).newbyteorder(endian))
    image = kind(VALUES.T, RAS @ AFFINE, header)
    path = tmp_path / "scan.nii.gz"
    nib.save(image, path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, VALUES)
    assert volume.array.dtype.isnative


def test_agrees_with_simpleitk(tmp_path) -> None:
    path = save(tmp_path / "scan.nii.gz")
    image = sitk.ReadImage(str(path))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
    for voxel in ((0, 0, 0), (8, 6, 4), (3, 1, 2)):
        expected = image.TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose(
            volume.to_patient(np.array([voxel], float))[0], expected, atol=1e-5
        )


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"),
    [
        (2.0, -10.0, VALUES * 2 - 10),
        (0.0, 7.0, VALUES),
        (np.nan, np.nan, VALUES),
        (0.5, 0.0, VALUES * np.float32(0.5)),
    ],
)
def test_scaling(tmp_path, slope, intercept, expected) -> None:
    path = poke(save(tmp_path / "scan.nii"), 112, "<ff", slope, intercept)
    array = read_volume(path).array
    np.testing.assert_array_equal(array, expected)
    assert array.dtype == expected.dtype


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (VALUES.astype(np.float32), np.int16),
        (VALUES.astype(np.float64), np.int16),
        (VALUES.astype(np.int32), np.int16),
        (np.abs(VALUES).astype(np.uint8), np.int16),
        (VALUES.astype(np.int32) + 40000, np.float32),
        (VALUES + np.float32(0.25), np.float32),
    ],
)
def test_intensity_types(tmp_path, values, dtype) -> None:
    array = read_volume(save(tmp_path / "scan.nii", values.T)).array
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, values)


def test_one_slice_and_trailing_dimensions(tmp_path) -> None:
    volume = read_volume(save(tmp_path / "one.nii", VALUES.T[:, :, :1]))
    np.testing.assert_array_equal(volume.array, VALUES[:1])
    volume = read_volume(save(tmp_path / "four.nii", VALUES.T[..., None]))
    np.testing.assert_array_equal(volume.array, VALUES)
    refused(save(tmp_path / "time.nii", np.stack([VALUES.T] * 3, axis=3)), "holds 3 volumes")


def test_qform_alone_and_units(tmp_path) -> None:
    path = poke(save(tmp_path / "scan.nii"), 254, "<h", 0)  # sform_code
    np.testing.assert_allclose(read_volume(path).affine, AFFINE, atol=1e-5)
    path = poke(save(tmp_path / "scan.nii"), 123, "<b", 3)  # micron
    refused(path, "voxels of 0.0005 x 0.00075 x 0.002 mm")
    path = save(tmp_path / "scan.nii", lps=np.diag([1e-3] * 3 + [1]) @ AFFINE)
    np.testing.assert_allclose(
        read_volume(poke(path, 123, "<b", 1)).affine, AFFINE, atol=1e-5
    )  # metre


def test_no_geometry_is_refused(tmp_path) -> None:
    path = poke(save(tmp_path / "scan.nii"), 252, "<hh", 0, 0)
    refused(path, "states no geometry")


def test_shear_is_refused(tmp_path) -> None:
    path = poke(save(tmp_path / "scan.nii"), 280 + 4, "<f", 0.3)
    refused(path, "sheared")


@pytest.mark.parametrize("keep", [1, 100, 347, 351, 352, 600])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_truncation_of_the_content(tmp_path, name, keep) -> None:
    data = save(tmp_path / "whole.nii").read_bytes()[:keep]
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    refused(path, "cut short|not a NIfTI")


@pytest.mark.parametrize("lost", [1, 4, 9, 100])
def test_truncation_of_the_gzip_stream(tmp_path, lost) -> None:
    path = save(tmp_path / "scan.nii.gz")
    path.write_bytes(path.read_bytes()[:-lost])
    refused(path, "cut short")


@pytest.mark.parametrize("place", [-1, -6, -60])
def test_damage_is_noticed(tmp_path, place) -> None:
    path = save(tmp_path / "scan.nii.gz")
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    refused(path, "damaged|cut short")


def test_not_nifti_at_all(tmp_path) -> None:
    path = tmp_path / "scan.nii"
    path.write_bytes(b"")
    refused(path, "is empty")
    path.write_text("patient list\n" * 100)
    refused(path, "is not a NIfTI file")
    packed = tmp_path / "scan.nii.gz"
    packed.write_bytes(gzip.compress(b"words " * 200))
    refused(packed, "is not a NIfTI file")
    poke(save(path), 344, "4s", b"ni1\0")
    refused(path, "header of a NIfTI pair")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_header_that_asks_for_terabytes(tmp_path, name) -> None:
    path = poke(save(tmp_path / "scan.nii"), 40, "<4h", 3, 32767, 32767, 32767)
    data = path.read_bytes()
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    refused(path, "is cut short: its header promises 32767 x 32767 x 32767 voxels")


def test_more_data_than_stated(tmp_path) -> None:
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(save(tmp_path / "a.nii").read_bytes() + b"\0" * 4_000_000))
    refused(path, "holds more data")


@pytest.mark.parametrize(
    ("offset", "form", "value", "problem"),
    [
        (40, "<h", 30000, "impossible dimensions"),
        (40, "<h", 0, "impossible dimensions"),
        (42, "<h", -3, "impossible dimensions"),
        (42, "<h", 0, "impossible dimensions"),
        (70, "<h", 999, "impossible values"),
        (70, "<h", 128, "stores colours"),
        (70, "<h", 32, "stores colours"),
        (108, "<f", np.nan, "voxels begin at byte nan"),
        (108, "<f", 1.0, "voxels begin at byte 1"),
        (108, "<f", 1e9, "cut short"),
        (280, "<f", np.nan, "not finite"),
    ],
)
def test_hostile_headers(tmp_path, offset, form, value, problem) -> None:
    refused(poke(save(tmp_path / "scan.nii"), offset, form, value), problem)


def test_scaling_to_infinity_is_refused(tmp_path) -> None:
    refused(poke(save(tmp_path / "scan.nii"), 112, "<ff", 1.0, np.inf), "impossible values")
    refused(poke(save(tmp_path / "scan.nii"), 112, "<ff", 3e38, 0.0), "not finite")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers(tmp_path, bad) -> None:
    values = VALUES.astype(np.float32)
    values[3, 2, 1] = bad
    refused(save(tmp_path / "scan.nii", values.T), "not finite numbers on stored plane 3")


def test_masks(tmp_path) -> None:
    mask = (VALUES % 3).astype(np.float32)
    volume = read_mask(save(tmp_path / "mask.nii", mask.T))
    assert volume.array.dtype == np.uint8
    np.testing.assert_array_equal(volume.array, mask)
    big = np.where(mask > 0, 300, 0).astype(np.int16)
    assert read_mask(save(tmp_path / "big.nii", big.T)).array.dtype == np.uint16
    mask[0, 0, 0] = 0.5
    refused(save(tmp_path / "half.nii", mask.T), "is not a mask of labels", read_mask)
    refused(save(tmp_path / "scan.nii"), "is not a mask of labels", read_mask)  # negative HU


def test_writing_is_reproducible_and_leaves_nothing_behind(tmp_path) -> None:
    path = tmp_path / "scan.nii.gz"
    write_nifti(path, VALUES, AFFINE)
    first = path.read_bytes()
    write_nifti(path, VALUES, AFFINE)
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]
    header = nib.load(path).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(nib.load(path).affine, RAS @ AFFINE)
    write_nifti(tmp_path / "mask.nii", VALUES > 0, AFFINE)
    assert read_mask(tmp_path / "mask.nii").array.max() == 1
    with pytest.raises(InputError, match="cannot be written"):
        write_nifti(path / "scan.nii", VALUES, AFFINE)
    with pytest.raises(ValueError, match="3 dimensions"):
        write_nifti(path, VALUES[0], AFFINE)
