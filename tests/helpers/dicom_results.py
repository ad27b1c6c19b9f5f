"""DICOM series with two bright blocks, and checks of the SR and SEG made from them."""

import csv
import shutil
import subprocess
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from highdicom.sr import srread
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from tests.helpers.dicom_series import write_series

_TURN = np.array([[0.98, -0.15, 0.13], [0.17, 0.97, -0.17], [-0.1, 0.19, 0.98]])
OBLIQUE = np.linalg.qr(_TURN)[0] * np.sign(np.diag(np.linalg.qr(_TURN)[1]))

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")

PLANES = {  # direction of columns, of rows, of slices
    "axial": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "feet first": np.diag([-1.0, 1.0, -1.0]),
    "oblique": OBLIQUE.T,
    "coronal": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "sagittal": np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]]),
}


def study() -> Any:
    """Return an edit that gives slices the attributes of a hospital's study."""
    study_uid, frame = generate_uid(), generate_uid()

    def edit(number: int, ds):
        ds.StudyInstanceUID, ds.FrameOfReferenceUID = study_uid, frame
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


def by_uid(folder: Path) -> dict[str, Any]:
    return {ds.SOPInstanceUID: ds for ds in map(dcmread, folder.iterdir())}


def check_report(case: Path, slices: dict[str, Any], code: Code, tolerance: np.ndarray) -> None:
    """Check that each group of the SR equals its row of `lesions.csv`.

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
        point = place(ds, *region.value[:4].mean(axis=0))
        turned = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
        axes = np.array([*turned, np.cross(*turned)])
        assert (np.abs(axes @ (point - centre(row))) <= tolerance + 0.01).all()


def validate(case: Path) -> None:
    """Check a case with dciodvfy and dsrdump, each only if it is installed."""
    objects = sorted(case.glob("*.dcm"))
    assert objects
    if shutil.which("dciodvfy"):
        for path in objects:
            done = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
            messages = (done.stdout + done.stderr).splitlines()
            assert done.returncode == 0 and {"ComprehensiveSR", "Segmentation"} & set(messages)
            assert not [line for line in messages if line.startswith("Error")], messages
    if shutil.which("dsrdump") and (case / "lesions-sr.dcm") in objects:
        shown = subprocess.run(["dsrdump", case / "lesions-sr.dcm"], capture_output=True, text=True)
        assert shown.returncode == 0 and not shown.stderr
        for row in lesions_csv(case):
            assert f"lesion {row['lesion_id']}: {row['class']}" in shown.stdout


def check_real_series(case: Path, folder: Path) -> None:
    """Check that SR and SEG of an STS series are valid and agree with `lesions.csv`."""
    half = np.array([0.9765625, 0.9765625, 3.27]) / 2
    check_report(case, by_uid(folder), Code("109841003", "SCT", "Liver cell carcinoma"), half)
    segments = segments_in_patient(case / "lesions-seg.dcm")
    rows = lesions_csv(case)
    assert len(segments) == len(rows)
    for row in rows:
        segment = segments[int(row["lesion_id"])]
        middle = (segment.min(axis=0) + segment.max(axis=0)) / 2
        assert (np.abs(middle - centre(row)) <= half + 0.01).all()
    validate(case)


def lesions_csv(case: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((case / "lesions.csv").read_text(encoding="utf-8").splitlines()))


def centre(row: dict[str, str]) -> np.ndarray:
    return np.array([float(row[f"centre_{axis}_mm"]) for axis in "xyz"])


def place(ds: Any, column: float, row: float) -> np.ndarray:
    """Map an SCOORD point to patient mm; the centre of the first pixel is 0.5, 0.5."""
    turned = np.array(ds.ImageOrientationPatient, float)
    between_rows, between_columns = map(float, ds.PixelSpacing)
    first = np.array(ds.ImagePositionPatient, float)
    return (
        first
        + turned[:3] * between_columns * (column - 0.5)
        + turned[3:] * between_rows * (row - 0.5)
    )


def segments_in_patient(path: Path) -> dict[int, np.ndarray]:
    """Return the voxel centres of each segment in patient mm."""
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
    return {number: np.array(points) for number, points in places.items()}
