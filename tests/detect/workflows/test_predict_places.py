"""The place of a finding in the patient does not depend on the storage of the scan."""

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from converters.imaging.nifti import write_nifti
from converters.imaging.read import read_volume
from detect.workflows.predict import predict
from tests.helpers.dicom_series import write_series
from tests.helpers.threshold_detector import detections
from tests.helpers.tiny import make_scans


def sphere(affine: np.ndarray, centre_mm: np.ndarray, radius_mm: float) -> np.ndarray:
    """Noise with a bright sphere, ``(slices, rows, columns)``."""
    shape = (32, 56, 64)
    k, j, i = np.indices(shape)
    voxels = np.stack([i, j, k, np.ones(shape)], axis=-1)
    place = (voxels @ affine.T)[..., :3]
    hu = np.random.default_rng(3).normal(0, 8, shape)
    hu[np.linalg.norm(place - centre_mm, axis=-1) <= radius_mm] += 250
    return hu.astype(np.int16)


@pytest.mark.parametrize(
    ("order", "flips"),
    [
        ((0, 1, 2), (False, False, False)),
        ((0, 1, 2), (True, False, True)),
        ((2, 0, 1), (False, True, False)),
    ],
)
@pytest.mark.parametrize("angles", [(0, 0, 0), (7, -12, 20)])
@pytest.mark.parametrize("fraction", [(0.5, 0.5, 0.5), (0.3, 0.62, 0.41)])
def test_a_planted_lesion_comes_back_where_it_was_put(
    threshold_model: Path, tmp_path: Path, angles, fraction, order, flips
) -> None:
    affine = np.eye(4)
    spacing = np.array([0.8, 0.9, 1.5])
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    affine[:3, 3] = (-31.5, 12.25, 400)
    voxel = np.array(fraction) * (63, 55, 31)
    centre = affine[:3, :3] @ voxel + affine[:3, 3]
    write_nifti(tmp_path / "planted.nii.gz", sphere(affine, centre, 6.0), affine)
    stored = stored_as(sitk.ReadImage(str(tmp_path / "planted.nii.gz")), order, flips)
    sitk.WriteImage(stored, str(tmp_path / "planted.nii.gz"))
    out = tmp_path / "out"
    result = predict(threshold_model, [tmp_path / "planted.nii.gz"], out=out)
    assert not result.errors

    content = detections(out, "planted")
    (lesion,) = content["lesions"]
    axes = affine[:3, :3] / spacing
    off = axes.T @ (np.array(lesion["centre_mm"]) - centre)  # along column, row, slice
    assert (np.abs(off) <= spacing / 2).all()
    assert np.abs(np.array(lesion["size_mm"]) - 12).max() <= 2 * spacing.max()
    in_file = stored.TransformPhysicalPointToContinuousIndex(centre)
    np.testing.assert_allclose(lesion["centre_file_voxel"], in_file, atol=0.5)
    np.testing.assert_allclose(content["affine"], affine, atol=1e-4)
    assert {box["lesion_id"] for box in content["boxes"]} == {1}

    (row,) = csv.DictReader(
        (out / "planted" / "lesions.csv").read_text(encoding="utf-8").splitlines()
    )
    assert row["class"] == "bright"
    in_csv = [float(row[f"centre_{axis}_mm"]) for axis in "xyz"]
    np.testing.assert_allclose(in_csv, lesion["centre_mm"], atol=0.0051)
    sizes = [float(row[f"size_{axis}_mm"]) for axis in ("column", "row", "slice")]
    np.testing.assert_allclose(sizes, lesion["size_mm"], atol=0.0051)
    assert int(row["boxes"]) == len(content["boxes"]) == lesion["boxes"]
    overlays = {path.name for path in (out / "planted" / "overlays").iterdir()}
    assert overlays == {f"planted_z{box['slice_index']:04d}.png" for box in content["boxes"]}
    summary = list(csv.DictReader((out / "summary.csv").read_text(encoding="utf-8").splitlines()))
    assert [(r["case"], r["lesions"], r["bright"]) for r in summary] == [("planted", "1", "1")]


# Orientation


def stored_as(image: sitk.Image, order: tuple[int, ...], flips: tuple[bool, ...]) -> sitk.Image:
    """The same scan with its voxels stored along other axes."""
    return sitk.Flip(sitk.PermuteAxes(image, order), flips)


def boxes_in_patient(content: dict[str, Any]) -> np.ndarray:
    """Corners of every box in patient mm with its score, sorted."""
    affine, rows = np.array(content["affine"]), []
    for box in content["boxes"]:
        x, y, w, h = box["bbox"]
        corners = [(x - 0.5, y - 0.5), (x + w - 0.5, y + h - 0.5)]
        places = [affine[:3, :3] @ (*c, box["slice_index"]) + affine[:3, 3] for c in corners]
        rows.append((*np.concatenate(places), box["score"]))
    return np.array(sorted(rows, key=lambda row: -row[-1]))


def lesions_in_patient(content: dict[str, Any]) -> np.ndarray:
    """Centre and size in mm and the score of every lesion, in order."""
    return np.array([(*r["centre_mm"], *r["size_mm"], r["score"]) for r in content["lesions"]])


def test_the_way_a_scan_is_stored_does_not_matter(tiny_run: Path, tmp_path: Path) -> None:
    scan = make_scans(tmp_path / "scans", cases=1, seed=9) / "case0-scan.nii"
    image = sitk.ReadImage(str(scan))
    image.SetOrigin((-17.0, 23.5, -410.0))
    folder = tmp_path / "stored"
    folder.mkdir()
    for flips in itertools.product((False, True), repeat=3):
        name = "flip" + "".join("01"[f] for f in flips)
        sitk.WriteImage(stored_as(image, (0, 1, 2), flips), str(folder / f"{name}.nii.gz"))
    for order in ((2, 1, 0), (1, 2, 0), (0, 2, 1)):
        name = "order" + "".join(map(str, order))
        sitk.WriteImage(stored_as(image, order, (True, False, False)), str(folder / f"{name}.nii"))
    sitk.WriteImage(stored_as(image, (1, 0, 2), (False, True, True)), str(folder / "meta.mha"))
    sitk.WriteImage(image, str(folder / "nrrd.nrrd"))
    pixels = (sitk.GetArrayFromImage(image) + 1024).astype(np.uint16)

    def same_spacing(number: int, ds):
        ds.PixelSpacing = [0.8, 0.8]
        ds.RescaleIntercept = -1024
        return ds

    write_series(folder / "series", pixels, same_spacing, origin=(-17.0, 23.5, -410.0))

    out = tmp_path / "out"
    result = predict(tiny_run, [folder], out=out, confidence=0.005)
    assert not result.errors and len(result.rows) == 8 + 3 + 2 + 1
    expected = boxes_in_patient(detections(out, "flip000"))
    assert len(expected) > 5
    lesions = lesions_in_patient(detections(out, "flip000"))
    for case in result.rows:
        content = detections(out, case)
        corners = boxes_in_patient(content)
        np.testing.assert_allclose(corners, expected, atol=1e-3, err_msg=case)
        centres = lesions_in_patient(content)
        np.testing.assert_allclose(centres, lesions, atol=1e-3, err_msg=case)
        # each voxel is found again in the file: the same value at the same place
        (path,) = folder.glob(f"{case}.*") if "scan-" not in case else [None]
        stored = sitk.ReadImage(str(path)) if path else image
        to_file = np.array(content["canonical_to_file"])
        for voxel in np.random.default_rng(0).integers(0, image.GetSize(), (50, 3)).tolist():
            file_voxel = (to_file @ (*voxel, 1)).astype(int).tolist()[:3]
            assert stored[file_voxel] == image[voxel], case
            np.testing.assert_allclose(
                stored.TransformIndexToPhysicalPoint(file_voxel),
                image.TransformIndexToPhysicalPoint(voxel),
                atol=1e-3,
            )


def test_the_place_in_the_file_is_the_place_in_the_patient(tiny_run: Path, tmp_path: Path) -> None:
    """SimpleITK maps `centre_file_voxel` to `centre_mm`."""
    scan = make_scans(tmp_path / "scans", cases=1, seed=4) / "case0-scan.nii"
    image = stored_as(sitk.ReadImage(str(scan)), (2, 0, 1), (True, False, True))
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    predict(tiny_run, [tmp_path / "scan.nii.gz"], out=tmp_path / "out", confidence=0.01)
    lesions = detections(tmp_path / "out", "scan")["lesions"]
    assert lesions
    for row in lesions:
        point = image.TransformContinuousIndexToPhysicalPoint(row["centre_file_voxel"])
        np.testing.assert_allclose(point, row["centre_mm"], atol=1e-3)


def test_one_slice_is_a_scan(tiny_run: Path, tmp_path: Path) -> None:
    hu = np.zeros((1, 48, 64), np.int16)
    hu[0, 10:26, 10:26] = 120
    write_nifti(tmp_path / "one.nii", hu, np.diag([1.0, 1.0, 5.0, 1.0]))
    result = predict(tiny_run, [tmp_path / "one.nii"], out=tmp_path / "out")
    assert not result.errors
    assert detections(tmp_path / "out", "one")["shape"] == [1, 48, 64]


# Real scans


@pytest.mark.realdata
def test_real_scans(tiny_run: Path, realdata: Path, tmp_path: Path) -> None:
    given = [
        realdata / "dicom_jpeg2000",
        realdata / "sts" / "STS_003" / "CT" / "image",
        realdata / "flipped_nifti" / "ct_ras.nii.gz",
    ]
    result = predict(tiny_run, given, out=tmp_path / "out", confidence=0.02)
    assert not result.errors
    shapes = [detections(tmp_path / "out", case)["shape"] for case in result.rows]
    assert shapes == [[20, 512, 512], [51, *shapes[1][1:]], [112, 101, 122]]


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["flipped_nifti/ct_ras.nii.gz", "sts/STS_019/CT/image"])
def test_a_real_scan_stored_anew_gives_the_same_lesions(
    tiny_run: Path, realdata: Path, tmp_path: Path, name: str
) -> None:
    volume = read_volume(realdata / name)
    write_nifti(tmp_path / "anew.nii.gz", volume.array, volume.affine)
    given, out = [realdata / name, tmp_path / "anew.nii.gz"], tmp_path / "out"
    result = predict(tiny_run, given, out=out, confidence=0.01)
    assert not result.errors
    first, anew = (detections(out, case) for case in result.rows)
    assert len(first["lesions"])
    for values in (lesions_in_patient, boxes_in_patient):
        np.testing.assert_allclose(values(anew), values(first), atol=1e-3)
    assert (np.array(anew["canonical_to_file"]) == np.eye(4)).all()
