"""`detect.load_model`: the same lesions as `detect predict`, from paths, arrays and volumes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.core.errors import InputError
from converters.imaging.read import read_volume
from detect.inference.detections import Detections, Lesion
from detect.inference.model import load_model
from detect.workflows.predict import predict
from tests.helpers.dicom_results import study, two_bright_blocks
from tests.helpers.dicom_series import write_series
from tests.helpers.threshold_detector import another
from tests.helpers.tiny import SHAPE, make_scans

SPACING = (2.0, 0.8, 0.8)  # mm along slice, row, column, of `make_scans`


def written_by_predict(model: Path | list[Path], scan: Path, out: Path, **how: Any) -> Any:
    """Return `detections.json` of `detect predict` as text."""
    result = predict(model, [scan], out=out, **how)
    (case,) = result.rows
    assert not result.errors
    return (out / case / "detections.json").read_text(encoding="utf-8")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return make_scans(tmp_path / "scans", cases=1) / "case0-scan.nii"


def test_a_file_gives_what_predict_writes(tiny_run: Path, scan: Path, tmp_path: Path) -> None:
    how = {"device": "cpu", "confidence": 0.01}
    model = load_model(str(tiny_run), "cpu", confidence=0.01)
    result = model.predict(str(scan))
    assert result.to_json() == written_by_predict(tiny_run, scan, tmp_path / "out", **how)
    assert len(result) == len(result.lesions) == len(list(result)) > 0
    assert model.predict(scan).to_json() == result.to_json()  # a second time, too


def test_an_ensemble_and_augmentation_give_what_predict_writes(
    threshold_model: Path, scan: Path, tmp_path: Path
) -> None:
    models = [threshold_model, another(threshold_model, "twin")]
    expected = written_by_predict(models, scan, tmp_path / "out", augment=True)
    result = load_model([str(path) for path in models], augment=True).predict(scan)
    assert result.to_json() == expected and len(result)


def test_a_dicom_folder_gives_what_predict_writes(threshold_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "DOE JANE"
    write_series(folder, two_bright_blocks(), study())
    result = load_model(threshold_model).predict(folder)
    assert result.to_json() == written_by_predict(threshold_model, folder, tmp_path / "out")
    assert result.case.startswith("scan-") and len(result) == 2
    assert not any(path.name.endswith("json") for path in folder.iterdir())


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_an_array_or_volume_has_the_boxes_of_the_file(
    threshold_model: Path, scan: Path, dtype: type
) -> None:
    model = load_model(threshold_model)
    from_file, volume = model.predict(scan), read_volume(scan)
    of_volume = model.predict(volume)
    from_array = model.predict(np.asfortranarray(volume.array.astype(dtype)), SPACING)
    assert len(from_file) > 0
    for other in (of_volume, from_array):
        for a, b in zip(from_file.boxes, other.boxes, strict=True):
            np.testing.assert_array_equal(a.xyxy, b.xyxy)
            np.testing.assert_array_equal(a.score, b.score)
    assert of_volume.lesions == from_file.lesions
    for a, b in zip(from_file, from_array, strict=True):
        np.testing.assert_allclose(a.size_mm, b.size_mm)
        in_voxels = volume.from_patient(np.array([a.centre_mm]))[0]
        np.testing.assert_allclose(b.centre_mm, in_voxels * SPACING[::-1])
    np.testing.assert_allclose(from_array.spacing, SPACING[::-1])
    assert from_array.source_sha256 == ""


def test_what_a_result_holds(threshold_model: Path) -> None:
    hu = np.full((5, 40, 60), -500, np.int16)
    hu[1:4, 10:16, 20:30] = 250
    hu[2, 30:34, 40:44] = 250
    result = load_model(threshold_model).predict(hu, spacing_mm=(3, 1, 0.5))
    assert isinstance(result, Detections) and result.classes == ["bright"] and not result.warnings
    first, second = result
    assert isinstance(first, Lesion) and first is result[0]
    assert (first.lesion_id, first.class_name, first.boxes) == (1, "bright", 3)
    assert first.size_mm == (5.0, 6.0, 9.0) and first.centre_mm == (24.5 / 2, 12.5, 6.0)
    assert (first.first_slice, first.last_slice) == (1, 3)
    assert (second.first_slice, second.last_slice) == (2, 2) and second.score < first.score
    assert result.spacing == (0.5, 1.0, 3.0) and result.shape == (5, 40, 60)
    assert [len(boxes) for boxes in result.boxes] == [0, 1, 2, 1, 0]
    assert result.boxes[1].xyxy.tolist() == [[20, 10, 30, 16]]
    assert [ids.tolist() for ids in result.lesion_ids] == [[], [1], [1, 2], [1], []]
    assert json.loads(result.to_json()) == result.to_dict()
    assert repr(result).startswith("<Detections of scan: 2 lesions (2 bright; highest score 0.02")
    assert repr(result).endswith("4 boxes on 3 of 5 slices>")
    nothing = load_model(threshold_model).predict(np.zeros((3, 8, 8), np.int16), (1, 1, 1))
    assert not nothing and repr(nothing) == (
        "<Detections of scan: 0 lesions, 0 boxes on 0 of 3 slices>"
    )


@pytest.mark.parametrize(
    ("scan", "spacing", "path", "problem"),
    [
        (np.zeros((4, 4)), SPACING, "scan", "shape"),
        (np.zeros((0, 4, 4)), SPACING, "scan", "shape"),
        (np.zeros((2, 4, 4), bool), SPACING, "scan", "bool"),
        (np.zeros((2, 4, 4), complex), SPACING, "scan", "complex"),
        (np.full((2, 4, 4), np.nan), SPACING, "scan", "not finite"),
        (np.full((2, 4, 4), -np.inf), SPACING, "scan", "not finite"),
        ([[[0]]], SPACING, "spacing_mm", "states its own"),
        ([[[0]]], None, "scan", "is a list"),
        (np.zeros(SHAPE), None, "spacing_mm", "is missing"),
        (np.zeros(SHAPE), (1, 1), "spacing_mm", "three sizes"),
        (np.zeros(SHAPE), (1, 0, 1), "spacing_mm", "three sizes"),
        (np.zeros(SHAPE), (1, -1, 1), "spacing_mm", "three sizes"),
        (np.zeros(SHAPE), (1, np.nan, 1), "spacing_mm", "three sizes"),
        (np.zeros(SHAPE), 1.0, "spacing_mm", "three sizes"),
        (np.zeros(SHAPE), "thick", "spacing_mm", "three sizes"),
        ("scan.nii.gz", SPACING, "spacing_mm", "states its own"),
    ],
)
def test_wrong_arrays_are_refused_by_the_name_of_the_parameter(
    threshold_model: Path, scan: Any, spacing: Any, path: str, problem: str
) -> None:
    with pytest.raises(InputError, match=problem) as error:
        load_model(threshold_model).predict(scan, spacing)
    assert error.value.path == path


def test_wrong_paths_are_refused(threshold_model: Path, tmp_path: Path) -> None:
    model, scans = load_model(threshold_model), make_scans(tmp_path / "scans", cases=1)
    with pytest.raises(InputError, match="holds 2 scans"):
        model.predict(scans)
    with pytest.raises(InputError, match="no-such"):
        model.predict(tmp_path / "no-such.nii")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no scan"):
        model.predict(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="is no model"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="is not a score"):
        load_model(threshold_model, confidence=2)
    with pytest.raises(InputError, match="holds no onnx export"):
        load_model(threshold_model, runtime="onnx")


def test_a_scan_of_another_modality_is_refused(threshold_model: Path, tmp_path: Path) -> None:
    def magnetic(number: int, ds: Any) -> Any:
        ds.Modality = "MR"
        return ds

    write_series(tmp_path / "mr", two_bright_blocks(), magnetic)
    volume = read_volume(tmp_path / "mr")
    with pytest.raises(InputError, match="is MR, but the model was trained on CT"):
        load_model(threshold_model).predict(volume)


def test_importing_it_loads_no_network_library() -> None:
    code = "import sys, detect.inference.model; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == "False", done.stderr
