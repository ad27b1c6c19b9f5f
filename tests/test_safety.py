"""A folder from a hospital: good scans are processed, others listed, no patient is named."""

import base64
import csv
import gzip
import os
import re
import resource
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import BasicTextSRStorage, MRImageStorage, generate_uid

from converters.imaging.nifti import write_nifti
from tests.helpers.dicom_series import write_series
from tests.helpers.studies import (
    CORONAL,
    as_kind,
    four_dimensional,
    is_closed,
    stack,
    with_type,
    without_rights,
    write_object,
)
from tests.helpers.tiny import make_scans

AFFINE = np.diag([0.8, 0.8, 2.0, 1.0])
MOST_BYTES = 1_500_000  # a file: the disk is full for whatever is larger

# Takes a file away between the moment it was found and the moment it is read.
VANISHING = """
import sys
from pathlib import Path
import detect.workflows.predict as predicting
from detect.cli.main import main
discover = predicting.discover_scans
def find(*args):
    found = discover(*args)
    Path(sys.argv[1]).unlink()
    return found
predicting.discover_scans = find
main(sys.argv[2:])
"""


def run(words: list[str | Path], before: str = "from detect.cli.main import main; main()", **how):
    command = [sys.executable, "-c", before, *map(str, words)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", **how)


def predict_words(model: Path, scans: Path, out: Path, *more: str) -> list[str | Path]:
    words: list[str | Path] = ["predict", scans, "--model", model, "--out", out, "--quiet"]
    return [*words, "--device", "cpu", "--confidence", "0.01", *more]


def in_a_hospital() -> None:
    """Make root obey permissions in a child process, and refuse large files."""
    without_rights()
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))


def as_series(folder: Path, scan: Path, edit=None) -> None:
    """The same scan as a DICOM series, with the spacing that the model knows."""
    hu = np.asarray(nib.load(scan).dataobj).transpose(2, 1, 0)  # i, j, k of the file

    def spaced(number: int, ds: Dataset) -> Dataset:
        ds.PixelSpacing = [0.8, 0.8]
        return edit(number, ds) if edit else ds

    write_series(folder, (hu + 1024).clip(0).astype(np.uint16), spaced)


def fill(folder: Path, source: Path) -> dict[str, str]:
    """Write three good scans and twelve bad ones; return the message for each bad one."""
    folder.mkdir()
    good = (source / "case0-scan.nii").read_bytes()
    (folder / "good-a.nii").write_bytes(good)
    (folder / "good-b.nii.gz").write_bytes(gzip.compress((source / "case1-scan.nii").read_bytes()))
    as_series(folder / "good-c", source / "case2-scan.nii")

    (folder / "truncated.nii.gz").write_bytes(gzip.compress(good)[:-900])
    (folder / "text.nii").write_text("a letter to the referring physician\n" * 30)
    (folder / "empty.nii").touch()
    (folder / "four-d.nii").write_bytes(four_dimensional(good))
    (folder / "closed.nii").write_bytes(good)
    (folder / "closed.nii").chmod(0)
    (folder / "vanishing.nii").write_bytes(good)
    hu = np.asarray(nib.load(source / "case3-scan.nii").dataobj)
    values = hu.astype(np.float32)
    values[3, 3, 3] = np.nan
    nib.save(nib.Nifti1Image(values, AFFINE), folder / "nan.nii")
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.3
    image = nib.Nifti1Image(hu, None)
    image.set_sform(sheared, code=1)
    nib.save(image, folder / "sheared.nii")
    large = np.kron(hu.transpose(2, 1, 0), np.ones((1, 24, 24)))
    large += np.random.default_rng(0).normal(0, 60, large.shape)
    write_nifti(folder / "large.nii", large.astype(np.int16), AFFINE)  # and so are its overlays
    stack(folder / "mr", as_kind(MRImageStorage, "MR"))
    localizer = with_type("ORIGINAL", "PRIMARY", "LOCALIZER")
    stack(folder / "scout", localizer, slices=2, orientation=CORONAL)
    uid = generate_uid()

    def two_sizes(number: int, ds: Dataset) -> Dataset:
        ds.SeriesInstanceUID = uid
        if number % 2:
            ds.Rows, ds.PixelData = 12, ds.PixelData[: len(ds.PixelData) // 2]
        return ds

    stack(folder / "mixed", two_sizes)
    return {
        "truncated.nii.gz": "truncated.nii.gz: ",
        "text.nii": "is not a NIfTI file",
        "empty.nii": "is empty",
        "four-d.nii": "holds 3 volumes",
        "closed.nii": "may not be read",
        "vanishing.nii": "does not exist",
        "nan.nii": "not finite",
        "sheared.nii": "sheared geometry",
        "large": "cannot be written (File too large)",
        "mr": "is MR, not CT",
        "scout": "is a localizer",
        "mixed": "mixes slices of different sizes",
    }


def test_three_good_scans_and_twelve_bad_things(tiny_run: Path, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    bad = fill(scans, make_scans(tmp_path / "source", cases=4, seed=3))
    if not is_closed(scans / "closed.nii"):
        pytest.skip("root's rights cannot be dropped here")
    words = predict_words(tiny_run, scans, out)
    done = run([scans / "vanishing.nii", *words], VANISHING, preexec_fn=in_a_hospital)
    assert done.returncode == 1, done.stderr
    lines = done.stderr.splitlines()
    reasons = [line for line in lines if line.startswith(("failed: ", "skipped: "))]
    assert len(bad) == len(reasons) == 12 and len(lines) == 12, done.stderr
    for name, message in bad.items():
        place = (out if name == "large" else scans) / name
        (line,) = [reason for reason in reasons if str(place) in reason]
        assert message in line
        problem, _, remedy = line.split(": ", 2)[2].removesuffix(".").rpartition(". ")
        assert problem and remedy, line
    assert sum(line.startswith("skipped: ") for line in reasons) == 2
    (series,) = out.glob("scan-*")
    names = {"good-a", "good-b", series.name}
    assert {path.name for path in out.iterdir()} == {*names, "summary.csv", "report.html"}
    for name in names:
        assert f"{out / name}: " in done.stdout
    table = list(csv.DictReader((out / "summary.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["case"] for row in table} == names and not any(row["warnings"] for row in table)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "10 scans could not be processed" in page and "2 other series" in page

    # the fault mended, only what was missing is done; what was skipped is no failure
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    for name in set(bad) - {"large", "scout", "mr", "mixed", "vanishing.nii"}:
        (scans / name).unlink()
    (scans / "mixed").rename(tmp_path / "mixed")
    again = run(words)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("(there already)") == 3 and f"{out / 'large'}: " in again.stdout
    assert [line.split(":")[0] for line in again.stderr.splitlines()] == ["skipped"] * 2
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


# Who the patient is

PERSON = {
    "PatientName": "PLANTED^NAMEWORT",
    "PatientID": "PLANTED-ID-5561",
    "PatientBirthDate": "19310405",
    "PatientBirthName": "PLANTED^GEBURT",
    "PatientMotherBirthName": "PLANTED^MUTTER",
    "OtherPatientIDs": "PLANTED-OTHER-77",
    "PatientAddress": "PLANTEDSTRASSE 4",
    "PatientTelephoneNumbers": "0301234567",
    "PatientComments": "PLANTED COMMENT",
    "AccessionNumber": "PLANTACC-99812",
    "InstitutionName": "PLANTED HOSPITAL",
    "InstitutionAddress": "PLANTED SQUARE",
    "StationName": "PLANTEDSTATION",
    "ReferringPhysicianName": "PLANTED^REFERRER",
    "PerformingPhysicianName": "PLANTED^PERFORMER",
    "OperatorsName": "PLANTED^OPERATOR",
    "StudyDescription": "PLANTED STUDY TEXT",
    "SeriesDescription": "PLANTED SERIES TEXT",
    "ProtocolName": "PLANTED PROTOCOL",
    "StudyID": "PLANTEDSTUDY",
    "StudyDate": "20230607",
    "DeviceSerialNumber": "PLANTEDSERIAL",
    "RequestedProcedureDescription": "PLANTED REQUEST",
    "ImageComments": "PLANTED IMAGE COMMENT",
    "BodyPartExamined": "PLANTEDPART",
}
FOLDER = "PLANTEDFOLDER^ANNA_19310405"


def planted(uids: set[str]):
    """Return an edit that names the patient in every attribute that can."""
    study, frame = generate_uid(), generate_uid()

    def edit(number: int, ds: Dataset) -> Dataset:
        for keyword, value in PERSON.items():
            setattr(ds, keyword, value)
        ds.StudyInstanceUID, ds.FrameOfReferenceUID = study, frame
        request = Dataset()
        request.AccessionNumber = PERSON["AccessionNumber"]
        request.RequestedProcedureID = "PLANTEDPROCEDURE"
        ds.RequestAttributesSequence = Sequence([request])
        block = ds.private_block(0x0029, "PLANTEDCREATOR", create=True)
        block.add_new(0x10, "LO", "PLANTED PRIVATE")
        block.add_new(0x11, "UN", b"PLANTED UNKNOWN ")
        ds.file_meta.SourceApplicationEntityTitle = "PLANTEDAET"
        ds.preamble = b"PLANTED PREAMBLE".ljust(128, b"\0")
        for keyword in ("SeriesInstanceUID", "SOPInstanceUID", "StudyInstanceUID"):
            uids.add(str(ds[keyword].value))
        uids.update((study, frame))
        return ds

    return edit


def content_of(file: Path) -> bytes:
    """Return the content of a file with gzip and embedded pictures unpacked."""
    data = file.read_bytes()
    if file.suffix == ".gz":
        return data + gzip.decompress(data)
    if file.suffix == ".png":
        return data + texts_of_png(data)
    inside = re.compile(rb"data:image/(\w+);base64,([A-Za-z0-9+/=]+)")
    pictures = [(kind, base64.b64decode(packed)) for kind, packed in inside.findall(data)]
    texts = [
        picture + (texts_of_png(picture) if kind == b"png" else b"") for kind, picture in pictures
    ]
    return b"".join([inside.sub(b"", data), *texts])


def texts_of_png(data: bytes) -> bytes:
    """Return the texts of a PNG's chunks, unpacked."""
    texts, at = b"", 8
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + size]
        assert kind in (b"IHDR", b"IDAT", b"IEND", b"PLTE", b"pHYs"), kind
        if kind not in (b"IHDR", b"IDAT", b"IEND"):
            texts += body
        at += size + 12
    return texts


def hits(text: bytes, secrets: set[str]) -> set[str]:
    """Return the secrets in a text, in any letter case and in the usual encodings."""
    low = text.lower()
    return {
        secret
        for secret in secrets
        if any(secret.lower().encode(code) in low for code in ("utf-8", "utf-16-le", "utf-16-be"))
    }


def test_what_the_search_for_names_would_find(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"... Planted^Namewort"))
    assert hits(content_of(tmp_path / "a.gz"), {"PLANTED^NAMEWORT"})
    chunk = b"tEXtwho\0me"
    png = b"\x89PNG\r\n\x1a\n" + (len(chunk) - 4).to_bytes(4, "big") + chunk
    (tmp_path / "a.png").write_bytes(png + zlib.crc32(chunk).to_bytes(4, "big"))
    with pytest.raises(AssertionError, match="tEXt"):
        content_of(tmp_path / "a.png")


def test_a_default_run_names_nobody(tiny_run: Path, tmp_path: Path) -> None:
    """No byte of a default run contains a header's or a folder's name of a patient.

    The pixels of pictures are not searched: nothing is drawn there but boxes, classes and scores.
    Reasons on the terminal name what failed by its path, which the user gave; no file does.
    """
    source = make_scans(tmp_path / "source", cases=3, seed=3)
    study, out = tmp_path / FOLDER, tmp_path / "out"
    uids: set[str] = set()
    for number in range(3):
        as_series(study / f"PLANTEDSUB_{number}", source / f"case{number}-scan.nii", planted(uids))
    secrets = {value for value in PERSON.values()} | uids
    secrets |= {"PLANT", "NAMEWORT", "GEBURT", "MUTTER", FOLDER, "1.2.826"}
    write_object(study / "PLANTEDSR" / "sr.dcm", BasicTextSRStorage, "SR")

    def scout(number: int, ds: Dataset) -> Dataset:
        return planted(uids)(number, with_type("ORIGINAL", "PRIMARY", "LOCALIZER")(number, ds))

    stack(study / "PLANTEDSCOUT", scout, slices=2)
    stack(study / "PLANTEDGAP", lambda n, ds: None if n == 2 else planted(uids)(n, ds))
    cut = stack(study / "PLANTEDCUT", planted(uids))
    file = sorted(cut.iterdir())[0]
    file.write_bytes(file.read_bytes()[:-700])
    as_series(
        study / "PLANTEDFAR", source / "case0-scan.nii",
        lambda n, ds: setattr(planted(uids)(n, ds), "PixelSpacing", [3, 3]) or ds,
    )  # fmt: skip
    secrets |= uids
    env = os.environ | {"PYTHONWARNINGS": "always"}  # pydicom's too
    done = run(predict_words(tiny_run, study, out), env=env)
    assert done.returncode == 1, done.stderr
    lines = done.stderr.splitlines()
    kinds = sorted(line.split(":")[0] for line in lines)
    assert kinds == ["failed", "failed", "skipped", "skipped", "warning"], lines
    for line in (*lines, *done.stdout.splitlines()):
        path = re.match(rf"(failed|skipped): {re.escape(str(study))}/[^:]*: ", line)
        rest = line[path.end() :] if path else line.replace(str(tmp_path), "")
        assert not hits(rest.encode(), secrets), line
    assert len(list(out.glob("scan-*"))) == 4 and list(out.rglob("overlays/*.png"))
    for path in out.rglob("*"):
        assert not hits(str(path.relative_to(out)).encode(), secrets)
        assert path.is_dir() or not hits(content_of(path), secrets), path
