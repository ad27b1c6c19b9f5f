"""Prediction from a real DICOM server, and the results sent back to its study."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from dicomweb_client import DICOMwebClient
from dicomweb_client.session_utils import create_session_from_user_pass
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from detect.phantom.cases import make_case
from detect.workflows.predict import predict
from tests.helpers.dicom_results import check_real_series, check_report, study
from tests.helpers.dicom_series import SECRETS, write_series
from tests.helpers.orthanc import PASSWORD, USER, Orthanc, orthanc  # noqa: F401
from tests.helpers.threshold_detector import detections, run


@dataclass
class Study:
    """A study on the server and in folders, with a phantom's scan in two series."""

    server: Orthanc
    uid: str
    series: list[str]
    folders: list[Path]

    @property
    def url(self) -> str:
        return self.server.study_url(self.uid)

    @property
    def client(self) -> DICOMwebClient:
        session = create_session_from_user_pass(USER, PASSWORD)
        return DICOMwebClient(f"{self.server.url}/dicom-web", session=session)

    def modalities(self) -> list[str]:
        series = self.client.search_for_series(self.uid)
        return sorted(item["00080060"]["Value"][0] for item in series)

    def results(self) -> dict[str, Dataset]:
        """Fetch the objects of the study that are no CT, by their UIDs."""
        back = {}
        for item in self.client.search_for_series(self.uid):
            if item["00080060"]["Value"][0] != "CT":
                (ds,) = self.client.retrieve_series(self.uid, item["0020000E"]["Value"][0])
                back[ds.SOPInstanceUID] = ds
        return back


@pytest.fixture
def archive(
    orthanc: Orthanc,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Orthanc:
    """A running server whose password `detect` has."""
    monkeypatch.setenv("DETECT_DICOMWEB_USER", USER)
    monkeypatch.setenv("DETECT_DICOMWEB_PASSWORD", PASSWORD)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("detect.dicomweb.server.WAITS", (0.05, 0.05))
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    return orthanc


@pytest.fixture
def pushed(archive: Orthanc, tmp_path: Path) -> Study:
    edit, folders, series = study(), [], []
    for index in range(2):
        hu, _, affine = make_case(seed=1, index=index, size=48, slices=8)
        folder = tmp_path / "sent" / f"{index}"
        spacing = float(affine[0, 0])

        def same_spacing(number: int, ds, spacing=spacing):
            ds.PixelSpacing = [spacing, spacing]
            return edit(number, ds)

        stored = np.clip(hu.astype(int) + 1024, 0, 4095).astype(np.uint16)
        files = write_series(folder, stored, same_spacing, step=(0, 0, float(affine[2, 2])))
        archive.push(files)
        folders.append(folder)
        series.append(dcmread(files[0]).SeriesInstanceUID)
    return Study(archive, dcmread(files[0]).StudyInstanceUID, series, folders)


def test_a_study_is_predicted_as_its_folders_are(
    pushed: Study,
    threshold_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, local = tmp_path / "out", tmp_path / "local"
    ask = ["predict", "--model", threshold_model, "--from", pushed.url, "--out", out]
    assert run(*ask) == 0
    printed = capsys.readouterr()
    expected = predict(threshold_model, pushed.folders, out=local)
    assert len(expected.rows) == 2 and all(expected.rows.values())

    def lesions(folder: Path) -> list[str]:
        cases = sorted(folder.glob("scan-*"))
        return sorted(json.dumps(detections(folder, case.name)["lesions"]) for case in cases)

    assert lesions(out) == lesions(local)
    assert pushed.modalities() == ["CT", "CT"]  # nothing was sent
    texts = [p.read_bytes() for p in out.rglob("*") if p.is_file()]
    texts += [str(p.relative_to(out)).encode() for p in out.rglob("*")]
    texts.append((printed.out + printed.err).replace(str(out), "").encode())
    secrets = (*SECRETS, pushed.uid, *pushed.series, PASSWORD)
    for secret in secrets:
        assert not any(secret.encode() in text for text in texts), secret
    # by itself, for inside a longer number its digits may stand by chance
    port = re.compile(rb"(?<![\d.])%d(?!\d)" % pushed.server.port)
    assert not any(port.search(text) for text in texts)
    assert not list((tmp_path / "temp").iterdir())  # patients' data are gone from there

    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("detections.json")}
    assert run(*ask) == 0
    assert capsys.readouterr().out.count("(there already)") == 2
    assert {path: path.stat().st_mtime_ns for path in out.rglob("detections.json")} == stamps


def test_one_series(
    pushed: Study,
    threshold_model: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    url = f"{pushed.url}/series/{pushed.series[1]}"
    ask = ["predict", "--model", threshold_model, "--out", out, "--keep-identifiers"]
    assert run(*ask, "--from", url) == 0
    assert {path.name for path in out.iterdir() if path.is_dir()} == {pushed.series[1]}


def test_results_go_back_into_the_study(
    pushed: Study,
    threshold_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    ask = ["predict", "--model", threshold_model, "--out", out, "--store", "--confidence", 0.02]
    assert run(*ask, "--from", f"{pushed.url}/series/{pushed.series[0]}") == 0
    assert "stored in the study: 1 DICOM object" in capsys.readouterr().out
    assert pushed.modalities() == ["CT", "CT", "SR"]
    shutil.rmtree(out)
    ask += ["--from", pushed.url, "--dicom-seg"]
    assert run(*ask) == 0  # the same SR once more changes nothing
    printed = capsys.readouterr()
    assert "stored in the study: 4 DICOM objects" in printed.out
    assert printed.err.count(": is SR. only CT is fetched.") == 1
    assert run(*ask) == 0
    assert pushed.modalities() == ["CT", "CT", "SEG", "SEG", "SR", "SR"]

    slices = {
        ds.SOPInstanceUID: ds for folder in pushed.folders for ds in map(dcmread, folder.iterdir())
    }
    back = pushed.results()
    cases = sorted(out.glob("scan-*"))
    for case in cases:
        sent = {name: dcmread(case / f"lesions-{name}.dcm") for name in ("sr", "seg")}
        for ds in sent.values():
            stored = back.pop(ds.SOPInstanceUID)
            assert stored.PatientName == SECRETS[0] and stored.StudyInstanceUID == pushed.uid
            for both in (stored, ds):  # when it was written: the first one stays on the server
                del both.InstanceCreationTime, both.ContentTime, both.ContributingEquipmentSequence
            assert stored == ds
        # what the server returns says what lesions.csv says, on the server's slices
        returned = tmp_path / "returned" / case.name
        returned.mkdir(parents=True)
        (returned / "lesions.csv").write_bytes((case / "lesions.csv").read_bytes())
        stored.save_as(returned / "lesions-seg.dcm")
        sent["sr"].save_as(returned / "lesions-sr.dcm")
        ranks = [float(ds.SliceThickness) for ds in slices.values()]
        tolerance = np.array([*map(float, next(iter(slices.values())).PixelSpacing), max(ranks)])
        check_report(returned, slices, hd.sr.CodedConcept("52988006", "SCT", "Lesion"), tolerance)
        seg = hd.seg.segread(returned / "lesions-seg.dcm")
        assert {uid[2] for uid in seg.get_source_image_uids()} <= set(slices)
    assert not back and len(cases) == 2


@pytest.mark.realdata
def test_a_real_study(
    archive: Orthanc,
    bone_model: Path,
    realdata: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The results of a real study are valid DICOM and come back unchanged."""
    folder, out = realdata / "sts" / "STS_019" / "CT" / "image", tmp_path / "out"
    files = sorted(folder.iterdir())
    archive.push(files)
    first = dcmread(files[0], stop_before_pixels=True)
    series = [first.SeriesInstanceUID]
    archived = Study(archive, first.StudyInstanceUID, series, [folder])
    ask = ["predict", "--model", bone_model, "--from", archived.url, "--out", out]
    assert run(*ask, "--store", "--dicom-seg") == 0
    assert "stored in the study: 2 DICOM objects" in capsys.readouterr().out
    assert archived.modalities() == ["CT", "SEG", "SR"]
    (case,) = out.glob("scan-*")
    returned = tmp_path / "returned"
    returned.mkdir()
    (returned / "lesions.csv").write_bytes((case / "lesions.csv").read_bytes())
    for ds in archived.results().values():
        ds.save_as(returned / f"lesions-{ds.Modality.lower()}.dcm")
    check_real_series(returned, folder)


def failing(ask: list[object], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(*ask) == code
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_wrong_password_and_unknown_study(
    pushed: Study,
    threshold_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ask: list[object] = ["predict", "--model", threshold_model, "--out", tmp_path / "out"]
    unknown = [*ask, "--from", pushed.server.study_url(generate_uid())]
    assert "holds no CT series (there are: none at all)" in failing(unknown, 2, capsys)
    unknown = [*ask, "--from", f"{pushed.url}/series/{generate_uid()}"]
    assert "does not have the study or series (404)" in failing(unknown, 2, capsys)
    known = [*ask, "--from", pushed.url]
    monkeypatch.setenv("DETECT_DICOMWEB_PASSWORD", "another-s3cret")
    line = failing(known, 2, capsys)
    assert "refuses the credentials (401)" in line and "another-s3cret" not in line
    monkeypatch.delenv("DETECT_DICOMWEB_PASSWORD")
    assert "DETECT_DICOMWEB_PASSWORD: is not set" in failing(known, 2, capsys)
    monkeypatch.delenv("DETECT_DICOMWEB_USER")
    assert "wants credentials (401)" in failing(known, 2, capsys)
    assert not (tmp_path / "out").exists()


def test_a_study_that_the_objects_are_not_of_refuses_them(pushed: Study, tmp_path: Path) -> None:
    """An object that the server refuses is reported with the reason."""
    from detect.dicomweb.address import parse_address
    from detect.dicomweb.credentials import from_environment
    from detect.dicomweb.server import Server, ServerError
    from detect.dicomweb.store import store

    other = parse_address(pushed.server.study_url(generate_uid()))
    server = Server(other.base, from_environment())
    with pytest.raises(ServerError, match=r"did not store 1 of 1|refuses the request"):
        store(server, other, [next(pushed.folders[0].iterdir())])
    (tmp_path / "text").write_bytes(b"no DICOM")
    with pytest.raises(ServerError):
        store(server, other, [tmp_path / "text"])
    server.close()
