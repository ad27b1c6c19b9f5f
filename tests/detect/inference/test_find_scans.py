"""Study folders: the series that are scans, and the reasons to pass over the others."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from converters.core.errors import InputError
from converters.imaging.dicom import series
from converters.imaging.hashing import hash_files
from converters.imaging.read import read_volume
from detect.inference.find_scans import discover_scans
from tests.helpers.studies import (
    CORONAL,
    as_kind,
    is_closed,
    look,
    stack,
    with_type,
    without_rights,
    write_object,
)

# Each gives a folder of one series that is no scan; whether it is one all the same when it is named
KINDS: dict[str, tuple[Callable[[Path], object], str, bool]] = {
    "localizer": (
        lambda p: stack(p, with_type("ORIGINAL", "PRIMARY", "LOCALIZER"), 2, orientation=CORONAL),
        "is a localizer",
        False,
    ),
    "secondary capture": (
        lambda p: stack(p, as_kind(SecondaryCaptureImageStorage, "CT")),
        "is a secondary capture",
        False,
    ),
    "screen saved as CT": (
        lambda p: stack(p, with_type("DERIVED", "SECONDARY", "SCREEN SAVE")),
        "picture of a screen",
        False,
    ),
    "dose page": (
        lambda p: stack(p, with_type("DERIVED", "SECONDARY", "OTHER", "DOSE_INFO"), 1),
        "picture of a screen or a report",
        False,
    ),
    "MIP": (
        lambda p: stack(p, with_type("DERIVED", "SECONDARY", "AXIAL", "MIP")),
        "shows projections",
        False,
    ),
    "MR": (lambda p: stack(p, as_kind(MRImageStorage, "MR")), "is MR, not CT", False),
    "coronal reformat": (
        lambda p: stack(
            p, with_type("DERIVED", "PRIMARY", "MPR"), orientation=CORONAL, step=(0, 2, 0)
        ),
        "another plane than axial",
        True,
    ),
    "derived": (
        lambda p: stack(p, with_type("DERIVED", "SECONDARY", "REFORMATTED")),
        "was derived from another series",
        True,
    ),
    "two slices": (lambda p: stack(p, slices=2), "has only 2 slices", True),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flat", [False, True])
def test_what_is_no_scan_is_passed_over_with_a_reason(
    kind: str, flat: bool, tmp_path: Path
) -> None:
    make, message, can_be_read = KINDS[kind]
    study = tmp_path / "study"
    stack(study if flat else study / "b-axial", level=1100)
    make(tmp_path / "extra")
    if flat:
        for file in (tmp_path / "extra").iterdir():
            file.rename(study / f"extra-{file.name}")
    else:
        (tmp_path / "extra").rename(study / "a-extra")

    result = look(study)
    (scan,) = result.scans
    assert scan.path == (study if flat else study / "b-axial") and not result.errors
    assert not scan.warnings and scan.series is not None and scan.series.alone != flat
    assert (read_volume(scan.series).array == 1100 - 1024).all()
    (reason,) = result.skipped
    assert message in reason.problem
    assert reason.path.startswith(str(study / ("extra-" if flat else "a-extra")))

    if not flat:  # by name it is taken with a warning, or refused
        by_name = look(study / "a-extra")
        assert not by_name.skipped
        if can_be_read:
            (scan,) = by_name.scans
            assert message in scan.warnings[0] and not by_name.errors
        else:
            (error,) = by_name.errors
            assert message in error.problem and not by_name.scans


@pytest.mark.parametrize(
    "values",
    [
        ("ORIGINAL", "PRIMARY", "AXIAL"),
        ("DERIVED", "PRIMARY", "AXIAL", "JP2K LOSSY 6"),  # a lossy archive's
        ("DERIVED", "PRIMARY", "MPR"),  # an axial reformat
        ("ORIGINAL", "SECONDARY", "AXIAL"),
        (),
    ],
)
def test_what_archives_call_their_axial_series_is_a_scan(
    values: tuple[str, ...], tmp_path: Path
) -> None:
    stack(tmp_path / "study" / "one", with_type(*values))
    result = look(tmp_path / "study")
    assert len(result.scans) == 1 and not result.skipped and not result.errors


@pytest.mark.parametrize(
    ("sop_class", "modality", "kind_name"),
    [(BasicTextSRStorage, "SR", "Basic Text SR"), (SegmentationStorage, "SEG", "Segmentation")],
)
def test_objects_without_pictures(
    sop_class: str, modality: str, kind_name: str, tmp_path: Path
) -> None:
    stack(tmp_path / "study" / "CT")
    write_object(tmp_path / "study" / "CT" / "object.dcm", sop_class, modality)
    write_object(tmp_path / "study" / "more" / "object.dcm", sop_class, modality)
    result = look(tmp_path / "study")
    assert [scan.path.name for scan in result.scans] == ["CT"] and not result.errors
    assert [reason.problem for reason in result.skipped] == [f"is no scan ({kind_name})"] * 2
    only = look(tmp_path / "study" / "more")
    (error,) = only.errors
    assert "holds no scan to process" in str(error) and len(only.skipped) == 1


def test_the_series_of_a_flat_study_are_told_apart(tmp_path: Path) -> None:
    for number in range(3):
        for file in stack(tmp_path / f"s{number}", level=1000 + number).iterdir():
            (tmp_path / "study").mkdir(exist_ok=True)
            file.rename(tmp_path / "study" / f"{file.name}-{number}")
    result = look(tmp_path / "study")
    values = [int(read_volume(s.series).array[0, 0, 0]) for s in result.scans]
    assert sorted(values) == [-24, -23, -22] and not result.errors and not result.skipped
    with pytest.raises(InputError, match="mixes 3 image series"):
        read_volume(tmp_path / "study")


def test_other_planes_of_mr_are_scans(tmp_path: Path) -> None:
    def coronal(number: int, ds: Dataset) -> Dataset:
        return as_kind(MRImageStorage, "MR")(number, ds)

    stack(tmp_path / "study" / "cor", coronal, orientation=CORONAL, step=(0, 2, 0))
    stack(tmp_path / "study" / "ct")
    result = look(tmp_path / "study", "MR")
    assert [scan.path.name for scan in result.scans] == ["cor"]
    assert [reason.problem for reason in result.skipped] == ["is CT, not MR"]


def test_a_damaged_file_leaves_the_other_folders(tmp_path: Path) -> None:
    stack(tmp_path / "study" / "good")
    bad = stack(tmp_path / "study" / "bad")
    next(bad.iterdir()).rename(bad / "cut.dcm")
    (bad / "cut.dcm").write_bytes((bad / "cut.dcm").read_bytes()[:200])
    (tmp_path / "study" / "worse").mkdir()
    (tmp_path / "study" / "worse" / "a.dcm").touch()
    result = look(tmp_path / "study")
    assert [scan.path.name for scan in result.scans] == ["good"]
    assert sorted(Path(error.path).name for error in result.errors) == ["a.dcm", "cut.dcm"]


def test_results_inside_the_input_are_no_scans(tmp_path: Path) -> None:
    stack(tmp_path / "study")
    results = tmp_path / "study" / "results" / "case"
    results.mkdir(parents=True)
    (results / "lesions.nii.gz").write_bytes(b"labels")
    result = discover_scans([tmp_path / "study"], "CT", tmp_path / "study" / "results")
    assert [scan.path for scan in result.scans] == [tmp_path / "study"]


def test_a_closed_folder_leaves_the_others(tmp_path: Path) -> None:
    study = tmp_path / "study"
    stack(study / "good")
    (study / "closed").mkdir(mode=0)
    if not is_closed(study / "closed"):
        pytest.skip("root's rights cannot be dropped here")
    look = (
        "import sys; from pathlib import Path;"
        "from detect.inference.find_scans import discover_scans;"
        "found = discover_scans([Path(sys.argv[1])], 'CT', Path('none'));"
        "print(*(scan.path for scan in found.scans), *found.errors, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", look, study],
        capture_output=True, encoding="utf-8", preexec_fn=without_rights,
    )  # fmt: skip
    scan, error = done.stdout.splitlines()
    assert scan == str(study / "good")
    assert error.startswith(f"{study / 'closed'}: may not be read")


@pytest.mark.parametrize("flat", [False, True])
def test_the_headers_of_a_scan_are_read_once(
    flat: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The headers of a scan are read once, by the search for scans."""
    study = tmp_path / "study"
    stack(study, slices=9)
    if flat:  # beside a localizer
        for file in stack(tmp_path / "extra", with_type("ORIGINAL", "LOCALIZER")).iterdir():
            file.rename(study / f"extra-{file.name}")
    headers: list[Path] = []
    parse = series.dcmread

    def counted(path: Path, **how: object) -> Dataset:
        headers.append(path)
        return parse(path, **how)

    monkeypatch.setattr(series, "dcmread", counted)
    (scan,) = look(study).scans
    sent = pickle.loads(pickle.dumps(scan))  # to another process
    assert sent == scan and len(pickle.dumps(scan)) < 4000
    assert len(hash_files(sent.series)) == 64
    assert read_volume(sent.series).array.shape == (9, 24, 32)
    assert len(sent.series.ordered()[0]) == 9  # what results refer to
    # the first of the folder is looked at alone, too, to see whether it is DICOM
    assert len(headers) == len(list(study.iterdir())) + 1


def test_a_faulty_header_is_told_of_whoever_reads_the_series(tmp_path: Path) -> None:
    def edit(number: int, ds: Dataset) -> Dataset:
        if number == 3:
            ds.RescaleSlope = "0"
        return ds

    (scan,) = look(stack(tmp_path / "study", edit)).scans
    for use in (hash_files, read_volume):
        with pytest.raises(InputError, match="RescaleSlope or PixelSpacing of 0"):
            use(scan.series)
