"""Read a folder with one DICOM image series.

Only the tags listed here are ever read, none of which says who the patient is, and no error repeats
a value of a text tag or a UID. pydicom's own warnings and messages may hold both, so neither is let
through.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from converters.core.errors import InputError
from converters.imaging.dicom.body_parts import body_part_code
from converters.imaging.dicom.frames import slices_of
from converters.imaging.dicom.geometry import DicomSeries, Slice
from converters.imaging.dicom.pixels import check_size, read_pixels
from converters.imaging.dicom.quiet import quiet
from converters.imaging.raw import COPY_AGAIN, open_file, unreadable
from converters.imaging.stored import Stored

_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "ImageType",
    "BodyPartExamined",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
_DERIVED = {  # objects with pixels, or frames of them, that are not slices of a scan
    "1.2.840.10008.5.1.4.1.1.66.4",  # segmentation
    "1.2.840.10008.5.1.4.1.1.66.7",  # label map segmentation
    "1.2.840.10008.5.1.4.1.1.481.2",  # radiotherapy dose
}
_DICOM_NAMES = ("", ".dcm", ".dicom", ".ima")


def read(series: DicomSeries) -> Stored:
    """Read the pixels of a series.

    Raises:
        InputError: it is incomplete, damaged or not an even stack of equal slices.
    """
    slices, affine = series.ordered()
    voxels = read_pixels(series.folder, slices)
    return Stored(voxels, affine, modality=series.modality, body_part=series.body_part)


def read_grid(series: DicomSeries) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return the shape (slices, rows, columns) of a series and its affine.

    The affine ``(4, 4)`` maps (column, row, rank of the slice, 1) to patient mm (LPS).

    Raises:
        InputError: as ``read``, but for what is wrong with pixels.
    """
    slices, affine = series.ordered()
    shape = (len(slices), *slices[0].shape)
    check_size(series.folder, slices, shape)
    return shape, affine


def find_objects(path: Path, classes: Collection[str]) -> list[Path]:
    """List the files of some SOP classes: ``path`` itself, or those directly in it, sorted.

    Raises:
        InputError: it cannot be read, or is one file that is no DICOM.
    """
    if path.is_dir():
        paths = list(candidates(path, strict=False))
    elif is_dicom(path):
        paths = [path]
    else:
        raise InputError(path, "is not a DICOM file, or is cut short", COPY_AGAIN)
    headers = ((path, read_header(path)) for path in paths)
    return [path for path, header in headers if header is not None and sop_class(header) in classes]


def load(path: Path, tags: list[str]) -> Dataset:
    """Read some tags of a DICOM file, without any message of pydicom's.

    Raises:
        InputError: it is no DICOM file, or damaged.
    """
    with as_input_errors(path):
        return dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(tags))


def holds_dicom(folder: Path) -> bool:
    """Check whether any file directly in ``folder`` is DICOM, or is named so and is damaged."""
    try:
        for path in candidates(folder, strict=False):
            if read_header(path) is not None:
                return True
        next(candidates(folder, strict=True), None)
    except InputError as error:
        return Path(error.path).suffix.lower() in _DICOM_NAMES[1:]
    return False


def holds_images(folder: Path) -> bool:
    """Check whether any file directly in ``folder`` is a DICOM image."""
    return modality(folder) is not None


def modality(folder: Path) -> str | None:
    """Return the modality of the first DICOM image directly in ``folder``, or None."""
    for path in candidates(folder, strict=False):
        try:
            header = read_header(path)
            with as_input_errors(path):
                if header is not None and is_image(path, header):
                    return modality_code(header)
        except InputError:  # a damaged image is an image: reading it will say what is wrong
            return ""
    return None


def is_dicom(path: Path) -> bool:
    """Check whether a file begins as DICOM does, with a preamble or without."""
    with open_file(path) as stream:
        head = stream.read(132)
    # without a preamble a file starts with group 0002 or 0008, little endian
    return head[128:] == b"DICM" or (
        len(head) == 132 and head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00"
    )


def open_series(folder: Path) -> DicomSeries:
    """Read the headers of the one image series in ``folder``; other objects are ignored.

    Args:
        folder: not searched below its first level.

    Raises:
        InputError: there is no image series or more than one, or a header is damaged.
    """
    slices_by_uid: dict[str, tuple[DicomSeries, list[Slice]]] = {}
    others = 0
    for path in candidates(folder, strict=True):
        header = read_header(path)
        if header is None:
            continue
        with as_input_errors(path):
            if not is_image(path, header):
                others += 1
                continue
            series = describe_series(folder, header)
            slices_by_uid.setdefault(series.uid, (series, []))[1].extend(slices_of(path, header))
    if not slices_by_uid:
        hint = f" but {others} other DICOM objects (such as RTSTRUCT or SEG)" if others else ""
        raise InputError(
            folder, f"holds no DICOM images{hint}", "give the folder that holds the slices"
        )
    if len(slices_by_uid) > 1:
        counts = sorted(
            ((len(slices), series.modality) for series, slices in slices_by_uid.values()),
            reverse=True,
        )
        listed = ", ".join(f"{count} {modality or 'unnamed'}" for count, modality in counts)
        raise InputError(
            folder,
            f"mixes {len(slices_by_uid)} image series (slices: {listed})",
            "put each series into a folder of its own and give that",
        )
    ((series, slices),) = slices_by_uid.values()
    return series.with_slices(slices)


def describe_series(folder: Path, header: Dataset) -> DicomSeries:
    """Return the series that an object belongs to, still without slices."""
    return DicomSeries(
        folder,
        uid=str(header.get("SeriesInstanceUID", "")),
        frame_uid=str(header.get("FrameOfReferenceUID", "")),
        modality=modality_code(header),
        body_part=body_part_code(str(header.get("BodyPartExamined", ""))),
    )


def candidates(folder: Path, strict: bool) -> Iterator[Path]:
    """List the regular files of ``folder`` that begin as DICOM does, sorted by name.

    Args:
        folder: not searched below its first level.
        strict: refuse files that ought to be DICOM and are not; else pass over them.
    """
    try:
        with os.scandir(folder) as entries:
            paths = sorted(Path(entry.path) for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise unreadable(folder, error) from error
    home = folder.resolve()
    for path in paths:
        if not path.is_file():
            if path.is_symlink() and strict and not path.exists():
                raise InputError(path, "is a link to a file that is missing", COPY_AGAIN)
            continue
        if path.is_symlink() and path.resolve().parent != home:
            if strict:
                raise InputError(
                    path, "is a link that leaves the folder", "put the file itself there"
                )
            continue
        named_so = path.suffix.lower() in _DICOM_NAMES or path.suffix[1:].isdigit()
        try:
            if is_dicom(path):
                yield path
            elif strict and path.suffix.lower() in _DICOM_NAMES[1:]:
                raise InputError(path, "is not a DICOM file, or is cut short", COPY_AGAIN)
        except InputError:
            if strict and named_so:  # an empty or unreadable slice must not go missing silently
                raise


@contextmanager
def as_input_errors(path: Path) -> Iterator[None]:
    """Turn whatever pydicom raises into an ``InputError`` that repeats none of its text."""
    try:
        with quiet():
            yield
    except InputError:
        raise
    except OSError as error:
        raise unreadable(path, error) from None
    except Exception:  # pydicom raises many kinds on a damaged file
        raise InputError(path, "has a damaged DICOM header", COPY_AGAIN) from None


def read_header(path: Path) -> Dataset | None:
    """Read the tags that geometry and pixels need; return None for a file that is not DICOM.

    Raises:
        InputError: it is damaged.
    """
    with as_input_errors(path):
        try:
            return dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        except InvalidDicomError:
            pass
        try:
            header = dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(_TAGS))
        except Exception:  # force makes sense of nothing: a text file, an archive
            return None
        return header if sop_class(header) else None


def sop_class(header: Dataset) -> str:
    """Return the SOP class UID of an object, or ``""``."""
    meta = getattr(header, "file_meta", Dataset())
    return str(header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")


def modality_code(header: Dataset) -> str:
    """Return the modality if it is a code of up to four capitals, else ``""``.

    Free text could name somebody.
    """
    code = str(header.get("Modality") or "")
    return code if len(code) <= 4 and code.isascii() and code.isupper() and code.isalpha() else ""


def is_image(path: Path, header: Dataset) -> bool:
    """Check whether an object is made of pictures of the patient.

    Raises:
        InputError: it is one that was cut short within its header.
    """
    kind = sop_class(header)
    if kind in _DERIVED or modality_code(header) in ("SEG", "RTDOSE"):
        return False
    if "Rows" in header and "Columns" in header:
        return True
    # an image cut short within its header must not pass for an object without pixels
    nameless = not kind and modality_code(header) in ("", "CT", "MR", "PT")
    if nameless or "Image Storage" in UID(kind).name:
        raise InputError(path, "lacks image dimensions, perhaps cut short", COPY_AGAIN)
    return False
