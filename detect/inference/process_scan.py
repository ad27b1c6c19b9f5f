"""One scan from its files to its folder of results, in three stages: read, search, write."""

import json
import traceback
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.core.errors import InputError
from converters.core.output_folder import atomic_folder
from converters.core.pool import WorkersEnded, WorkersError
from converters.core.stages import Settled
from detect.detectors.card import ModelCard
from detect.detectors.protocol import Predictor
from detect.inference.detections import Detections
from detect.inference.find_scans import ScanTask
from detect.inference.job import DICOM_FILES, SEG_FILE, SR_FILE, Job
from detect.inference.label_volume import LABEL_FILE, write_label_volume
from detect.inference.outputs import write_case_outputs
from detect.inference.scan import (
    RUN_AGAIN,
    Scan,
    check_strict,
    detect_lesions,
    hash_scan,
    load_scan,
    reading,
    system_errors,
)

# facts in detections.json with which the results are others
DECISIVE = ("weights_sha256", "confidence", "linking", "runtime", "augment")


@dataclass(frozen=True)
class Outcome:
    """Result of one scan.

    Attributes:
        case: its name in the outputs.
        rows: its lesions, as in `detections.json`.
        existing: its results existed already, from the same scan and model.
        note: what was asked for and could not be written, and why.
        warnings: one line for each reason why it may not suit the models.
    """

    case: str
    rows: list[dict[str, Any]]
    existing: bool
    note: str = ""
    warnings: Sequence[str] = ()


def read_scan(job: Job, task: ScanTask, sha256: str | None = None) -> Scan | Settled[Outcome]:
    """Name, hash and read a scan; one whose results exist already is settled.

    Args:
        job: the run.
        task: which scan.
        sha256: hash of its files, where it is known.

    Raises:
        InputError: it cannot be read, does not suit the models, or its folder is taken.
    """
    sha256 = sha256 or hash_scan(task)
    strict = job.settings.strict
    case = task.case(sha256)
    with reading(task.path):
        asked = _dicom_files(job, task)
        earlier = _resume(job.out / case, sha256, job, asked)
    if earlier is not None:
        rows, warnings = earlier
        check_strict(task, warnings, strict)
        return Settled(Outcome(case, rows, True, _note(job, asked, rows), warnings))
    return load_scan(task, sha256, job.models, strict)


def search_scan(job: Job, detector: Predictor, scan: Scan) -> tuple[Scan, Detections]:
    """Run the detector over a scan, and link its boxes to lesions.

    Raises:
        InputError: there is not enough memory.
    """
    return scan, detect_lesions(scan, detector, job.models, job.settings.device)


def write_scan(job: Job, searched: tuple[Scan, Detections]) -> Outcome:
    """Write a scan's folder, whole or not at all.

    Raises:
        InputError: it cannot be written, or its series' header allows no DICOM objects.
    """
    scan, detections = searched
    folder, rows = job.out / scan.case, detections.rows()
    asked = _dicom_files(job, scan.task)
    with (
        system_errors(folder, "cannot be written", f"make room, then {RUN_AGAIN}"),
        atomic_folder(folder, job.token) as work,
    ):
        if not job.settings.overwrite:  # DICOM files of an earlier run are written again
            asked |= {name for name in DICOM_FILES if (folder / name).exists()}
        write_case_outputs(work, detections, scan.pictures)
        write_label_volume(work / LABEL_FILE, scan.volume, detections.boxes, detections.linked)
        if asked and rows:
            _write_dicom(work, asked, scan, detections, job.models.card)
    return Outcome(scan.case, rows, False, _note(job, asked, rows), scan.warnings)


def _dicom_files(job: Job, task: ScanTask) -> Set[str]:
    """Return the DICOM files asked for of a scan: none of what is no DICOM series."""
    return job.settings.dicom_files if task.series else frozenset()


def _write_dicom(
    folder: Path, names: Set[str], scan: Scan, detections: Detections, card: ModelCard
) -> None:
    from detect.inference.dicom.seg import write_segmentation
    from detect.inference.dicom.source import result_of
    from detect.inference.dicom.sr import write_structured_report

    series, volume, linked = scan.task.series, scan.volume, detections.linked
    assert series is not None  # noqa: S101  (else no DICOM is asked for)
    result = result_of(series, scan.sha256, card, detections.rows(), scan.warnings)
    if SR_FILE in names:
        write_structured_report(folder / SR_FILE, result, volume, linked)
    if SEG_FILE in names:
        write_segmentation(folder / SEG_FILE, result, volume, detections.boxes, linked)


def process_scan(job: Job, task: ScanTask) -> Outcome:
    """Do all three stages, in a process that keeps the models for the next scan.

    Raises:
        InputError: as the stages.
        WorkersError: the models cannot be loaded here, and so no scan can be processed.
    """
    try:
        detector = _detector(job)
    except InputError as error:
        raise WorkersError(error.path, error.problem, error.remedy) from error
    scan = read_scan(job, task)
    if isinstance(scan, Settled):
        assert isinstance(scan.outcome, Outcome)  # noqa: S101  (`read_scan` raises its errors)
        return scan.outcome
    return write_scan(job, search_scan(job, detector, scan))


def as_input_error(task: ScanTask, error: Exception) -> InputError:
    """Say in one line what is wrong with one scan, so that the others go on.

    An error that was not foreseen is listed by its kind and the place it was raised at: its text
    may quote a header.
    """
    if isinstance(error, InputError):
        return error
    if isinstance(error, WorkersEnded):
        return InputError(
            task.path,
            "ended every worker that took it, perhaps for want of memory",
            "give the workers more memory and run the same command again: it resumes",
        )
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        place = f" in {Path(frame.f_code.co_filename).name}, line {line}"
    kind = type(error).__name__
    return InputError(task.path, f"cannot be processed ({kind}{place})", "report this fault")


_LOADED: dict[str, Predictor] = {}  # of the run that this process works for


def _detector(job: Job) -> Predictor:
    if job.token not in _LOADED:
        _LOADED.clear()
        _LOADED[job.token] = job.load()
    return _LOADED[job.token]


def _note(job: Job, asked: Set[str], rows: list[dict[str, Any]]) -> str:
    if not job.settings.dicom_files or (asked and rows):
        return ""
    return f"no DICOM objects written: {'no lesion' if asked else 'not a DICOM series'}"


def _resume(
    folder: Path, sha256: str, job: Job, asked: Set[str]
) -> tuple[list[dict[str, Any]], list[str]] | None:
    """Return lesions and warnings of a case whose results exist; None where it is to be processed.

    Args:
        folder: of the case.
        sha256: hash of the scan that it must have come from.
        job: says which models.
        asked: files that a case with lesions must have, too.
    """
    if not folder.exists():
        return None
    facts = job.models.facts
    try:
        before = json.loads((folder / "detections.json").read_text(encoding="utf-8"))
        same = all(before.get(key) == facts.get(key) for key in DECISIVE)
        if same and before["source_sha256"] == sha256:
            lesions, warnings = list(before["lesions"]), list(before.get("warnings", ()))
            needed = {LABEL_FILE} | (asked if lesions else set())
            whole = all((folder / name).exists() for name in needed)
            return (lesions, warnings) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            folder, "exists and is not a result of `detect predict`", "give another --out"
        ) from None
    if job.settings.overwrite:
        return None
    raise InputError(
        folder, "holds another scan's or model's results", "give another --out, or --overwrite"
    )
