"""A scan unlike the training scans gets a warning in every output, or is refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from highdicom.sr import srread
from pydicom import dcmread

from converters.dataset.fingerprint import Range
from converters.imaging.nifti import write_nifti
from detect.detectors.card import read_model_card
from tests.helpers.dicom_results import study, two_bright_blocks, validate
from tests.helpers.dicom_series import write_series
from tests.helpers.threshold_detector import SCOPE, another, detections, run

SAID = "pixels of 2 x 2 mm; the model was trained on 0.5 to 0.9 mm"


@pytest.fixture
def model(threshold_model: Path) -> Path:
    read_model_card(threshold_model).model_copy(update={"trained_on": SCOPE}).write(threshold_model)
    return threshold_model


def write_scan(path: Path, spacing: float, value: int = 250) -> Path:
    hu = np.zeros((8, 48, 64), np.int16)
    hu[1:6, 10:25, 10:30] = value
    write_nifti(path, hu, np.diag([spacing, spacing, 2.0, 1.0]))
    return path


def test_a_warning_stands_in_every_output(model: Path, tmp_path: Path, capsys) -> None:
    far, near = (write_scan(tmp_path / f"{n}.nii", s) for n, s in (("far", 2.0), ("near", 0.8)))
    out = tmp_path / "out"
    for resumed in (False, True):  # and again where a second run resumes
        assert run("predict", far, near, "--model", model, "--out", out) == 0
        printed = capsys.readouterr()
        assert printed.err.splitlines() == [f"warning: {out / 'far'}: {SAID}"]
        assert ("(there already)" in printed.out) == resumed
        assert detections(out, "far")["warnings"] == [SAID]
        assert detections(out, "near")["warnings"] == []
        assert detections(out, "far")["trained_on"] == SCOPE.model_dump(mode="json")
        for case, warning in (("far", SAID), ("near", "")):
            rows = list(
                csv.DictReader(
                    (out / case / "lesions.csv").read_text(encoding="utf-8").splitlines()
                )
            )
            assert rows and all(row["warnings"] == warning for row in rows)
        summary = csv.DictReader((out / "summary.csv").read_text(encoding="utf-8").splitlines())
        assert {row["case"]: row["warnings"] for row in summary} == {"far": SAID, "near": ""}
        page = (out / "report.html").read_text(encoding="utf-8")
        assert page.count('class="warning"') == 1 and SAID in page
        assert "Warning: far" in page and "Warning: near" not in page


def test_strict_refuses_what_else_has_a_warning(model: Path, tmp_path: Path, capsys) -> None:
    far, near = (write_scan(tmp_path / f"{n}.nii", s) for n, s in (("far", 2.0), ("near", 0.8)))
    words = ["predict", far, near, "--model", model, "--out", tmp_path / "out"]
    assert run(*words, "--strict") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"failed: {far}: ") and SAID in line and "--strict" in line
    assert [path.name for path in (tmp_path / "out").glob("*/")] == ["near"]
    assert run(*words) == 0  # done now, with the warning; the next strict run still says so
    capsys.readouterr()
    assert run(*words, "--strict") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert SAID in line
    assert (tmp_path / "out" / "far" / "lesions.csv").exists()


def test_a_model_that_does_not_say(
    threshold_model: Path,
    model: Path,
    tmp_path: Path,
    capsys,
) -> None:
    scan = write_scan(tmp_path / "far.nii", 2.0)
    card = json.loads((model / "model.json").read_text(encoding="utf-8"))
    del card["trained_on"]  # as older versions wrote it
    (threshold_model / "model.json").write_text(json.dumps(card))
    words = ["predict", scan, "--model", threshold_model, "--out", tmp_path / "out"]
    assert run(*words, "--strict") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not say what it was trained on" in line and not (tmp_path / "out").exists()
    assert run(*words) == 0
    printed = capsys.readouterr()
    assert "Note: the model does not say what it was trained on" in printed.out
    assert not printed.err and detections(tmp_path / "out", "far")["trained_on"] is None


def test_an_ensemble_says_what_any_member_has_not_seen(model: Path, tmp_path: Path, capsys) -> None:
    other = SCOPE.model_copy(update={"slice_mm": Range(low=5, high=5)})
    twin = another(model, "twin", trained_on=other)
    scan = write_scan(tmp_path / "far.nii", 2.0)
    words = ["predict", scan, "--model", model, "--model", twin, "--out", tmp_path / "out"]
    assert run(*words) == 0
    warnings = {line.split(": ", 2)[2] for line in capsys.readouterr().err.splitlines()}
    assert warnings == {SAID, "slices 2 mm apart; the model was trained on 5 mm"}
    assert set(detections(tmp_path / "out", "far")["warnings"]) == warnings


def test_dicom_objects_carry_the_warnings(model: Path, tmp_path: Path) -> None:
    edit = study()

    def of_the_head(number: int, ds):
        ds.BodyPartExamined = "HEAD"
        return edit(number, ds)

    write_series(tmp_path / "head", two_bright_blocks(), of_the_head)
    words = ["--model", model, "--out", tmp_path / "out", "--dicom-sr", "--dicom-seg"]
    assert run("predict", tmp_path / "head", *words) == 0
    (folder,) = (tmp_path / "out").glob("scan-*")
    warning = "the header says HEAD; the model was trained on ABDOMEN"
    assert json.loads((folder / "detections.json").read_text(encoding="utf-8"))["warnings"] == [
        warning
    ]
    report = dcmread(folder / "lesions-sr.dcm")
    comments = [
        item.TextValue
        for item in report.ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == "121106"
    ]
    assert comments == [warning]
    segments = dcmread(folder / "lesions-seg.dcm")
    assert segments.ImageComments == warning and len(segments.ContentDescription) <= 64
    read_back = srread(folder / "lesions-sr.dcm").content
    assert len(read_back.get_planar_roi_measurement_groups()) == 2
    validate(folder)
