"""DICOM SR and SEG are written only on request; no output names the patient."""

import gzip
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from highdicom.sr import srread
from pydicom import dcmread

from converters.core.distribution import install_hint
from detect.workflows.predict import predict
from tests.helpers.dicom_results import UIDS, by_uid, series, study, two_bright_blocks
from tests.helpers.dicom_series import SECRETS, write_series
from tests.helpers.threshold_detector import run


def test_what_cannot_be_written_is_said_in_one_line(
    threshold_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    series(scans / "good")
    series(scans / "empty", pixels=np.full((4, 40, 48), 1024, np.uint16))
    nib.save(nib.Nifti1Image(np.zeros((20, 20, 5), np.int16), np.eye(4)), scans / "file.nii")
    write_series(scans / "bare", two_bright_blocks() + 1)
    ask = ["predict", scans, "--model", threshold_model, "--out", out, "--dicom-sr", "--dicom-seg"]
    assert run(*ask) == 1
    printed = capsys.readouterr()
    assert printed.out.count("no DICOM objects written: no lesion") == 1
    assert printed.out.count("no DICOM objects written: not a DICOM series") == 1
    (line,) = printed.err.splitlines()
    assert "lacks StudyInstanceUID" in line
    assert len(list(out.glob("*/lesions-s*.dcm"))) == 2  # both of the good one, and of no other
    (described,) = {
        item.SegmentedPropertyTypeCodeSequence[0].CodeValue
        for path in out.glob("*/lesions-seg.dcm")
        for item in dcmread(path).SegmentSequence
    }
    assert described == "52988006"  # a class without a code is a lesion


def test_without_highdicom_the_remedy_is_told(
    threshold_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("detect.inference.dicom.source.find_spec", lambda name: None)
    folder, out = series(tmp_path / "CT"), tmp_path / "out"
    ask = ["predict", folder, "--model", threshold_model, "--out", out]
    assert run(*ask, "--dicom-seg") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--dicom-seg: needs highdicom. run {install_hint('dicom')}." in line
    assert run(*ask) == 0


def test_asked_for_later_they_are_made_then_and_kept(
    coded_model: Path,
    tmp_path: Path,
) -> None:
    folder, out = series(tmp_path / "CT"), tmp_path / "out"

    def names(**asked: bool) -> tuple[bool, set[str]]:
        result = predict(coded_model, [folder], out=out, **asked)
        assert not result.errors
        return bool(result.existing), {path.name for path in out.rglob("*.dcm")}

    sr, seg = "lesions-sr.dcm", "lesions-seg.dcm"
    assert names() == (False, set())
    assert names(dicom_sr=True) == (False, {sr})
    first = dcmread(next(out.rglob(sr)))
    assert names(dicom_seg=True) == (False, {sr, seg})
    assert names() == names(dicom_sr=True, dicom_seg=True) == (True, {sr, seg})
    again = dcmread(next(out.rglob(sr)))
    assert again.SOPInstanceUID == first.SOPInstanceUID  # an archive holds it once
    assert again.SeriesInstanceUID != dcmread(next(out.rglob(seg))).SeriesInstanceUID


def test_only_the_objects_asked_for_name_the_patient(
    coded_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = series(tmp_path / "ROE RICHARD" / "visit-7")
    uids = {str(ds[tag].value) for ds in by_uid(folder).values() for tag in UIDS}
    out = tmp_path / "out"
    ask = ["predict", folder, "--model", coded_model, "--out", out, "--dicom-sr", "--dicom-seg"]
    assert run(*ask) == 0
    printed = "".join(capsys.readouterr()).replace(str(out), "")
    objects = sorted(out.rglob("*.dcm"))
    others = [p for p in out.rglob("*") if p.is_file() and p not in objects]
    texts = [str(p.relative_to(out)).encode() for p in out.rglob("*")]
    texts += [p.read_bytes() for p in others] + [printed.encode()]
    texts += [gzip.decompress(p.read_bytes()) for p in others if p.suffix == ".gz"]
    assert len(objects) == 2 and len(others) > 4
    for secret in (*SECRETS, *uids, "ROE", "visit-7"):
        assert not any(secret.encode() in text for text in texts), secret
    for ds in map(dcmread, objects):
        who = (ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.AccessionNumber)
        assert who == SECRETS[:4]
        assert SECRETS[4] not in str(ds)  # what describes the series is not copied

    kept = tmp_path / "kept"
    result = predict(coded_model, [folder], out=kept, keep_identifiers=True)
    assert list(result.rows) == ["visit-7"] and (kept / "visit-7" / "lesions.csv").exists()


@pytest.mark.parametrize(
    ("charset", "name"),
    [("ISO_IR 100", "Müller^Jörg"), (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎")],
)
def test_names_in_other_character_sets(
    threshold_model: Path,
    tmp_path: Path,
    charset: Any,
    name: str,
) -> None:
    edit = study()

    def named(number: int, ds):
        ds = edit(number, ds)
        ds.SpecificCharacterSet, ds.PatientName = charset, name
        return ds

    write_series(tmp_path / "CT", two_bright_blocks(), named)
    card = json.loads((threshold_model / "model.json").read_text(encoding="utf-8"))
    for label in ("bright", "lésion"):
        card["spec"]["classes"] = [label]
        (threshold_model / "model.json").write_text(json.dumps(card))
        result = predict(threshold_model, [tmp_path / "CT"], out=tmp_path / label, dicom_sr=True)
        assert not result.errors
        (path,) = (tmp_path / label).rglob("lesions-sr.dcm")
        assert dcmread(path).PatientName == name
        group = srread(path).content.get_planar_roi_measurement_groups()[0]
        assert group.tracking_identifier == f"lesion 1: {label}"
