"""What a folder of DICOM files holds, series by series, and which of them are scans.

Hospitals export a study as it is: localizers, reformats, projections, screen captures, dose reports
and the results of other programs beside the scan, often in one folder. As in all of our DICOM
reading no tag that says who the patient is gets read, and no UID is ever shown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from converters.imaging.dicom.series import (
    candidates,
    is_image,
    modality_code,
    plain_errors,
    read_header,
    sop_class,
)

FEWEST_SLICES = 3
"""Fewer are a localizer, a test of the contrast bolus or a lone picture, hardly ever a scan."""

AXIAL_COSINE = 0.7
"""Of the angle (45 degrees) between a stack's normal and the patient's long axis."""

_DIRECTORY = "1.2.840.10008.1.3.10"  # DICOMDIR: a table of contents
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame kinds below it
_PROJECTIONS = {  # of the later values of ImageType (PS3.3, C.8.15.3.1.4 and what vendors write)
    "MAXIMUM", "MINIMUM", "MIP", "MAX_IP", "MINIP", "MIN_IP", "PROJECTION IMAGE", "SSD", "VOLREN",
    "VOLUME RENDERING", "VRT",
}  # fmt: skip
_CAPTURES = {"DOSE_INFO", "REPORT", "SCREEN SAVE", "SCREEN_SAVE", "SCREENSHOT"}


@dataclass(frozen=True)
class SeriesOutline:
    """One series, or the objects without pictures of one.

    Attributes:
        folder: that it lies in.
        series: its UID, never to be shown.
        first: its first file.
        files, slices: how many; slices are 0 where it has no pictures.
        modality: DICOM's code.
        refused: why it is no scan of that modality, else empty.
        doubted: why it is hardly the scan that is meant, but can be read as one, else empty.
    """

    folder: Path
    series: str
    first: Path
    files: int
    slices: int
    modality: str
    refused: str
    doubted: str


def outline(folder: Path, modality: str) -> list[SeriesOutline]:
    """Sort the DICOM files directly in a folder into series, in the order of their first files.

    Args:
        folder: not searched below its first level.
        modality: of the scans that are wanted; a file that states none may be of it.

    Raises:
        InputError: a file that ought to be DICOM is none, or its header is damaged.
    """
    members: dict[tuple[str, bool], list[tuple[Path, Dataset]]] = {}
    for path in candidates(folder, strict=True):
        header = read_header(path)
        if header is None or sop_class(header) == _DIRECTORY:
            continue
        with plain_errors(path):
            key = str(header.get("SeriesInstanceUID", "")), is_image(path, header)
            members.setdefault(key, []).append((path, header))
    return [
        _outline(folder, series, pictured, own, modality)
        for (series, pictured), own in members.items()
    ]


def _outline(
    folder: Path,
    series: str,
    pictured: bool,
    own: list[tuple[Path, Dataset]],
    modality: str,
) -> SeriesOutline:
    headers = [header for _, header in own]
    code = modality_code(headers[0])
    with plain_errors(own[0][0]):
        slices = sum(int(h.get("NumberOfFrames") or 1) for h in headers) if pictured else 0
        refused = _refusal(headers, modality) if pictured else _name_of(headers[0])
        doubted = "" if refused else _doubt(headers, slices, modality)
    return SeriesOutline(folder, series, own[0][0], len(own), slices, code, refused, doubted)


def _name_of(header: Dataset) -> str:
    """Say what an object without pictures is, in the standard's own words and none of the file."""
    kind = UID(sop_class(header))
    name = kind.name.removesuffix(" Storage") if kind.is_private is False else ""
    return f"is no scan ({name})" if name and name != kind else "is no scan"


def _refusal(headers: Sequence[Dataset], modality: str) -> str:
    kind, code = sop_class(headers[0]), modality_code(headers[0])
    if kind == _SECONDARY_CAPTURE or kind.startswith(f"{_SECONDARY_CAPTURE}."):
        return "is a secondary capture (a picture of a screen or of paper)"
    if code not in ("", modality):
        return f"is {code}, not {modality}"
    # of a series that holds other slices too, reading it will say what does not fit
    common = set.intersection(*(set(_image_type(header)) for header in headers))
    if "LOCALIZER" in common:
        return "is a localizer (scout), no stack of slices"
    if common & _CAPTURES:
        return "is a picture of a screen or a report"
    if common & _PROJECTIONS:
        return "shows projections (MIP or rendering), no slices"
    return ""


def _doubt(headers: Sequence[Dataset], slices: int, modality: str) -> str:
    if modality == "CT" and not any(map(_is_axial, headers)):
        return "is a reformat in another plane than axial"
    if all(_image_type(header)[:2] == ["DERIVED", "SECONDARY"] for header in headers):
        return "was derived from another series (ImageType DERIVED, SECONDARY)"
    if slices < FEWEST_SLICES:
        return f"has only {slices} slice{'s' if slices != 1 else ''}"
    return ""


def _image_type(header: Dataset) -> list[str]:
    value = header.get("ImageType") or []
    several: Iterable[str] = [value] if isinstance(value, str) else value
    return [str(one).strip().upper() for one in several]


def _is_axial(header: Dataset) -> bool:
    """Whether the slices lie across the patient; where the header does not say, they may."""
    said = header.get("ImageOrientationPatient")
    if said is None or len(said) != 6:
        return True
    normal = np.cross(*np.array(said, dtype=np.float64).reshape(2, 3))
    length = float(np.linalg.norm(normal))
    return not length or abs(float(normal[2])) / length >= AXIAL_COSINE
