"""Read the slices out of a DICOM image's header: one a file, or one a frame."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from converters.core.errors import InputError
from converters.imaging.dicom.geometry import Slice


def slices_of(path: Path, header: Dataset) -> list[Slice]:
    """List the slices of an image: one for an ordinary file, one a frame for an enhanced one.

    Raises:
        InputError: it is no picture of HU with a place in the patient.
    """
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise InputError(
            path, "holds a colour picture, not a scan", "take it out of the folder of the series"
        )
    if "ModalityLUTSequence" in header:
        raise InputError(
            path,
            "maps its values by a table instead of slope and intercept",
            "export the series with RescaleSlope and RescaleIntercept, or as NIfTI",
        )
    if "PerFrameFunctionalGroupsSequence" not in header:
        if int(header.get("NumberOfFrames") or 1) != 1:
            raise InputError(
                path,
                "holds several frames without the geometry of each",
                "convert it to single-frame DICOM or NIfTI",
            )
        return [_slice(path, header, 0, (header,))]
    shared = _first(header, "SharedFunctionalGroupsSequence")
    frames = header.PerFrameFunctionalGroupsSequence
    if len(frames) != int(header.get("NumberOfFrames") or 1):
        raise InputError(
            path,
            "states another number of frames than it describes",
            "convert it to single-frame DICOM or NIfTI",
        )
    groups = (
        "PlanePositionSequence",
        "PlaneOrientationSequence",
        "PixelMeasuresSequence",
        "PixelValueTransformationSequence",
    )
    result = []
    for index, frame in enumerate(frames):
        sources = [_first(place, group) for place in (frame, shared) for group in groups]
        result.append(_slice(path, header, index, tuple(sources)))
    return result


def _first(holder: Dataset, keyword: str) -> Dataset:
    sequence = holder.get(keyword)
    return sequence[0] if sequence else Dataset()


def _slice(path: Path, header: Dataset, frame: int, sources: tuple[Dataset, ...]) -> Slice:
    def numbers(keyword: str, count: int, default: list[float] | None = None) -> list[float]:
        value: Any = next((s[keyword].value for s in sources if s.get(keyword) is not None), None)
        if value is None or value == "":
            if default is not None:
                return default
            raise InputError(
                path,
                f"lacks {keyword}, without which a slice has no place in the patient",
                "give an original image series, not screenshots or secondary captures",
            )
        parsed = [float(number) for number in (value if count > 1 else [value])]
        if len(parsed) != count or not np.isfinite(parsed).all():
            raise InputError(path, f"has an impossible {keyword}", "export the series again")
        return parsed

    slope = numbers("RescaleSlope", 1, [1.0])[0]
    spacing = numbers("PixelSpacing", 2)
    if slope == 0 or min(spacing) <= 0:
        raise InputError(path, "has a RescaleSlope or PixelSpacing of 0", "export the series again")
    return Slice(
        path=path,
        frame=frame,
        shape=(int(header.Rows), int(header.Columns)),
        position=_vector(numbers("ImagePositionPatient", 3)),
        orientation=_vector(numbers("ImageOrientationPatient", 6)),
        spacing=_vector(spacing),
        thickness=numbers("SliceThickness", 1, [0.0])[0],
        slope=slope,
        intercept=numbers("RescaleIntercept", 1, [0.0])[0],
    )


def _vector(numbers: list[float]) -> NDArray[np.float64]:
    return np.array(numbers, dtype=np.float64)
