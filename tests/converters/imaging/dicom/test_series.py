import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset
from pydicom.uid import (
    JPEG2000Lossless,
    RLELossless,
    RTStructureSetStorage,
    SegmentationStorage,
    generate_uid,
)
from scipy.spatial.transform import Rotation

from converters.core.errors import InputError
from converters.imaging.dicom.quiet import quiet
from converters.imaging.read import find_scans, is_scan, read_volume, source_files
from tests.helpers.dicom_series import SECRETS, put_pixels, write_enhanced, write_series

SHAPE = (5, 7, 9)
PIXELS = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
HU = PIXELS.astype(np.int16) - 1024


def refused(path: Path, problem: str, named: Path | None = None) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read_volume(path)
    assert caught.value.path == str(named or path)
    text = str(caught.value)
    assert not any(secret in text for secret in SECRETS)
    assert "1.2.826" not in text  # generate_uid's root


def from_simpleitk(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def same_as_simpleitk(folder: Path) -> None:
    volume, image = read_volume(folder), from_simpleitk(folder)
    values = sitk.GetArrayFromImage(image)
    slices, rows, columns = np.indices(volume.array.shape).reshape(3, -1)
    voxels = np.stack([columns, rows, slices], axis=1).astype(float)
    i, j, k = volume.to_file_voxels(voxels).astype(int).T
    np.testing.assert_array_equal(volume.array[slices, rows, columns], values[k, j, i])
    for index in (0, 17, len(voxels) - 1):
        place = [int(n) for n in volume.to_file_voxels(voxels)[index]]
        expected = image.TransformIndexToPhysicalPoint(place)
        np.testing.assert_allclose(volume.to_patient(voxels)[index], expected, atol=1e-6)


def test_a_plain_series(tmp_path) -> None:
    paths = write_series(tmp_path, PIXELS)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, HU)
    assert volume.array.dtype == np.int16
    assert volume.array.flags.c_contiguous
    expected = [[0.5, 0, 0, -10], [0, 0.75, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.affine, expected)
    assert volume.modality == "CT"
    assert source_files(tmp_path) == sorted(paths)
    same_as_simpleitk(tmp_path)


@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (0, 0, 180), (180, 0, 0), (12, -7, 4), (90, 0, 0), (0, 90, 90)]
)
def test_orientations_agree_with_simpleitk(tmp_path, angles) -> None:
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    orientation = tuple(np.round(turn[:, :2].T.ravel(), 9))
    write_series(tmp_path, PIXELS, step=tuple(turn[:, 2] * 2), orientation=orientation)
    same_as_simpleitk(tmp_path)


def test_positions_running_against_the_normal(tmp_path) -> None:
    write_series(tmp_path, PIXELS, step=(0, 0, -2))
    np.testing.assert_array_equal(read_volume(tmp_path).array, HU[::-1])
    same_as_simpleitk(tmp_path)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed(tmp_path, syntax) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (4, 32, 48)).astype(np.uint16)

    def compress(_: int, ds: FileDataset) -> FileDataset:
        if syntax == RLELossless:
            ds.compress(RLELossless, generate_instance_uid=False)
        return ds

    paths = write_series(tmp_path, pixels, compress)
    if syntax == JPEG2000Lossless:
        for path in paths:
            to_jpeg2000(path)
    np.testing.assert_array_equal(read_volume(tmp_path).array, pixels.astype(np.int16) - 1024)
    same_as_simpleitk(tmp_path)


def to_jpeg2000(path: Path) -> None:
    """Through GDCM itself: pydicom would need another package to encode."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEG2000Lossless))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def test_rescale_by_slice(tmp_path) -> None:
    def rescale(number: int, ds: FileDataset) -> FileDataset:
        ds.RescaleSlope, ds.RescaleIntercept = 1 + number, -1000 - 10 * number
        return ds

    write_series(tmp_path, PIXELS, rescale)
    numbers = np.arange(5)[:, None, None]
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, PIXELS * (1 + numbers) - 1000 - 10 * numbers)
    assert volume.array.dtype == np.int16


def test_fractions_become_float32(tmp_path) -> None:
    def rescale(number: int, ds: FileDataset) -> FileDataset:
        ds.RescaleSlope = 0.5 if number == 3 else 1
        return ds

    write_series(tmp_path, PIXELS, rescale)
    volume = read_volume(tmp_path)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[3], PIXELS[3] * 0.5 - 1024)
    np.testing.assert_array_equal(volume.array[4], HU[4])


def test_one_slice_takes_its_thickness(tmp_path) -> None:
    write_series(tmp_path / "thick", PIXELS[:1])
    assert read_volume(tmp_path / "thick").spacing == (0.5, 0.75, 2.5)

    def forget(_: int, ds: FileDataset) -> FileDataset:
        del ds.SliceThickness
        return ds

    write_series(tmp_path / "unknown", PIXELS[:1], forget)
    assert read_volume(tmp_path / "unknown").spacing == (0.5, 0.75, 1.0)


def test_enhanced_multi_frame(tmp_path) -> None:
    write_enhanced(tmp_path / "one.dcm", PIXELS, [3, 0, 4, 1, 2])
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, HU)
    assert volume.spacing == (0.5, 0.75, 2.0)


def test_other_objects_and_files_are_ignored(tmp_path) -> None:
    write_series(tmp_path, PIXELS)
    (tmp_path / "LICENSE.md").write_text("CC BY" * 100)
    (tmp_path / ".DS_Store").write_bytes(b"")
    (tmp_path / "notes").write_bytes(b"\x08\x00\x05\x00" + b"not DICOM" * 100)
    (tmp_path / "below").mkdir()

    def other(kind: str, modality: str):
        def change(number: int, ds: FileDataset) -> FileDataset | None:
            ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = kind
            ds.Modality = modality
            if modality == "RTSTRUCT":
                del ds.PixelData, ds.Rows, ds.Columns
            return ds

        return change

    for kind, modality in ((RTStructureSetStorage, "RTSTRUCT"), (SegmentationStorage, "SEG")):
        folder = tmp_path.parent / f"{tmp_path.name}-{modality}"
        (file,) = write_series(folder, PIXELS[:1], other(kind, modality))
        file.rename(tmp_path / f"{modality}.dcm")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, HU)
    assert len(source_files(tmp_path)) == len(PIXELS)
    assert find_scans(tmp_path) == [tmp_path]

    only = tmp_path / "only"
    only.mkdir()
    (tmp_path / "SEG.dcm").rename(only / "SEG.dcm")
    assert not is_scan(only)
    refused(only, "holds no DICOM images but 1 other DICOM objects")


def test_an_empty_folder(tmp_path) -> None:
    refused(tmp_path, "holds no DICOM images")


def test_mixed_series(tmp_path) -> None:
    write_series(tmp_path, PIXELS)
    for number, path in enumerate(write_series(tmp_path / "b", PIXELS[:2])):
        path.rename(tmp_path / f"other{number}")
    refused(tmp_path, r"mixes 2 image series \(slices: 5 CT, 2 CT\)")
    with pytest.raises(InputError, match="mixes 2 image series"):
        source_files(tmp_path)


def test_missing_slices(tmp_path) -> None:
    pixels = np.repeat(PIXELS, 3, axis=0)
    write_series(tmp_path, pixels, lambda n, ds: None if n in (4, 5, 9) else ds)
    refused(
        tmp_path,
        r"misses 3 slices: usually 2 mm apart, but nothing between 36 and 42, 46 and 50 mm",
    )


def edit(**tags):
    def change(number: int, ds: FileDataset) -> FileDataset:
        if number == 3:
            for keyword, value in tags.items():
                if value is None:
                    delattr(ds, keyword)
                else:
                    setattr(ds, keyword, value)
        return ds

    return change


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        ({"ImagePositionPatient": [-10, 20, 34]}, "1 duplicate slices: of 5, only 4"),
        ({"ImagePositionPatient": [-10, 20, 36.5]}, r"unevenly spaced slices \(steps from 1.5"),
        ({"ImagePositionPatient": [-9, 20, 36]}, "unevenly spaced"),
        ({"ImageOrientationPatient": [0.8, 0.6, 0, -0.6, 0.8, 0]}, "different orientations"),
        ({"PixelSpacing": [0.8, 0.5]}, "different pixel spacings"),
    ],
)
def test_uneven_stacks(tmp_path, tags, problem) -> None:
    write_series(tmp_path, PIXELS, edit(**tags))
    refused(tmp_path, problem)


def test_different_sizes(tmp_path) -> None:
    def crop(number: int, ds: FileDataset) -> FileDataset:
        if number == 3:
            put_pixels(ds, PIXELS[3, :5])
        return ds

    write_series(tmp_path, PIXELS, crop)
    refused(tmp_path, "different sizes")


def test_gantry_tilt(tmp_path) -> None:
    write_series(tmp_path, PIXELS, step=(0, 0.5, 2))
    refused(tmp_path, "is sheared: .* 14.04 degrees off their normal")


def test_rounded_positions_are_accepted(tmp_path) -> None:
    def rounded(number: int, ds: FileDataset) -> FileDataset:
        ds.ImagePositionPatient = [-10, 20, round(30 + 1.25 * number, 1)]
        return ds

    write_series(tmp_path, PIXELS, rounded)
    assert read_volume(tmp_path).spacing[2] == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        ({"ImagePositionPatient": None}, "lacks ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, "lacks ImageOrientationPatient"),
        ({"PixelSpacing": None}, "lacks PixelSpacing"),
        ({"PixelSpacing": [0.0, 0.5]}, "PixelSpacing of 0"),
        ({"RescaleSlope": 0}, "RescaleSlope or PixelSpacing of 0"),
        ({"SamplesPerPixel": 3}, "colour picture"),
        ({"NumberOfFrames": 4}, "several frames without"),
        ({"PixelData": None}, "has no pixel data"),
        ({"PixelData": b"\0\0" * 50}, "damaged or cut short"),
        ({"Rows": None}, "lacks image dimensions"),
    ],
)
def test_the_file_at_fault_is_named(tmp_path, tags, problem) -> None:
    path = write_series(tmp_path, PIXELS, edit(**tags))[3]
    refused(tmp_path, problem, path)


def test_orientation_that_is_none(tmp_path) -> None:
    write_series(tmp_path, PIXELS[:1], orientation=(0, 0, 0, 0, 1, 0))
    with pytest.raises(InputError, match="not two unit vectors"):
        read_volume(tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
def test_truncation_anywhere(tmp_path, compressed) -> None:
    def compress(_: int, ds: FileDataset) -> FileDataset:
        if compressed:
            ds.compress(RLELossless, generate_instance_uid=False)
        return ds

    path = write_series(tmp_path, PIXELS, compress)[2].rename(tmp_path / "cut.dcm")
    whole = path.read_bytes()
    # the last 4 bytes of a compressed file are the length, always 0, of the closing delimiter
    last = len(whole) - (5 if compressed else 1)
    for keep in [0, 50, 140, *range(150, last, 37), last]:
        path.write_bytes(whole[:keep])
        with pytest.raises(InputError) as caught:
            read_volume(tmp_path)
            pytest.fail(f"{keep} of {len(whole)} bytes were read as a scan")
        assert not any(secret in str(caught.value) for secret in SECRETS), keep


def test_damaged_jpeg2000_is_refused(tmp_path, capfd) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (3, 64, 64)).astype(np.uint16)
    paths = write_series(tmp_path, pixels)
    for path in paths:
        to_jpeg2000(path)
    data = bytearray(paths[1].read_bytes())
    start = data.rindex(b"\xff\x4f\xff\x51")  # the codestream's first markers
    data[start : start + 40] = bytes(40)
    paths[1].write_bytes(data)
    refused(tmp_path, "damaged or cut short", paths[1])
    # OpenJPEG inside GDCM prints its own line and cannot be told not to; pydicom must not
    assert capfd.readouterr().err.strip() in ("", "Expected a SOC marker")


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.201", "1.2.3.4.5"])
def test_unknown_compression(tmp_path, syntax) -> None:
    def compress(number: int, ds: FileDataset) -> FileDataset:
        ds.compress(RLELossless, generate_instance_uid=False)
        return ds

    paths = write_series(tmp_path, PIXELS, compress)
    old, new = RLELossless.encode(), syntax.encode()
    for path in paths:
        # same length, padded with null, so that the group's own length still holds
        data = path.read_bytes()
        at = data.index(old)
        length = int.from_bytes(data[at - 2 : at], "little")
        new_length = len(new) + len(new) % 2
        meta = int.from_bytes(data[140:144], "little") + new_length - length
        data = (
            data[:140]
            + meta.to_bytes(4, "little")
            + data[144 : at - 2]
            + new_length.to_bytes(2, "little")
            + new.ljust(new_length, b"\0")
            + data[at + length :]
        )
        path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be decoded"):
        read_volume(tmp_path)


def test_files_without_preamble(tmp_path) -> None:
    for path in write_series(tmp_path, PIXELS):
        data = path.read_bytes()
        path.write_bytes(data[132:])
    np.testing.assert_array_equal(read_volume(tmp_path).array, HU)


def test_links_out_of_the_folder(tmp_path) -> None:
    paths = write_series(tmp_path / "series", PIXELS)
    outside = paths[2].rename(tmp_path / "outside")
    paths[2].symlink_to(outside)
    refused(tmp_path / "series", "leaves the folder", paths[2])
    outside.unlink()
    refused(tmp_path / "series", "a file that is missing", paths[2])


def test_headers_that_promise_the_world(tmp_path) -> None:
    def grow(_: int, ds: FileDataset) -> FileDataset:
        ds.Rows = ds.Columns = 65535
        return ds

    write_series(tmp_path, PIXELS, grow)
    refused(tmp_path, "promises 65535 x 65535 x 5 pixels in files of")


def test_nothing_of_the_patient_gets_out(tmp_path, caplog) -> None:
    def name_in_modality(_: int, ds: FileDataset) -> FileDataset:
        with quiet():
            ds.Modality = SECRETS[0]
        return ds

    write_series(tmp_path, PIXELS, name_in_modality)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert read_volume(tmp_path).modality == ""
    assert not heard
    assert not caplog.records


def test_a_series_uid_is_not_needed(tmp_path) -> None:
    write_series(tmp_path, PIXELS, lambda n, ds: delattr(ds, "SeriesInstanceUID") or ds)
    np.testing.assert_array_equal(read_volume(tmp_path).array, HU)
    assert generate_uid().startswith("1.2.826")  # what `refused` looks for
