"""Find the segmentations or structure sets that belong to a scan.

Of who the patient is, the name and ID are read for one purpose only: no name of a segment or ROI
that holds a part of them may get into a message. No UID is ever shown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from converters.core.errors import InputError
from converters.imaging.dicom import series as dicom
from converters.imaging.read import open_scan, read_grid
from converters.imaging.volume import Volume

_REFERENCES = [
    "FrameOfReferenceUID",
    "ReferencedSeriesSequence",
    "ReferencedFrameOfReferenceSequence",
    "PatientName",
    "PatientID",
]


@dataclass(frozen=True)
class Scan:
    """Hold the grid and the UIDs that an object is compared with.

    Attributes:
        path: of the scan.
        grid: where its voxels are.
        series, frame: its UIDs, or ``""`` where it is no DICOM series.
    """

    path: Path
    grid: Volume
    series: str
    frame: str


@dataclass(frozen=True)
class Kind:
    """A kind of object.

    Attributes:
        name: what a user calls it.
        classes: its SOP class UIDs.
        tags: what is read of it, beside its references.
    """

    name: str
    classes: frozenset[str]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class DicomObject:
    """One SEG or RTSTRUCT file.

    Attributes:
        path: the file.
        header: its tags without pixels.
        resolved: it refers to the scan's series.
        frames: UIDs of the frames of reference that it states.
        secrets: who the patient is.
    """

    path: Path
    header: Dataset
    resolved: bool
    frames: frozenset[str]
    secrets: tuple[str, ...]


def read_scan(path: Path) -> Scan:
    """Read the headers of a scan.

    Raises:
        InputError: it cannot be read.
    """
    opened = open_scan(path)
    grid = read_grid(opened)
    if isinstance(opened, Path):
        return Scan(path, grid, "", "")
    return Scan(path, grid, opened.uid, opened.frame_uid)


def objects_of(scan: Scan, paths: Sequence[Path], kind: Kind) -> list[DicomObject]:
    """Read the objects that belong to a scan: those that refer to its series.

    Where none does, a lone object is taken, or else those of the scan's frame of reference: their
    place in space must then say whether they fit.

    Args:
        scan: what they must belong to.
        paths: files, or folders with such files (the scan's own may be one).
        kind: what they are.

    Raises:
        InputError: there is none, several do not say whose they are, or one is damaged.
    """
    files = [file for path in paths for file in dicom.find_objects(path, kind.classes)]
    if not files:
        raise InputError(
            paths[0], f"holds no {kind.name}", "give the file, or the folder it lies in"
        )
    objects = [_object(scan, file, kind.tags) for file in files]
    belonging = [item for item in objects if item.resolved]
    if not belonging and len(objects) == 1:
        belonging = objects
    if not belonging and scan.frame:
        belonging = [item for item in objects if scan.frame in item.frames]
    if not belonging:
        raise InputError(
            paths[0],
            f"holds {len(objects)} objects of the kind {kind.name}, and none refers to the scan",
            "keep the one that belongs to it",
        )
    return belonging


def _object(scan: Scan, path: Path, tags: Sequence[str]) -> DicomObject:
    header = dicom.load(path, [*_REFERENCES, *tags])
    with dicom.as_input_errors(path):
        series = {str(item.get("SeriesInstanceUID", "")) for item in _series(header)}
        frames = {str(header.get("FrameOfReferenceUID", ""))}
        frames |= {
            str(item.get("FrameOfReferenceUID", ""))
            for item in header.get("ReferencedFrameOfReferenceSequence") or ()
        }
        secrets = (str(header.get("PatientName", "")), str(header.get("PatientID", "")))
    resolved = bool(scan.series) and scan.series in series
    return DicomObject(path, header, resolved, frozenset(frames - {""}), secrets)


def _series(header: Dataset) -> Iterator[Dataset]:
    yield from header.get("ReferencedSeriesSequence") or ()
    for frame in header.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            yield from study.get("RTReferencedSeriesSequence") or ()
