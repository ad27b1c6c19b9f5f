import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from converters.core.errors import InputError
from converters.imaging.read import read_mask, read_volume, source_files

SHAPE = (5, 7, 9)
VALUES = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 100
KINDS = ["nrrd", "nhdr", "mha", "mhd"]


def image(array: np.ndarray = VALUES, turn: np.ndarray | None = None) -> sitk.Image:
    result = sitk.GetImageFromArray(array)
    result.SetSpacing((0.5, 0.75, 2.0))
    result.SetOrigin((-10.0, 20.0, 30.0))
    if turn is not None:
        result.SetDirection(turn.ravel().tolist())
    return result


def save(path: Path, packed: bool = False, **kind) -> Path:
    sitk.WriteImage(image(**kind), str(path), useCompression=packed)
    return path


def data_file(path: Path) -> Path:
    return next((file for file in source_files(path) if file != path), path)


def replace(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    return path


def refused(path: Path, problem: str, named: Path | None = None) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read_volume(path)
    assert caught.value.path == str(named or path)
    assert caught.value.remedy


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("angles", [(0, 0, 0), (10, -20, 5), (180, 0, 0), (0, 0, 90)])
def test_agrees_with_simpleitk(tmp_path, kind, packed, angles) -> None:
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    path = save(tmp_path / f"scan.{kind}", packed, turn=turn)
    reference = sitk.ReadImage(str(path))
    expected = sitk.GetArrayFromImage(reference)
    volume = read_volume(path)
    for slice_, row, column in np.ndindex(volume.array.shape):
        voxel = np.array([[column, row, slice_]], float)
        i, j, k = (int(n) for n in volume.to_file_voxels(voxel)[0])
        assert volume.array[slice_, row, column] == expected[k, j, i]
    point = reference.TransformIndexToPhysicalPoint((i, j, k))
    np.testing.assert_allclose(volume.to_patient(voxel)[0], point, atol=1e-9)


@pytest.mark.parametrize("kind", ["nrrd", "mha"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_voxel_types(tmp_path, kind, dtype) -> None:
    values = np.abs(VALUES % 100).astype(dtype)
    path = save(tmp_path / f"scan.{kind}", array=values)
    np.testing.assert_array_equal(read_volume(path).array, values)
    mask = read_mask(path).array
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, values)


def test_big_endian_ras_byte_skip_and_key_values(tmp_path) -> None:
    path = tmp_path / "scan.nrrd"
    head = (
        "NRRD0005\r\n# comment\r\ntype: int16\r\ndimension: 3\r\nsizes: 9 7 5\r\nendian: big\r\n"
        "space: right-anterior-superior\r\nspace directions: (-.5,0,0) (0,-.75,0) (0,0,2)\r\n"
        'space origin: (10,-20,30)\r\nspace units: "mm" "mm" "mm"\r\nbyte skip: -1\r\n'
        "encoding: raw\r\nSegment0_Name:=sizes: 1\r\n\r\n"
    )
    path.write_bytes(head.encode() + b"junk" + VALUES.astype(">i2").tobytes())
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, VALUES)
    np.testing.assert_allclose(volume.affine[:3, 3], [-10, 20, 30])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), VALUES)


def test_meta_header_size_byte_order_and_modality(tmp_path) -> None:
    path = save(tmp_path / "scan.mhd")
    raw = data_file(path)
    raw.write_bytes(b"x" * 17 + VALUES.astype(">i2").tobytes())
    replace(path, b"BinaryDataByteOrderMSB = False", b"BinaryDataByteOrderMSB = True")
    replace(path, b"ElementDataFile", b"Modality = MET_MOD_CT\nHeaderSize = -1\nElementDataFile")
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, VALUES)
    assert volume.modality == "CT"
    replace(path, b"HeaderSize = -1", b"HeaderSize = 17")
    np.testing.assert_array_equal(read_volume(path).array, VALUES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("lost", [1, 40])
def test_truncation(tmp_path, kind, packed, lost, capfd) -> None:
    path = save(tmp_path / f"scan.{kind}", packed)
    data = data_file(path)
    data.write_bytes(data.read_bytes()[:-lost])
    refused(path, "cut short", data)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [-3, -60])
def test_damage_that_simpleitk_lets_pass(tmp_path, kind, place, capfd) -> None:
    path = save(tmp_path / f"scan.{kind}", packed=True)
    data = data_file(path)
    content = bytearray(data.read_bytes())
    content[place] ^= 0xFF
    data.write_bytes(content)
    refused(path, "damaged|cut short", data)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["nhdr", "mhd"])
def test_detached_data(tmp_path, kind) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    path = save(folder / f"scan.{kind}")
    raw = folder / "scan.raw"
    assert source_files(path) == sorted([path, raw])
    outside = tmp_path / "outside.raw"
    outside.write_bytes(raw.read_bytes())
    for name in ("../outside.raw", str(outside), "sub/../../outside.raw", "/etc/passwd"):
        copy = folder / f"hostile.{kind}"
        copy.write_bytes(path.read_bytes())
        refused(replace(copy, b"scan.raw", name.encode()), "outside its own folder")
        with pytest.raises(InputError, match="outside its own folder"):
            source_files(copy)
    for name in ("LIST", "slice%03d.raw"):
        copy.write_bytes(path.read_bytes())
        refused(replace(copy, b"scan.raw", name.encode()), "several data files")
    copy.write_bytes(path.read_bytes())
    refused(replace(copy, b"scan.raw", b"a\0b.raw"), "impossible data file")
    raw.unlink()
    refused(path, "needs the data file 'scan.raw'")
    raw.symlink_to(outside)
    refused(path, "outside its own folder")


@pytest.mark.parametrize(
    ("kind", "before", "hidden"),
    [
        ("mha", b"ElementDataFile", b"ElementDataFile : ../outside.raw=\n"),
        ("nrrd", b"encoding", b"# comment\rdata file: ../outside.raw\n"),
        ("nrrd", b"encoding", b"key:=value\rdata file: ../outside.raw\n"),
    ],
)
def test_a_path_that_only_simpleitk_sees(tmp_path, kind, before, hidden) -> None:
    for name in ("outside.raw", "outside.raw="):
        (tmp_path / name).write_bytes(np.full(SHAPE, 77, np.int16).tobytes())
    (tmp_path / "case").mkdir()
    path = replace(save(tmp_path / "case" / f"scan.{kind}"), before, hidden + before)
    assert source_files(path) == [path]
    np.testing.assert_array_equal(read_volume(path).array, VALUES)
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) == 77).all()  # why it reads none


@pytest.mark.parametrize("lost", [b"CompressedDataSize", b""])
def test_streams_that_simpleitk_cannot_unpack(tmp_path, lost, capfd) -> None:
    path = save(tmp_path / "scan.mhd", packed=True)
    if lost:
        replace(path, lost, b"Comment")
    else:
        data_file(path).write_bytes(gzip.compress(VALUES.tobytes()))
    np.testing.assert_array_equal(read_volume(path).array, VALUES)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("field", ["space directions", "space origin", "space"])
def test_nrrd_without_geometry(tmp_path, field) -> None:
    path = save(tmp_path / "scan.nrrd")
    lines = path.read_bytes().split(b"\n")
    kept = [line for line in lines if not line.startswith(f"{field}:".encode())]
    path.write_bytes(b"\n".join(kept))
    refused(path, f"no geometry: `{field}` missing")


@pytest.mark.parametrize("name", ["TransformMatrix", "ElementSpacing", "Offset"])
def test_meta_without_geometry(tmp_path, name) -> None:
    path = replace(save(tmp_path / "scan.mha"), f"\n{name} =".encode(), b"\nComment =")
    refused(path, f"no geometry: `{name.lower()}` missing")


@pytest.mark.parametrize(
    ("kind", "old", "new", "problem"),
    [
        ("nrrd", b"sizes: 9 7 5", b"sizes: 9 7 0", "impossible dimensions"),
        ("nrrd", b"sizes: 9 7 5", b"sizes: 900000 700000 500000", "cut short: its header promises"),
        ("nrrd", b"sizes: 9 7 5", b"sizes: 9 seven 5", "not the number needed"),
        ("nrrd", b"dimension: 3", b"dimension: 4", "has 4 dimensions"),
        ("nrrd", b"type: short", b"type: block", "not plain numbers"),
        ("nrrd", b"encoding: raw", b"encoding: ascii", "neither raw nor"),
        ("nrrd", b"endian: little\n", b"", "lacks the header field `endian`"),
        ("nrrd", b"left-posterior-superior", b"scanner-xyz", "not the patient's"),
        ("nrrd", b"(0.5,0,0)", b"(0.5,0.2,0)", "sheared"),
        ("nrrd", b"(0.5,0,0)", b"(nan,0,0)", "not finite"),
        ("nrrd", b"(0.5,0,0)", b"(0,0,0)", "voxels of 0 x"),
        ("nrrd", b"NRRD0004", b"JUNK0004", "is not a NRRD file"),
        ("mha", b"DimSize = 9 7 5", b"DimSize = 9 7", "has 3 dimensions|dimensions, not 3"),
        ("mha", b"DimSize = 9 7 5", b"DimSize = 900000 700000 500000", "header promises"),
        ("mha", b"NDims = 3", b"NDims = x", "not the number needed"),
        ("mha", b"MET_SHORT", b"MET_SHORT_ARRAY", "not plain numbers"),
        ("mha", b"BinaryData = True", b"BinaryData = False", "as text"),
        ("mha", b"DimSize = ", b"Dimsion = ", "lacks the header field `dimsize`"),
        ("mha", b"ObjectType = Image", b"Dear colleague,", "is not a MetaImage file"),
    ],
)
def test_wrong_headers(tmp_path, kind, old, new, problem) -> None:
    refused(replace(save(tmp_path / f"scan.{kind}"), old, new), problem)


def test_colours_and_time(tmp_path) -> None:
    colour = sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True)
    for kind in ("nrrd", "mha"):
        path = tmp_path / f"colour.{kind}"
        sitk.WriteImage(colour, str(path))
        refused(path, "4 dimensions|plain numbers")


def test_no_data_file_named_and_no_end(tmp_path) -> None:
    path = save(tmp_path / "scan.nhdr")
    lines = [line for line in path.read_bytes().split(b"\n") if not line.startswith(b"data file")]
    path.write_bytes(b"\n".join(lines))
    refused(path, "names no data file")
    path = tmp_path / "scan.mha"
    path.write_bytes(b"ObjectType = Image\nNDims = 3\n")
    refused(path, "without an end")
    path.write_bytes(b"")
    refused(path, "is empty")


def test_bombs_are_refused(tmp_path) -> None:
    path = save(tmp_path / "scan.nhdr", packed=True)
    data_file(path).write_bytes(gzip.compress(VALUES.tobytes() + b"\0" * 50_000_000))
    refused(path, "holds more data", data_file(path))
    path = save(tmp_path / "scan.mhd", packed=True)
    data_file(path).write_bytes(zlib.compress(VALUES.tobytes() + b"\0" * 50_000_000))
    refused(path, "holds more data", data_file(path))
