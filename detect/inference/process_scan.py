"""One scan from its files to its folder of results, in three stages: read, find, write."""

import json
import secrets
import traceback
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.core.files import appearing
from converters.core.pool import WorkersEnded, WorkersError
from converters.core.stages import Settled
from converters.imaging.dicom.geometry import DicomSeries
from converters.imaging.hashing import hash_files
from converters.imaging.read import read_volume
from converters.imaging.volume import Volume
from converters.preprocessing.pictures import Pictures, pictures
from detect.detectors.card import ModelCard
from detect.detectors.protocol import Predictor
from detect.inference.detect_slices import BATCH, GPU_BATCH, find_lesions
from detect.inference.label_volume import LABEL_FILE, write_label_volume
from detect.inference.model_set import UsedModels, load_models
from detect.inference.outputs import write_case_outputs
from detect.linking.linking import LinkedLesion

DICOM_FILES = SR_FILE, SEG_FILE = ("lesions-sr.dcm", "lesions-seg.dcm")
# with others the results are others
DECISIVE = ("weights_sha256", "confidence", "linking", "runtime", "augment")
_AGAIN = "run the same command again: it resumes"


@dataclass(frozen=True)
class Job:
    """What is the same for all scans of a run; it is sent to other processes.

    Attributes:
        used: models, confidence and linking.
        device: for them.
        out: folder of all results.
        wanted: files of `DICOM_FILES` to write for DICOM series.
        overwrite: replace what other scans or models left.
        strict: refuse scans that there is a warning of.
        threads: of each process, for the network; None takes what it has.
        token: of this run: by it a process knows that it has loaded the models already, and which
            unfinished folders are others'.
    """

    used: UsedModels
    device: str
    out: Path
    wanted: frozenset[str] = frozenset()
    overwrite: bool = False
    strict: bool = False
    threads: int | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(4))


@dataclass(frozen=True)
class Todo:
    """A scan to process.

    Attributes:
        scan: file, or folder of a DICOM series.
        name: of the case; None names it by a hash of its files, since folders of DICOM files tend
            to be named after people.
        series: headers of the DICOM series, which are read once.
        warnings: what is odd about it already.
    """

    scan: Path
    name: str | None
    series: DicomSeries | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a scan.

    Attributes:
        case: its name in the outputs.
        rows: its lesions, as in `detections.json`.
        there: it was there already, from the same scan and model.
        note: what was asked for and could not be written, and why.
        warnings: why it may be no scan for the models.
    """

    case: str
    rows: list[dict[str, Any]]
    there: bool
    note: str = ""
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Scan:
    """A scan that was read.

    Attributes:
        todo: which one.
        case: its name in the outputs.
        source: hash of its files.
        asked: of `DICOM_FILES`, to be written.
        warnings: why it may be no scan for the models.
        pictures: what a detector is to see of it; they hold the volume.
    """

    todo: Todo
    case: str
    source: str
    asked: Set[str]
    warnings: Sequence[str]
    pictures: Pictures

    @property
    def volume(self) -> Volume:
        """Its voxels."""
        return self.pictures.volume


@dataclass(frozen=True)
class Found:
    """A scan with the boxes of each slice, and the lesions that they make."""

    scan: Scan
    boxes: list[Boxes]
    lesions: list[LinkedLesion]


def read(job: Job, todo: Todo) -> Scan | Settled[Outcome]:
    """Name, hash and read a scan; one whose results are there already is settled.

    Raises:
        InputError: it cannot be read, is no scan for these models, or its folder is taken.
    """
    scan = todo.scan
    with _plain_errors(scan, "cannot be read", "check the path and its rights"):
        source = hash_files(todo.series or scan)
        case = todo.name or f"scan-{source[:12]}"
        folder = job.out / case
        asked = job.wanted if todo.series else frozenset[str]()
        there = _resume(folder, source, job, asked)
        if there is not None:
            rows, warnings = there
            _check_strict(job, scan, warnings)
            return Settled(Outcome(case, rows, True, _note(job, asked, rows), warnings))
        if not job.overwrite:  # a second run takes away nothing
            asked = asked | {name for name in DICOM_FILES if (folder / name).exists()}
        volume = read_volume(todo.series or scan)
        seen = job.used.spec.representation
        if volume.modality not in ("", seen.modality):
            raise InputError(
                scan,
                f"is {volume.modality}, but the model was trained on {seen.modality}",
                "give scans of that kind",
            )
        warnings = [*todo.warnings, *job.used.warnings(volume)]
        _check_strict(job, scan, warnings)
        made = pictures(volume, seen, scan)
        return Scan(todo, case, source, asked, warnings, made)


def find(job: Job, detector: Predictor, scan: Scan) -> Found:
    """Run the detector over a scan and link what it finds.

    Raises:
        InputError: there is not memory enough.
    """
    used = job.used
    with _plain_errors(scan.todo.scan, "cannot be processed", _AGAIN):
        boxes, lesions = find_lesions(
            detector, scan.pictures, used.confidence, used.linking, _batch(job)
        )
    return Found(scan, boxes, lesions)


def _batch(job: Job) -> int:
    """Slices a call."""
    if job.used.runtime != "torch":
        return BATCH
    from detect.detectors.device import choose_device  # torch, which exports run without

    return GPU_BATCH if choose_device(job.device).type == "cuda" else BATCH


def write(job: Job, found: Found) -> Outcome:
    """Write a scan's folder, whole or not at all.

    Raises:
        InputError: it cannot be written, or its series' header allows no DICOM objects.
    """
    scan, boxes, lesions = found.scan, found.boxes, found.lesions
    asked, volume, used = scan.asked, scan.volume, job.used
    with (
        _plain_errors(job.out / scan.case, "cannot be written", f"make room, then {_AGAIN}"),
        appearing(job.out / scan.case, job.token) as work,
    ):
        told = scan.source, scan.pictures, boxes, lesions, used, scan.warnings
        rows = write_case_outputs(work, scan.case, *told)
        write_label_volume(work / LABEL_FILE, volume, boxes, lesions)
        if asked and lesions:
            _write_dicom(work, asked, found, used.card, rows)
    return Outcome(scan.case, rows, False, _note(job, asked, rows), scan.warnings)


def _write_dicom(
    folder: Path, asked: Set[str], found: Found, card: ModelCard, rows: list[dict[str, Any]]
) -> None:
    from detect.inference.dicom.seg import write_segmentation
    from detect.inference.dicom.source import result_of
    from detect.inference.dicom.sr import write_structured_report

    scan = found.scan
    assert scan.todo.series is not None  # noqa: S101  (else no DICOM is asked for)
    result = result_of(scan.todo.series, scan.source, card, rows, scan.warnings)
    if SR_FILE in asked:
        write_structured_report(folder / SR_FILE, result, scan.volume, found.lesions)
    if SEG_FILE in asked:
        write_segmentation(folder / SEG_FILE, result, scan.volume, found.boxes, found.lesions)


def process(job: Job, todo: Todo) -> Outcome:
    """Do all three stages, in a process that keeps the models for the next scan.

    Raises:
        InputError: as the stages.
        WorkersError: the models cannot be loaded here, and so no scan can be processed.
    """
    try:
        detector = _detector(job)
    except InputError as error:
        raise WorkersError(error.path, error.problem, error.remedy) from error
    scan = read(job, todo)
    if isinstance(scan, Settled):
        assert isinstance(scan.outcome, Outcome)  # noqa: S101  (`read` raises its errors)
        return scan.outcome
    return write(job, find(job, detector, scan))


def listed(todo: Todo, error: Exception) -> InputError:
    """Say what is wrong with one scan, so that the others go on.

    What nobody foresaw is listed too, by the place it was raised at: its words may quote a header.
    """
    if isinstance(error, InputError):
        return error
    if isinstance(error, WorkersEnded):
        return InputError(
            todo.scan,
            "ended every worker that took it, perhaps for want of memory",
            "give the workers more memory and run the same command again: it resumes",
        )
    what, where = type(error).__name__, ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        where = f" in {Path(frame.f_code.co_filename).name}, line {line}"
    return InputError(todo.scan, f"cannot be processed ({what}{where})", "report this fault")


_LOADED: dict[str, Predictor] = {}  # of the run that this process works for


def _detector(job: Job) -> Predictor:
    if job.token not in _LOADED:
        _LOADED.clear()
        _LOADED[job.token] = load_models(job.used, job.device, job.threads)
    return _LOADED[job.token]


def _note(job: Job, asked: Set[str], rows: list[dict[str, Any]]) -> str:
    if not job.wanted or (asked and rows):
        return ""
    return f"no DICOM objects written: {'no lesion' if asked else 'not a DICOM series'}"


def _check_strict(job: Job, scan: Path, warnings: Sequence[str]) -> None:
    if job.strict and warnings:
        raise InputError(
            scan,
            f"may be no scan for this model: {'; '.join(warnings)}",
            "leave out --strict to have it processed with a warning",
        )


def _resume(
    folder: Path, source: str, job: Job, asked: Set[str]
) -> tuple[list[dict[str, Any]], list[str]] | None:
    """Return lesions and warnings of a case that is there; None where it is to be processed.

    Args:
        folder: of the case.
        source: hash of the scan that it must have come from.
        job: says which models.
        asked: files that a case with lesions must have, too.
    """
    if not folder.exists():
        return None
    facts = job.used.facts
    try:
        before = json.loads((folder / "detections.json").read_text(encoding="utf-8"))
        same = all(before.get(key) == facts.get(key) for key in DECISIVE)
        if same and before["source_sha256"] == source:
            lesions, warnings = list(before["lesions"]), list(before.get("warnings", ()))
            needed = {LABEL_FILE} | (asked if lesions else set())
            whole = all((folder / name).exists() for name in needed)
            return (lesions, warnings) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            folder, "exists and is no result of detect", "give another --out"
        ) from None
    if job.overwrite:
        return None
    raise InputError(
        folder, "holds another scan's or model's results", "give another --out, or --overwrite"
    )


@contextmanager
def _plain_errors(path: Path, problem: str, remedy: str) -> Iterator[None]:
    """Turn what the system or the memory refuses into one line."""
    try:
        yield
    except OSError as error:
        raise InputError(path, f"{problem} ({error.strerror or error})", remedy) from error
    except MemoryError as error:
        raise InputError(path, "does not fit into the memory", "use a larger machine") from error
