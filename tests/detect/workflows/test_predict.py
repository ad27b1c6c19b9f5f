"""Prediction from scans on disk to lesions in patient space."""

import csv
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from converters.imaging.nifti import write_nifti
from converters.preprocessing.pictures import Pictures
from converters.preprocessing.representation import Representation
from converters.preprocessing.windowing import Window
from detect.detectors.card import OperatingPoint, read_model_card
from detect.inference import process_scan as one_scan
from detect.inference.detections import Detections
from detect.linking.linking import Linking
from detect.workflows.predict import predict
from tests.helpers.dicom_series import SECRETS, write_series
from tests.helpers.threshold_detector import another, detections, run
from tests.helpers.tiny import make_scans

# Batches


def test_a_bad_scan_is_listed_and_the_others_are_done(
    threshold_model: Path, tmp_path: Path, capsys
) -> None:
    scans = make_scans(tmp_path / "scans", cases=3)
    (scans / "broken.nii").write_bytes(b"no scan")
    out = tmp_path / "out"
    assert run("predict", scans, "--model", threshold_model, "--out", out) == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith(f"failed: {scans / 'broken.nii'}: ")
    cases = {f"case{n}-{kind}" for n in range(3) for kind in ("scan", "mask")}
    assert {path.name for path in out.iterdir()} == {*cases, "summary.csv", "report.html"}
    for case in cases:
        assert str(out / case) in printed.out
    rows = list(csv.DictReader((out / "summary.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["case"] for row in rows} == cases

    (scans / "broken.nii").unlink()
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    assert run("predict", scans, "--model", threshold_model, "--out", out) == 0
    assert capsys.readouterr().out.count("(there already)") == len(cases)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.json")} == stamps


def test_another_scan_or_confidence_is_not_taken_for_done(
    threshold_model: Path, tmp_path: Path
) -> None:
    scans = make_scans(tmp_path / "scans", cases=2)
    scan, out = scans / "case0-scan.nii", tmp_path / "out"
    first = predict(threshold_model, [scan], out=out)
    assert first.rows and not first.existing
    again = predict(threshold_model, [scan], out=out)
    assert again.existing == ["case0-scan"] and again.rows == first.rows
    shutil.copy(scans / "case1-scan.nii", scan)
    (refused,) = predict(threshold_model, [scan], out=out).errors
    assert "another scan" in str(refused)
    (refused,) = predict(threshold_model, [scan], out=out, confidence=0.01).errors
    assert "another scan" in str(refused)
    replaced = predict(threshold_model, [scan], out=out, overwrite=True)
    assert not replaced.errors and not replaced.existing
    (out / "case1-scan").mkdir()
    (out / "case1-scan" / "notes.txt").write_text("mine")
    other = scans / "case1-scan.nii"
    (refused,) = predict(threshold_model, [other], out=out, overwrite=True).errors
    assert "not a result of `detect predict`" in str(refused)
    assert (out / "case1-scan" / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_killed_midway_leaves_no_half_case(tiny_run: Path, tmp_path: Path) -> None:
    scans, out = make_scans(tmp_path / "scans", cases=12), tmp_path / "out"
    command = [
        sys.executable, "-m", "detect", "predict", str(scans), "--model", str(tiny_run),
        "--out", str(out), "--confidence", "0.01", "--device", "cpu",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not list(out.glob("case*")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    done = sorted(path.name for path in out.glob("case*"))
    assert 0 < len(done) < 24
    for case in done:
        assert {p.name for p in (out / case).iterdir()} == {
            "detections.json", "lesions.csv", "lesions.nii.gz", "overlays",
        }  # fmt: skip
        assert detections(out, case)["case"] == case
    result = predict(tiny_run, [scans], out=out, confidence=0.01, device="cpu")
    assert sorted(result.existing) == done and len(result.rows) == 24 and not result.errors
    assert not list(out.glob(".*"))


def test_interrupted_while_writing_leaves_no_half_case(
    threshold_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, out = make_scans(tmp_path / "scans", cases=2), tmp_path / "out"
    given = [scans / "case0-scan.nii", scans / "case1-scan.nii"]
    write = one_scan.write_case_outputs

    def interrupted(folder: Path, written: Detections, pictures: Pictures) -> None:
        write(folder, written, pictures)
        if written.case == "case1-scan":
            (folder / "lesions.csv").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(one_scan, "write_case_outputs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict(threshold_model, given, out=out)
    assert [path.name for path in out.iterdir()] == ["case0-scan"]
    result = predict(threshold_model, given, out=out)
    assert result.existing == ["case0-scan"] and len(result.rows) == 2 and not result.errors


def test_names_of_cases(threshold_model: Path, tmp_path: Path) -> None:
    """Equal names are told apart, odd ones replaced, and none leads out of the output folder."""
    source = make_scans(tmp_path / "source", cases=1) / "case0-scan.nii"
    scans, out = tmp_path / "scans", tmp_path / "sub" / "out"
    for place, name in enumerate(
        ["a/scan.nii", "b/scan.nii", "a/scan.mha", "...nii", "summary.csv.nii", "ok.1.nii"]
    ):
        path = scans / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name.endswith(".mha"):
            sitk.WriteImage(sitk.ReadImage(str(source)), str(path))
        else:
            hu = sitk.GetArrayFromImage(sitk.ReadImage(str(source)))
            write_nifti(path, (hu + place).astype(np.int16), np.diag([0.8, 0.8, 2.0, 1.0]))
    given = [path for path in scans.rglob("*") if path.is_file()]
    result = predict(threshold_model, given, out=out)
    assert not result.errors and not result.existing and len(result.rows) == len(given) == 6
    assert {path.name for path in out.iterdir()} == {*result.rows, "summary.csv", "report.html"}
    assert {path.name for path in out.parent.iterdir()} == {"out"}
    assert "ok.1" in result.rows
    assert sum(name.startswith("scan-") for name in result.rows) == 5


def test_nothing_of_the_patient_reaches_the_outputs(
    threshold_model: Path, tmp_path: Path, capsys
) -> None:
    pixels = np.full((4, 48, 64), 1024, np.uint16)
    pixels[1:3, 10:30, 10:30] = 1300
    person = tmp_path / "ROE^RICHARD_19610203"
    write_series(person / "CT", pixels)
    write_series(person / "again", pixels + 1)
    out = tmp_path / "out"
    assert run("predict", person, "--model", threshold_model, "--out", out) == 0
    printed = capsys.readouterr()
    assert len(list(out.glob("scan-*"))) == 2
    texts = [str(path.relative_to(out)).encode() for path in out.rglob("*")]
    texts += [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    texts += [printed.out.replace(str(out), "").encode(), printed.err.encode()]
    for secret in (*SECRETS, "ROE", "RICHARD", "19610203", "1.2.826"):
        assert not any(secret.encode() in text for text in texts), secret
    overlay = next(out.rglob("*.png")).read_bytes()
    assert b"tEXt" not in overlay and b"iTXt" not in overlay


# Several models


def test_an_ensemble_of_equals_finds_the_same(threshold_model: Path, tmp_path: Path) -> None:
    scan = make_scans(tmp_path / "scans", cases=1) / "case0-scan.nii"
    twin = another(
        threshold_model, "twin", operating_point=OperatingPoint(confidence=0.02),
        linking=Linking(max_gap=3),
    )  # fmt: skip
    alone = predict(threshold_model, [scan], out=tmp_path / "a", confidence=0.01)
    given = ["--model", threshold_model, "--model", twin]
    assert run("predict", scan, *given, "--out", tmp_path / "b") == 0
    content = detections(tmp_path / "b", "case0-scan")
    assert content["confidence"] == pytest.approx(0.01)
    assert content["confidence_rule"] == "mean of the members' confidences"
    assert content["linking"] == Linking().model_dump()  # they do not agree
    members = {m["weights_sha256"]: m["confidence"] for m in content["members"]}
    assert members == {
        read_model_card(threshold_model).weights_sha256: 0,
        read_model_card(twin).weights_sha256: 0.02,
    }
    assert content["lesions"]
    for lesion, expected in zip(content["lesions"], alone.rows["case0-scan"], strict=True):
        assert lesion["score"] == pytest.approx(expected["score"])
        assert lesion["centre_mm"] == pytest.approx(expected["centre_mm"])
    # the order of the models makes no difference, their number does
    again = predict([twin, threshold_model], [scan], out=tmp_path / "b")
    assert again.existing == ["case0-scan"]
    (refused,) = predict(twin, [scan], out=tmp_path / "b", confidence=0.01).errors
    assert "another scan's or model's" in str(refused)


def test_models_that_do_not_fit_are_refused(threshold_model: Path, tmp_path: Path, capsys) -> None:
    scan = make_scans(tmp_path / "scans", cases=1) / "case0-scan.nii"
    spec = read_model_card(threshold_model).spec
    classes = another(threshold_model, "c", spec=spec.model_copy(update={"classes": ["dark"]}))
    seen = Representation(window=Window(level=0, width=50))
    other = another(threshold_model, "w", spec=spec.model_copy(update={"representation": seen}))
    for second, words in (
        (classes, "has classes ['dark'], but threshold-model has ['bright']"),
        (other, "has window"),
        (threshold_model, "is given twice"),
    ):
        given = ["--model", threshold_model, "--model", second]
        assert run("predict", scan, *given, "--out", tmp_path / "out") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
        assert not (tmp_path / "out").exists()


def test_the_linking_of_the_model_is_used(threshold_model: Path, tmp_path: Path) -> None:
    """A flash on a single slice is dropped where findings of two boxes are wanted."""
    hu = np.zeros((8, 48, 64), np.int16)
    hu[1:4, 10:20, 10:20] = 250
    hu[6, 30:36, 30:36] = 250
    write_nifti(tmp_path / "scan.nii", hu, np.eye(4))
    linking = Linking(min_boxes=2)
    strict = another(threshold_model, "strict", linking=linking)
    for model, count in ((threshold_model, 2), (strict, 1)):
        out = tmp_path / f"out{count}"
        assert len(predict(model, [tmp_path / "scan.nii"], out=out).rows["scan"]) == count
    content = detections(tmp_path / "out1", "scan")
    assert {box["slice_index"] for box in content["boxes"]} == {1, 2, 3}
    assert {box["lesion_id"] for box in content["boxes"]} == {1}
    overlays = {path.name for path in (tmp_path / "out1" / "scan" / "overlays").iterdir()}
    assert overlays == {f"scan_z{z:04d}.png" for z in (1, 2, 3)}
    assert content["linking"] == linking.model_dump()
    # found again at the same confidence, but linked in another way
    (refused,) = predict(threshold_model, [tmp_path / "scan.nii"], out=tmp_path / "out1").errors
    assert "another" in str(refused)
