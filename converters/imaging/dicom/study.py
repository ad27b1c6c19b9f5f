"""Sort a folder of DICOM files into series, and judge which of them are scans.

Hospitals export a study as it is: localizers, reformats, projections, screen captures, dose reports
and the results of other programs beside the scan, often in one folder. As in all of our DICOM
reading no tag that says who the patient is gets read, and no UID is ever shown.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from converters.core.errors import InputError
from converters.imaging.dicom.frames import slices_of
from converters.imaging.dicom.geometry import DicomSeries, Slice
from converters.imaging.dicom.series import (
    as_input_errors,
    candidates,
    describe_series,
    is_image,
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
    """Describe one series, or the objects without pictures of one.

    Attributes:
        series: its headers; without slices where it has no pictures.
        first: its first file.
        files, slices: how many; slices are 0 where it has no pictures.
        refused: why it is no scan of that modality, else empty.
        doubted: why it is hardly the scan that is meant, but can be read as one, else empty.
    """

    series: DicomSeries
    first: Path
    files: int
    slices: int
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
    members: dict[tuple[str, bool], _Members] = {}
    for path in candidates(folder, strict=True):
        header = read_header(path)
        if header is None or sop_class(header) == _DIRECTORY:
            continue
        with as_input_errors(path):
            series, pictured = describe_series(folder, header), is_image(path, header)
            key = series.uid, pictured
            if key not in members:
                members[key] = _Members(series, path, sop_class(header), pictured)
            members[key].add(path, header)
    alone = sum(pictured for _, pictured in members) == 1
    return [item.outline(modality, alone) for item in members.values()]


@dataclass
class _Members:
    """Gather the objects of one series while the files of a folder are gone through.

    Attributes:
        series: still without slices.
        first: path of the first file.
        kind: SOP class UID of the first.
        pictured: whether they are pictures.
        files, frames: how many.
        slices: of all pictures, unless there is a fault.
        fault: why a header gives no slice.
        common: values of ImageType that all pictures have.
        derived: every picture is derived from another series.
        axial: some picture may lie across the patient.
    """

    series: DicomSeries
    first: Path
    kind: str
    pictured: bool
    files: int = 0
    frames: int = 0
    slices: list[Slice] = field(default_factory=list)
    fault: InputError | None = None
    common: set[str] | None = None
    derived: bool = True
    axial: bool = False

    def add(self, path: Path, header: Dataset) -> None:
        self.files += 1
        if not self.pictured:
            return
        self.frames += int(header.get("NumberOfFrames") or 1)
        values: list[str] = []
        axial = True
        try:
            with as_input_errors(path):
                values, axial = _image_type(header), _is_axial(header)
                self.slices += slices_of(path, header)
        except InputError as error:  # whoever reads the series is to hear of it
            self.fault = self.fault or error
        self.common = set(values) if self.common is None else self.common & set(values)
        self.derived &= values[:2] == ["DERIVED", "SECONDARY"]
        self.axial |= axial

    def outline(self, modality: str, alone: bool) -> SeriesOutline:
        refused = self._refusal(modality) if self.pictured else _name_of(self.kind)
        doubted = "" if refused else self._doubt(modality)
        series = replace(self.series.with_slices(self.slices), alone=alone, fault=self.fault)
        return SeriesOutline(series, self.first, self.files, self.frames, refused, doubted)

    def _refusal(self, modality: str) -> str:
        code, common = self.series.modality, self.common or set()
        if self.kind == _SECONDARY_CAPTURE or self.kind.startswith(f"{_SECONDARY_CAPTURE}."):
            return "is a secondary capture (a picture of a screen or of paper)"
        if code not in ("", modality):
            return f"is {code}, not {modality}"
        # of a series that holds other slices too, reading it will say what does not fit
        if "LOCALIZER" in common:
            return "is a localizer (scout), no stack of slices"
        if common & _CAPTURES:
            return "is a picture of a screen or a report"
        if common & _PROJECTIONS:
            return "shows projections (MIP or rendering), no slices"
        return ""

    def _doubt(self, modality: str) -> str:
        if modality == "CT" and not self.axial:
            return "is a reformat in another plane than axial"
        if self.derived:
            return "was derived from another series (ImageType DERIVED, SECONDARY)"
        if self.frames < FEWEST_SLICES:
            return f"has only {self.frames} slice{'s' if self.frames != 1 else ''}"
        return ""


def _name_of(kind: str) -> str:
    """Name an object without pictures in the words of the standard, and none of the file."""
    uid = UID(kind)
    name = uid.name.removesuffix(" Storage") if uid.is_private is False else ""
    return f"is no scan ({name})" if name and name != uid else "is no scan"


def _image_type(header: Dataset) -> list[str]:
    value = header.get("ImageType") or []
    several: Iterable[str] = [value] if isinstance(value, str) else value
    return [str(part).strip().upper() for part in several]


def _is_axial(header: Dataset) -> bool:
    """Check whether the slices lie across the patient; unstated, they may."""
    cosines = header.get("ImageOrientationPatient")
    if cosines is None or len(cosines) != 6:
        return True
    normal = np.cross(*np.array(cosines, dtype=np.float64).reshape(2, 3))
    length = float(np.linalg.norm(normal))
    return not length or abs(float(normal[2])) / length >= AXIAL_COSINE
