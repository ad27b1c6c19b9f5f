"""DICOM SR and SEG of what was found, and the label volume, read back by other libraries."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from highdicom.sr import srread
from pydicom import dcmread
from pydicom.sr.coding import Code

from detect.detectors.card import read_model_card
from detect.workflows.predict import predict
from tests.helpers.dicom_results import (
    PLANES,
    by_uid,
    centre,
    check_real_series,
    check_report,
    lesions_csv,
    segments_in_patient,
    series,
    study,
    two_bright_blocks,
    validate,
)
from tests.helpers.dicom_series import write_enhanced


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
    sizes = {number: len(points) for number, points in segments.items()}
    assert sorted(sizes.values()) == [6 * 7 * 4, 12 * 9 * 5]  # the very blocks
    assert sorted(segments) == sorted(labels) == [1, 2]
    for row in lesions_csv(case):
        points, volume = segments[int(row["lesion_id"])], labels[int(row["lesion_id"])]
        np.testing.assert_allclose(points.mean(axis=0), centre(row), atol=0.02)
        np.testing.assert_allclose(
            points[np.lexsort(points.T.round(1))], volume[np.lexsort(volume.T.round(1))], atol=1e-3
        )
    described = dcmread(case / "lesions-seg.dcm").SegmentSequence
    assert [item.SegmentedPropertyTypeCodeSequence[0].CodeValue for item in described] == [
        "109841003",
        "109841003",
    ]
    validate(case)


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
        points = segments[int(row["lesion_id"])]
        np.testing.assert_allclose(points.mean(axis=0), centre(row), atol=0.02)


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


@pytest.mark.realdata
def test_a_real_series(bone_model: Path, realdata: Path, tmp_path: Path) -> None:
    """Bone of a CT of soft-tissue sarcoma: many lesions, valid objects, at their places."""
    folder, out = realdata / "sts" / "STS_019" / "CT" / "image", tmp_path / "out"
    result = predict(bone_model, [folder], out=out, dicom_sr=True, dicom_seg=True)
    assert not result.errors and not result.notes
    (case,) = (out / name for name in result.rows)
    check_real_series(case, folder)
