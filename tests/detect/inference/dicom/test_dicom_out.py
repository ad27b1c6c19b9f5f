"""DICOM SR and SEG of what was found, and the label volume, read back by other libraries."""

import csv
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
from highdicom.sr import srread
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from detect.detectors.card import read_model_card
from detect.workflows.predict import predict
from tests.helpers.dicom_series import write_enhanced, write_series

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
OBLIQUE = np.array([[0.98, -0.15, 0.13], [0.17, 0.97, -0.17], [-0.1, 0.19, 0.98]])
OBLIQUE = np.linalg.qr(OBLIQUE)[0] * np.sign(np.diag(np.linalg.qr(OBLIQUE)[1]))
PLANES = {  # direction of columns, of rows, of slices
    "axial": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "feet first": np.diag([-1.0, 1.0, -1.0]),
    "oblique": OBLIQUE.T,
    "coronal": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "sagittal": np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]]),
}


@pytest.fixture
def coded_model(threshold_model: Path) -> Path:
    """The model of the tests, whose one class has a code."""
    card = json.loads((threshold_model / "model.json").read_text(encoding="utf-8"))
    card["codes"] = {"bright": {"value": "109841003", "meaning": "Liver cell carcinoma"}}
    (threshold_model / "model.json").write_text(json.dumps(card))
    return threshold_model


@pytest.fixture
def bone_model(coded_model: Path) -> Path:
    """The same, to which only bone is bright: it finds lesions in any real CT."""
    card = json.loads((coded_model / "model.json").read_text(encoding="utf-8"))
    card["spec"]["window"] = {"level": 500, "width": 200}
    (coded_model / "model.json").write_text(json.dumps(card))
    return coded_model


def study() -> Any:
    """Give the slices what a hospital's have."""
    own, frame = generate_uid(), generate_uid()

    def edit(number: int, ds):
        ds.StudyInstanceUID, ds.FrameOfReferenceUID = own, frame
        ds.StudyDate, ds.StudyTime, ds.StudyID = "20240102", "101112", "1"
        ds.PatientSex, ds.InstanceNumber, ds.SeriesNumber = "F", number + 1, 3
        ds.ReferringPhysicianName, ds.PositionReferenceIndicator = "", ""
        return ds

    return edit


def two_bright_blocks() -> np.ndarray:
    """Stored pixels ``(slices, rows, columns)``: blocks of 12 x 9 x 5 and of 6 x 7 x 4 voxels."""
    pixels = np.full((20, 40, 48), 1024, np.uint16)
    pixels[3:8, 8:17, 5:17] = 1300
    pixels[11:15, 25:32, 30:36] = 1300
    return pixels


def series(folder: Path, plane: str = "axial", pixels: np.ndarray | None = None) -> Path:
    across, down, normal = PLANES[plane]
    write_series(
        folder,
        two_bright_blocks() if pixels is None else pixels,
        study(),
        step=tuple(2.0 * normal),
        orientation=(*across, *down),
    )
    return folder


def lesions_csv(case: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((case / "lesions.csv").read_text(encoding="utf-8").splitlines()))


def centre(row: dict[str, str]) -> np.ndarray:
    return np.array([float(row[f"centre_{axis}_mm"]) for axis in "xyz"])


def by_uid(folder: Path) -> dict[str, Any]:
    return {ds.SOPInstanceUID: ds for ds in map(dcmread, folder.iterdir())}


def place(ds: Any, column: float, row: float) -> np.ndarray:
    """Patient mm of a point in SCOORD's terms: the centre of the first pixel is 0.5, 0.5."""
    turned = np.array(ds.ImageOrientationPatient, float)
    between_rows, between_columns = map(float, ds.PixelSpacing)
    first = np.array(ds.ImagePositionPatient, float)
    return (
        first
        + turned[:3] * between_columns * (column - 0.5)
        + turned[3:] * between_rows * (row - 0.5)
    )


def check_report(case: Path, slices: dict[str, Any], code: Code, tolerance: np.ndarray) -> None:
    """Each group of the SR says what its row of lesions.csv says.

    ``tolerance`` is half a voxel in mm along column, row and slice of the file.
    """
    groups = srread(case / "lesions-sr.dcm").content.get_planar_roi_measurement_groups()
    rows = lesions_csv(case)
    assert len(groups) == len(rows) > 0
    for group, row in zip(groups, rows, strict=True):
        assert group.finding_type == code
        assert group.tracking_identifier == f"lesion {row['lesion_id']}: {row['class']}"
        (size,) = group.get_measurements(name=codes.SCT.LongAxis)
        assert size.unit == codes.UCUM.Millimeter
        longest = max(float(row["size_column_mm"]), float(row["size_row_mm"]))
        assert size.value == pytest.approx(longest, abs=0.011)
        (sure,) = group.get_measurements(name=codes.DCM.CertaintyOfFinding)
        assert sure.value == pytest.approx(100 * float(row["score"]), abs=0.011)
        region = group.roi
        assert region.graphic_type.value == "POLYLINE"
        assert (region.value[0] == region.value[-1]).all() and len(region.value) == 5
        (image,) = (item for item in region.ContentSequence)
        ds = slices[image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID]
        found = place(ds, *region.value[:4].mean(axis=0))
        turned = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
        axes = np.array([*turned, np.cross(*turned)])
        assert (np.abs(axes @ (found - centre(row))) <= tolerance + 0.01).all()


def segments_in_patient(path: Path) -> dict[int, np.ndarray]:
    """Segment number → centres of its voxels in patient mm."""
    seg = hd.seg.segread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    turned = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    places: dict[int, list[np.ndarray]] = {}
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for pixels, frame in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        plane = Dataset()
        plane.ImagePositionPatient = frame.PlanePositionSequence[0].ImagePositionPatient
        plane.ImageOrientationPatient, plane.PixelSpacing = turned, spacing
        for row, column in np.argwhere(pixels):
            places.setdefault(number, []).append(place(plane, column + 0.5, row + 0.5))
    return {number: np.array(own) for number, own in places.items()}


def labels_in_patient(path: Path) -> dict[int, np.ndarray]:
    image = nib.load(path)
    data = np.asarray(image.dataobj)
    assert data.dtype == np.uint8
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    numbers = (int(n) for n in np.unique(data) if n)
    return {n: np.argwhere(data == n) @ to_lps[:3, :3].T + to_lps[:3, 3] for n in numbers}


@pytest.mark.parametrize("plane", PLANES)
def test_report_and_segments_lie_where_the_lesions_are(
    coded_model: Path, tmp_path: Path, plane: str
) -> None:
    folder, out = series(tmp_path / "CT", plane), tmp_path / "out"
    result = predict(coded_model, [folder], out=out, dicom_sr=True, dicom_seg=True)
    assert not result.errors and not result.notes
    (case,) = (out / name for name in result.rows)
    check_report(
        case,
        by_uid(folder),
        Code("109841003", "SCT", "Liver cell carcinoma"),
        np.array([0.25, 0.375, 1.0]),
    )
    segments = segments_in_patient(case / "lesions-seg.dcm")
    labels = labels_in_patient(case / "lesions.nii.gz")
    sizes = {number: len(own) for number, own in segments.items()}
    assert sorted(sizes.values()) == [6 * 7 * 4, 12 * 9 * 5]  # the very blocks
    assert sorted(segments) == sorted(labels) == [1, 2]
    for row in lesions_csv(case):
        own, volume = segments[int(row["lesion_id"])], labels[int(row["lesion_id"])]
        np.testing.assert_allclose(own.mean(axis=0), centre(row), atol=0.02)
        np.testing.assert_allclose(
            own[np.lexsort(own.T.round(1))], volume[np.lexsort(volume.T.round(1))], atol=1e-3
        )
    described = dcmread(case / "lesions-seg.dcm").SegmentSequence
    assert [item.SegmentedPropertyTypeCodeSequence[0].CodeValue for item in described] == [
        "109841003",
        "109841003",
    ]
    validate(case)


def validate(case: Path) -> None:
    """No error by dciodvfy; dsrdump shows each lesion. Each only where it is installed."""
    objects = sorted(case.glob("*.dcm"))
    assert objects
    if shutil.which("dciodvfy"):
        for path in objects:
            done = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
            said = (done.stdout + done.stderr).splitlines()
            assert done.returncode == 0 and {"ComprehensiveSR", "Segmentation"} & set(said)
            assert not [line for line in said if line.startswith("Error")], said
    if shutil.which("dsrdump") and (case / "lesions-sr.dcm") in objects:
        shown = subprocess.run(["dsrdump", case / "lesions-sr.dcm"], capture_output=True, text=True)
        assert shown.returncode == 0 and not shown.stderr
        for row in lesions_csv(case):
            assert f"lesion {row['lesion_id']}: {row['class']}" in shown.stdout


@pytest.mark.parametrize("tool", ["dciodvfy", "dsrdump"])
def test_validators_are_here_and_refuse_what_is_wrong(
    coded_model: Path, tmp_path: Path, tool: str
) -> None:
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed: apt-get install dicom3tools dcmtk")
    folder, out = series(tmp_path / "CT"), tmp_path / "out"
    predict(coded_model, [folder], out=out, dicom_sr=True)
    (path,) = out.rglob("*.dcm")
    validate(path.parent)
    ds = dcmread(path)
    del ds.ContentSequence[-1].ContentSequence[0].ContentSequence[-1].GraphicType
    ds.save_as(path)
    with pytest.raises(AssertionError):
        validate(path.parent)


def test_a_model_knows_the_codes_of_its_recipe(tiny_run: Path) -> None:
    card = read_model_card(tiny_run)
    assert {name: code.value for name, code in card.codes.items()} == {"dark": "85057007"}


def test_frames_of_one_enhanced_file(coded_model: Path, tmp_path: Path) -> None:
    """The frame is referred to by its number in the file, whatever the order there."""
    pixels, folder, out = two_bright_blocks(), tmp_path / "CT", tmp_path / "out"
    folder.mkdir()
    order = np.random.default_rng(2).permutation(len(pixels)).tolist()
    write_enhanced(folder / "all", pixels, order)
    ds = study()(0, dcmread(folder / "all"))
    ds.save_as(folder / "all")
    result = predict(coded_model, [folder], out=out, dicom_sr=True, dicom_seg=True)
    assert not result.errors
    (case,) = (out / name for name in result.rows)
    groups = srread(case / "lesions-sr.dcm").content.get_planar_roi_measurement_groups()
    for group, row in zip(groups, lesions_csv(case), strict=True):
        (image,) = group.roi.ContentSequence
        number = image.ReferencedSOPSequence[0].ReferencedFrameNumber
        assert abs(30 + 2 * order[number - 1] - centre(row)[2]) <= 1
    segments = segments_in_patient(case / "lesions-seg.dcm")
    assert sorted(map(len, segments.values())) == [6 * 7 * 4, 12 * 9 * 5]
    for row in lesions_csv(case):
        own = segments[int(row["lesion_id"])]
        np.testing.assert_allclose(own.mean(axis=0), centre(row), atol=0.02)


def test_boxes_that_overlap_keep_all_their_voxels(
    coded_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two shapes apart whose boxes overlap: whole in the SEG, the surer one in the label volume."""
    pixels = np.full((6, 40, 48), 1024, np.uint16)
    pixels[2:4, 5:25, 5] = pixels[2:4, 24, 5:25] = 1300  # an L of 39 pixels, box 20 x 20
    pixels[2:4, 15:21, 18:30] = 1300  # 12 x 6
    folder, out = series(tmp_path / "CT", pixels=pixels), tmp_path / "out"
    result = predict(coded_model, [folder], out=out, dicom_seg=True)
    (case,) = (out / name for name in result.rows)
    assert not (case / "lesions-sr.dcm").exists()
    segments = segments_in_patient(case / "lesions-seg.dcm")
    labels = labels_in_patient(case / "lesions.nii.gz")
    surest = int(lesions_csv(case)[0]["lesion_id"])
    assert sorted(map(len, segments.values())) == [2 * 12 * 6, 2 * 20 * 20]
    assert len(labels[surest]) == len(segments[surest])
    common = 2 * 7 * 6
    assert sum(map(len, labels.values())) == sum(map(len, segments.values())) - common
    validate(case)

    monkeypatch.setattr("detect.inference.dicom.seg.MOST_BYTES", 100)
    result = predict(coded_model, [folder], out=tmp_path / "two", dicom_seg=True)
    (error,) = result.errors
    assert "overlap" in str(error) and not list((tmp_path / "two").glob("scan-*"))


def test_a_label_volume_lies_on_the_voxels_of_its_file(coded_model: Path, tmp_path: Path) -> None:
    """Stored along other axes and backwards: the bright voxels of the file are those labelled."""
    data = np.zeros((30, 20, 40), np.int16)
    data[4:9, 3:12, 6:20] = 200
    data[15:22, 8:14, 25:31] = 200
    affine = np.array([[0, 0, -0.8, 9], [0, 2.0, 0, -7], [0.9, 0, 0, 3], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "scan.nii.gz")
    out = tmp_path / "out"
    result = predict(coded_model, [tmp_path / "scan.nii.gz"], out=out, dicom_sr=True)
    assert not result.errors and "not a DICOM series" in result.notes["scan"]
    labels = nib.load(out / "scan" / "lesions.nii.gz")
    np.testing.assert_allclose(labels.affine, affine, atol=1e-6)
    assert ((np.asarray(labels.dataobj) > 0) == (data > 0)).all()
    assert not list(out.rglob("*.dcm"))


def check_real_series(case: Path, folder: Path) -> None:
    """Objects of a series of STS are valid, and their lesions lie where lesions.csv says."""
    half = np.array([0.9765625, 0.9765625, 3.27]) / 2
    check_report(case, by_uid(folder), Code("109841003", "SCT", "Liver cell carcinoma"), half)
    segments = segments_in_patient(case / "lesions-seg.dcm")
    rows = lesions_csv(case)
    assert len(segments) == len(rows)
    for row in rows:
        own = segments[int(row["lesion_id"])]
        middle = (own.min(axis=0) + own.max(axis=0)) / 2
        assert (np.abs(middle - centre(row)) <= half + 0.01).all()
    validate(case)


@pytest.mark.realdata
def test_a_real_series(bone_model: Path, realdata: Path, tmp_path: Path) -> None:
    """Bone of a CT of soft-tissue sarcoma: many lesions, valid objects, at their places."""
    folder, out = realdata / "sts" / "STS_019" / "CT" / "image", tmp_path / "out"
    result = predict(bone_model, [folder], out=out, dicom_sr=True, dicom_seg=True)
    assert not result.errors and not result.notes
    (case,) = (out / name for name in result.rows)
    check_real_series(case, folder)
