"""One scan on its way through the models: hashed, read, checked, and searched for lesions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from converters.core.errors import InputError
from converters.imaging.hashing import hash_files
from converters.imaging.read import read_volume
from converters.imaging.volume import Volume
from converters.preprocessing.pictures import Pictures, pictures
from detect.detectors.protocol import Predictor
from detect.inference.detect_slices import batch_size, find_lesions
from detect.inference.detections import Detections
from detect.inference.find_scans import ScanTask
from detect.inference.model_set import ModelSet

RUN_AGAIN = "run the same command again: it resumes"


@dataclass(frozen=True)
class Scan:
    """A scan that was read and suits the models.

    Attributes:
        task: which scan.
        sha256: hash of its files; empty for an array.
        warnings: one line for each reason why it may not suit the models.
        pictures: of its slices, as the models want them; they hold the volume.
    """

    task: ScanTask
    sha256: str
    warnings: Sequence[str]
    pictures: Pictures

    @property
    def case(self) -> str:
        """Name of the scan in the outputs."""
        return self.task.case(self.sha256)

    @property
    def volume(self) -> Volume:
        """Voxels of the scan."""
        return self.pictures.volume


def hash_scan(task: ScanTask) -> str:
    """Compute the SHA-256 over the files of a scan.

    Raises:
        InputError: they cannot be read.
    """
    with reading(task.path):
        return hash_files(task.source)


def load_scan(task: ScanTask, sha256: str, models: ModelSet, strict: bool = False) -> Scan:
    """Read a scan and check it against the models.

    Args:
        task: which scan.
        sha256: hash of its files.
        models: that will search it.
        strict: refuse a scan that there is a warning of.

    Raises:
        InputError: it cannot be read, or does not suit the models.
    """
    with reading(task.path):
        volume = read_volume(task.source)
        return view_scan(task, sha256, volume, models, strict)


def view_scan(
    task: ScanTask, sha256: str, volume: Volume, models: ModelSet, strict: bool = False
) -> Scan:
    """Check a volume against the models, and settle its pictures; see `load_scan`.

    Raises:
        InputError: it does not suit the models.
    """
    representation = models.spec.representation
    if volume.modality not in ("", representation.modality):
        raise InputError(
            task.path,
            f"is {volume.modality}, but the model was trained on {representation.modality}",
            "give scans of that kind",
        )
    warnings = [*task.warnings, *models.warnings(volume)]
    check_strict(task, warnings, strict)
    seen = pictures(volume, representation, task.path)
    return Scan(task, sha256, warnings, seen)


def check_strict(task: ScanTask, warnings: Sequence[str], strict: bool) -> None:
    """Refuse a scan with warnings, where asked to.

    Raises:
        InputError: there are warnings, and `strict` is set.
    """
    if strict and warnings:
        raise InputError(
            task.path,
            f"may be no scan for this model: {'; '.join(warnings)}",
            "leave out --strict to have it processed with a warning",
        )


def detect_lesions(scan: Scan, detector: Predictor, models: ModelSet, device: str) -> Detections:
    """Run the detector over a scan and link its boxes to lesions.

    Args:
        scan: that was read.
        detector: the models, loaded.
        models: their confidence and linking.
        device: that the detector runs on.

    Raises:
        InputError: there is not enough memory.
    """
    with system_errors(scan.task.path, "cannot be processed", RUN_AGAIN):
        boxes, linked = find_lesions(
            detector,
            scan.pictures,
            models.confidence,
            models.linking,
            batch_size(models.runtime, device),
        )
    slices, rows, columns = scan.volume.array.shape
    return Detections(
        boxes=boxes,
        linked=linked,
        classes=models.spec.classes,
        shape=(slices, rows, columns),
        affine=scan.volume.affine,
        to_file=scan.volume.to_file,
        frame=scan.pictures.frame,
        facts=models.facts,
        warnings=scan.warnings,
        case=scan.case,
        source_sha256=scan.sha256,
    )


@contextmanager
def system_errors(path: Path, problem: str, remedy: str) -> Iterator[None]:
    """Turn an error of the file system, or a want of memory, into an `InputError` of one line."""
    try:
        yield
    except OSError as error:
        raise InputError(path, f"{problem} ({error.strerror or error})", remedy) from error
    except MemoryError as error:
        raise InputError(path, "does not fit into the memory", "use a larger machine") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the scan in an error of the file system that reading it raises."""
    with system_errors(path, "cannot be read", "check the path and its rights"):
        yield
