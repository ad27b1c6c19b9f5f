"""Place the slices of a DICOM series, and check that they make an even stack."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.core.errors import InputError
from converters.imaging.orientation import SHEAR_TOLERANCE

POSITION_TOLERANCE_MM = 0.1
"""How far a slice may lie from its place in a perfectly even, straight stack.

Old scanners round positions to 0.1 mm, which moves a slice by half of that.
"""

DUPLICATE_TOLERANCE_MM = 0.01
"""Slices closer than this are two pictures of the same place."""

MISSING_FACTOR = 1.5
"""A step longer than this many usual (median) steps means that slices are missing."""

ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of a direction cosine between slices of one stack."""

UNIT_TOLERANCE = 1e-2
"""How far a direction vector's length may be from 1, for headers with two or three digits."""

PIXEL_SPACING_TOLERANCE = 1e-3
"""Largest relative difference of the pixel spacing between slices of one stack."""

LONE_SLICE_MM = 1.0
"""Thickness given to a series of one slice that states none."""

_SHOWN = 3  # gaps listed in one message


@dataclass(frozen=True)
class Slice:
    """Describe one frame: the place of its pixels, its position, and its rescaling.

    Attributes:
        path: the file.
        frame: index within the file; 0 for a single-frame file.
        shape: (rows, columns).
        position: ``(3,)`` LPS mm of the centre of the first pixel.
        orientation: ``(6,)`` direction of increasing column, then of increasing row.
        spacing: ``(2,)`` mm between rows, then between columns (DICOM's order).
        thickness: mm, or 0 where not stated.
        slope: value = slope * stored + intercept.
        intercept: see ``slope``.
    """

    path: Path
    frame: int
    shape: tuple[int, int]
    position: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing: NDArray[np.float64]
    thickness: float
    slope: float
    intercept: float


# the fields of `Slice`, in their order
_KEYS = ("frame", "shape", "position", "orientation", "spacing", "thickness", "slope", "intercept")
_TYPES = ("i4", "2i4", "3f8", "6f8", "2f8", "f8", "f8", "f8")
_ROW = np.dtype([("file", "i4"), *zip(_KEYS, _TYPES, strict=True)])


@dataclass(frozen=True)
class DicomSeries:
    """Hold what the headers of one image series say, without pixels: about 200 bytes a slice.

    Its headers are read once, by `series.open_series` or `study.outline`. It can be sent to another
    process.

    Attributes:
        folder: holds the files.
        uid: of the series, or ``""``; never to be shown.
        frame_uid: of its frame of reference, or ``""``; never to be shown.
        modality: DICOM's code, or ``""``.
        body_part: DICOM's term of what was examined, or ``""``.
        names: of the files that hold its slices, sorted.
        table: ``(slices,)``, the fields of each `Slice`, with the index of its file in ``names``.
        alone: no other image series lies in the folder.
        fault: what is wrong with a header; it is raised when files or slices are asked for.
    """

    folder: Path
    uid: str = field(repr=False)
    frame_uid: str = field(repr=False, compare=False)
    modality: str = field(compare=False)
    body_part: str = field(compare=False)
    names: tuple[str, ...] = field(default=(), repr=False, compare=False)
    table: NDArray[np.void] = field(
        default_factory=lambda: np.empty(0, _ROW), repr=False, compare=False
    )
    alone: bool = field(default=True, compare=False)
    fault: InputError | None = field(default=None, compare=False)

    @property
    def files(self) -> list[Path]:
        """Return the paths of the files, sorted.

        Raises:
            InputError: the `fault`.
        """
        if self.fault:
            raise self.fault
        return [self.folder / name for name in self.names]

    def ordered(self) -> tuple[list[Slice], NDArray[np.float64]]:
        """Sort the slices along their normal, and return them with the affine.

        Raises:
            InputError: the `fault`, or the slices are no even stack.
        """
        files = self.files
        slices = [
            Slice(
                files[row["file"]],
                int(row["frame"]),
                (int(row["shape"][0]), int(row["shape"][1])),
                row["position"],
                row["orientation"],
                row["spacing"],
                float(row["thickness"]),
                float(row["slope"]),
                float(row["intercept"]),
            )
            for row in self.table
        ]
        return series_geometry(self.folder, slices)

    def with_slices(self, slices: Sequence[Slice]) -> "DicomSeries":
        """Return the series with these slices of its folder."""
        names = sorted({item.path.name for item in slices})
        index = {name: i for i, name in enumerate(names)}
        rows = [(index[item.path.name], *(getattr(item, key) for key in _KEYS)) for item in slices]
        return replace(self, names=tuple(names), table=np.array(rows, dtype=_ROW))


def series_geometry(folder: Path, slices: list[Slice]) -> tuple[list[Slice], NDArray[np.float64]]:
    """Sort slices along their normal, and return them with the affine of the series.

    The affine ``(4, 4)`` maps (column, row, rank of the slice, 1) to patient mm (LPS).

    Raises:
        InputError: the slices differ in size, spacing or orientation, or do not make an even,
            straight, complete stack.
    """
    _check_alike(folder, slices)
    first = slices[0]
    across, down = (_unit(first, part) for part in (first.orientation[:3], first.orientation[3:]))
    normal = _unit(first, np.cross(across, down))

    ordered = sorted(slices, key=lambda item: float(item.position @ normal))
    if len(ordered) == 1:
        step = normal * (first.thickness if first.thickness > 0 else LONE_SLICE_MM)
    else:
        step = _step(folder, np.array([item.position for item in ordered]), normal)
    affine = np.eye(4)
    affine[:3, 0] = across * first.spacing[1]
    affine[:3, 1] = down * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = ordered[0].position
    return ordered, affine


def _unit(item: Slice, vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    if abs(length - 1) > UNIT_TOLERANCE:
        raise InputError(
            item.path,
            "has an ImageOrientationPatient that is not two unit vectors at a right angle",
            "export the series again",
        )
    return vector / length


def _check_alike(folder: Path, slices: list[Slice]) -> None:
    first = slices[0]
    remedy = "put each stack into a folder of its own, without localizers"
    for item in slices[1:]:
        if item.shape != first.shape:
            problem = (
                f"mixes slices of different sizes ({first.shape[1]} x {first.shape[0]} and "
                f"{item.shape[1]} x {item.shape[0]} pixels)"
            )
        elif np.abs(item.orientation - first.orientation).max() > ORIENTATION_TOLERANCE:
            problem = "mixes slices of different orientations"
        elif np.abs(item.spacing / first.spacing - 1).max() > PIXEL_SPACING_TOLERANCE:
            problem = (
                f"mixes slices of different pixel spacings ({first.spacing[0]:g} and "
                f"{item.spacing[0]:g} mm)"
            )
        else:
            continue
        raise InputError(folder, f"{problem}, first in {item.path.name!r}", remedy)


def _step(
    folder: Path, positions: NDArray[np.float64], normal: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the vector from one slice to the next; the stack must be even and straight."""
    depths = positions @ normal
    gaps = np.diff(depths)
    _check_duplicates(folder, gaps)
    _check_gaps(folder, depths, gaps)

    ranks = np.arange(len(positions))[:, None]
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    sideways = float(np.linalg.norm(step - (step @ normal) * normal))
    if sideways > SHEAR_TOLERANCE * float(np.linalg.norm(step)):
        degrees = float(np.degrees(np.arctan2(sideways, step @ normal)))
        raise InputError(
            folder,
            f"is sheared: its slices are stacked {degrees:.2f} degrees off their normal "
            "(a tilted gantry)",
            "correct the gantry tilt by resampling, for example with dcm2niix, and give the result",
        )
    strays = np.linalg.norm(positions - positions[0] - ranks * step, axis=1)
    if strays.max() > POSITION_TOLERANCE_MM:
        raise InputError(
            folder,
            f"has unevenly spaced slices (steps from {gaps.min():g} to {gaps.max():g} mm, up to "
            f"{strays.max():.2g} mm off an even stack, tolerance {POSITION_TOLERANCE_MM:g} mm)",
            "give a series reconstructed at one spacing, or resample it",
        )
    return np.asarray(step)


def _check_duplicates(folder: Path, gaps: NDArray[np.float64]) -> None:
    twice = int((gaps < DUPLICATE_TOLERANCE_MM).sum())
    if twice:
        raise InputError(
            folder,
            f"holds {twice} duplicate slices: of {len(gaps) + 1}, only {len(gaps) + 1 - twice} lie "
            "at different positions",
            "remove the copies, or split phases or echoes into a folder each",
        )


def _check_gaps(folder: Path, depths: NDArray[np.float64], gaps: NDArray[np.float64]) -> None:
    usual = float(np.median(gaps))
    wide = np.flatnonzero(gaps > MISSING_FACTOR * usual)
    if not len(wide):
        return
    missing = int(np.rint(gaps[wide] / usual - 1).clip(min=1).sum())
    places = ", ".join(f"{depths[at]:g} and {depths[at + 1]:g}" for at in wide[:_SHOWN])
    more = f" and {len(wide) - _SHOWN} more gaps" if len(wide) > _SHOWN else ""
    raise InputError(
        folder,
        f"misses {missing} slices: usually {usual:g} mm apart, but nothing between {places} mm "
        f"along the normal{more}",
        "copy or export the whole series again",
    )
