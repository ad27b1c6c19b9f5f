"""Read DICOM SEG: binary, fractional and label map segmentations, placed by their geometry.

Read with pydicom alone: nothing is needed but the pixels and the places of frames. The tests hold
it against highdicom.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from converters.core.errors import InputError
from converters.imaging.dicom.geometry import DUPLICATE_TOLERANCE_MM
from converters.imaging.dicom.pixels import MAX_COMPRESSION, read_frames
from converters.imaging.dicom.series import as_input_errors
from converters.imaging.orientation import canonical
from converters.imaging.raw import COPY_AGAIN
from converters.imaging.read import GRID_TOLERANCE_MM
from converters.imaging.resample import nearest
from converters.imaging.volume import Volume
from converters.masks.class_masks import ClassMasks
from converters.masks.dicom_objects import DicomObject, Kind, Scan, objects_of
from converters.recipes.name_rules import Names, listed
from converters.recipes.recipe import Recipe

KIND = Kind(
    name="DICOM SEG",
    classes=frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}),
    tags=(
        "Rows",
        "Columns",
        "NumberOfFrames",
        "BitsAllocated",
        "SegmentationType",
        "MaximumFractionalValue",
        "SegmentSequence",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
    ),
)
THRESHOLD = 0.5
"""Share of MaximumFractionalValue from which on a pixel of a fractional segment is inside."""

_EVEN = 0.1  # steps by which a frame may lie off an even stack
_MOST_STEPS = 10_000  # in a stack of frames with gaps


@dataclass(frozen=True)
class _Frame:
    """Describe one frame: its segment (0 in a label map) and its place.

    Attributes:
        index: within the file.
        segment: number.
        affine: ``(4, 4)``, pixel (column, row, 0, 1) to patient mm; the third axis is the unit
            normal.
        step: mm to the next, as stated, or 0.
    """

    index: int
    segment: int
    affine: NDArray[np.float64]
    step: float


@dataclass(frozen=True)
class _Segmentation:
    item: DicomObject
    roles: dict[int, int]  # segment number → class index or ORGAN
    frames: list[_Frame]
    shape: tuple[int, int]
    limit: float  # a fractional pixel is inside from here on; 0 for other types
    label_map: bool

    def pixels(self) -> Iterator[tuple[_Frame, int, NDArray[np.bool_]]]:
        """Yield frame, role and ``(rows, columns)`` pixels inside, one frame at a time."""
        values = read_frames(self.item.path, [frame.index for frame in self.frames])
        for frame, value in zip(self.frames, values, strict=True):
            if value.shape != self.shape:
                raise InputError(self.item.path, "has frames of another size", COPY_AGAIN)
            if not self.label_map:
                inside = value >= self.limit if self.limit else value != 0  # type: ignore[operator]
                yield frame, self.roles[frame.segment], np.asarray(inside)
                continue
            for role in sorted(set(self.roles.values())):
                numbers = [number for number, assigned in self.roles.items() if assigned == role]
                yield frame, role, np.isin(value, numbers)


def read(recipe: Recipe, scan: Scan, paths: Sequence[Path], resample: bool) -> ClassMasks:
    """Read the segments that a recipe names.

    Args:
        recipe: names the segments, by label or by the meaning of the code of their type.
        scan: the grid to put them on.
        paths: SEG files, or folders that hold some.
        resample: allow frames that are not on the scan's grid.

    Raises:
        InputError: no such segment, another frame of reference, frames that are not on the grid or
            outside the scan, or a damaged file.
    """
    objects = objects_of(scan, paths, KIND)
    masks = ClassMasks(scan.grid, [item.path for item in objects])
    names = Names(recipe)
    seen: list[str] = []
    matched = False
    for item in objects:
        if scan.frame and item.frames and scan.frame not in item.frames:
            raise InputError(
                item.path,
                "is in another frame of reference than the scan",
                "give the segmentation of this scan",
            )
        with as_input_errors(item.path):
            segmentation = _segmentation(item, names, seen)
        matched = matched or bool(segmentation.roles)
        affines = np.array([frame.affine for frame in segmentation.frames])
        if all(_on_grid(affine, segmentation.shape, scan.grid) for affine in affines):
            for frame, role, inside in segmentation.pixels():
                _place(masks.of(role), scan.grid, frame, inside, item.path)
        elif resample:
            _resample(masks, segmentation)
        else:
            raise InputError(
                item.path,
                f"is not on the grid of {scan.path}",
                "resample it onto the scan's grid by nearest neighbour: --resample-mask",
            )
        for role in segmentation.roles.values():
            masks.of(role)
    if not matched:
        secrets = [secret for item in objects for secret in item.secrets]
        raise InputError(
            objects[0].path,
            f"holds no segment that recipe `{recipe.name}` names; there are "
            f"{listed(recipe, seen, secrets)}",
            "correct the names under classes in the recipe",
        )
    return masks


def _segmentation(item: DicomObject, names: Names, seen: list[str]) -> _Segmentation:
    header = item.header
    kind = str(header.SegmentationType)
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise InputError(item.path, "is of an unknown SegmentationType", "export it as BINARY")
    label_map = kind == "LABELMAP"
    roles: dict[int, int] = {}
    for segment in header.SegmentSequence:
        number = int(segment.SegmentNumber)
        if label_map and number == 0:  # the standard keeps it for the background
            continue
        label = str(segment.get("SegmentLabel", ""))
        types = segment.get("SegmentedPropertyTypeCodeSequence") or ()
        seen.append(label)
        role = names.role(label, *(str(code.get("CodeMeaning", "")) for code in types))
        if role is not None:
            roles[number] = role
    count = int(header.get("NumberOfFrames") or 1)
    groups = header.PerFrameFunctionalGroupsSequence
    shape = (int(header.Rows), int(header.Columns))
    pixels = count * shape[0] * shape[1]
    if len(groups) != count or pixels > item.path.stat().st_size * MAX_COMPRESSION or not pixels:
        raise InputError(item.path, "states another number of frames than it holds", COPY_AGAIN)
    shared = _first(header, "SharedFunctionalGroupsSequence")
    frames = [_frame(item.path, k, group, shared, label_map) for k, group in enumerate(groups)]
    wanted = [frame for frame in frames if roles and (label_map or frame.segment in roles)]
    limit = THRESHOLD * float(header.MaximumFractionalValue) if kind == "FRACTIONAL" else 0.0
    return _Segmentation(item, roles, wanted, shape, limit, label_map)


def _frame(path: Path, index: int, group: Dataset, shared: Dataset, label_map: bool) -> _Frame:
    def holder(sequence: str) -> Dataset:
        return _first(group, sequence) or _first(shared, sequence)

    measures = holder("PixelMeasuresSequence")
    position = np.array(holder("PlanePositionSequence").ImagePositionPatient, np.float64)
    turned = np.array(holder("PlaneOrientationSequence").ImageOrientationPatient, np.float64)
    spacing = np.array(measures.PixelSpacing, np.float64)  # between rows, then between columns
    segment = holder("SegmentIdentificationSequence")
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = turned[:3] * spacing[1], turned[3:] * spacing[0]
    affine[:3, 2], affine[:3, 3] = np.cross(turned[:3], turned[3:]), position
    step = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 0
    if not (np.isfinite(affine).all() and np.isfinite(float(step)) and spacing.min() > 0):
        raise InputError(path, "has a frame with an impossible geometry", "export it again")
    number = 0 if label_map else int(segment.ReferencedSegmentNumber)
    return _Frame(index, number, affine, abs(float(step)))


def _first(holder: Dataset, keyword: str) -> Dataset:
    sequence = holder.get(keyword)
    return sequence[0] if sequence else Dataset()


def _to_grid(affine: NDArray[np.float64], grid: Volume) -> NDArray[np.float64]:
    """Return the ``(3, 3)`` matrix from a frame's pixel (column, row, 1) to canonical voxels."""
    return np.asarray(np.linalg.inv(grid.affine) @ affine)[:3, [0, 1, 3]]


def _on_grid(affine: NDArray[np.float64], shape: tuple[int, int], grid: Volume) -> bool:
    """Check whether each pixel of a frame is a voxel of the grid, be it flipped or turned."""
    exact = _to_grid(affine, grid)
    whole = np.rint(exact)
    if not (np.abs(whole[:, :2]).sum(axis=0) == 1).all() or whole[:, 0] @ whole[:, 1] != 0:
        return False
    corners = np.array([[c, r, 1] for c in (0, shape[1] - 1) for r in (0, shape[0] - 1)], float)
    apart = grid.affine[:3, :3] @ (exact - whole) @ corners.T
    return bool(np.linalg.norm(apart, axis=0).max() <= GRID_TOLERANCE_MM)


def _place(
    volume: NDArray[np.bool_], grid: Volume, frame: _Frame, inside: NDArray[np.bool_], path: Path
) -> None:
    rows, columns = np.nonzero(inside)
    whole = np.rint(_to_grid(frame.affine, grid)).astype(np.int64)
    at = whole[:, :1] * columns + whole[:, 1:2] * rows + whole[:, 2:]
    if ((at < 0) | (at >= np.array(volume.shape[::-1])[:, None])).any():
        raise InputError(
            path, "marks pixels outside the scan", "give the segmentation of this scan"
        )
    volume[at[2], at[1], at[0]] = True


def _resample(masks: ClassMasks, segmentation: _Segmentation) -> None:
    """Stack the frames on their grid, and resample that onto the grid of the scan."""
    path, frames = segmentation.item.path, segmentation.frames
    first = frames[0].affine
    normal = first[:3, 2]
    depths = np.array([frame.affine[:3, 3] @ normal for frame in frames])
    different = np.unique(depths.round(2))
    gaps = np.diff(different)
    step = frames[0].step or (float(gaps.min()) if len(gaps) else 1.0)
    low = depths.min()
    ranks = np.rint((depths - low) / step).astype(int)
    places = first[:3, 3] + np.outer(depths - first[:3, 3] @ normal, normal)
    origins = np.array([frame.affine[:3, 3] for frame in frames])
    turned = np.array([frame.affine[:3, :3] for frame in frames]) - first[:3, :3]
    if (
        np.abs((depths - low) / step - ranks).max() > _EVEN
        or np.abs(turned).max() > DUPLICATE_TOLERANCE_MM
        or np.abs(origins - places).max() > GRID_TOLERANCE_MM
        or ranks.max() >= _MOST_STEPS
    ):
        raise InputError(
            path, "has frames that do not make an even stack", "export it on the scan's own grid"
        )
    affine = first.copy()
    affine[:3, 2] = normal * step
    affine[:3, 3] += (low - first[:3, 3] @ normal) * normal
    rank_of = {frame.index: rank for frame, rank in zip(frames, ranks, strict=True)}
    shape = (int(ranks.max()) + 1, *segmentation.shape)
    stacks: dict[int, NDArray[np.bool_]] = defaultdict(lambda: np.zeros(shape, np.bool_))
    for frame, role, inside in segmentation.pixels():
        stacks[role][rank_of[frame.index]] |= inside
    before = after = 0
    for role, stack in stacks.items():
        moved = nearest(canonical(stack.transpose(2, 1, 0), affine, path), masks.grid)
        masks.of(role)[...] |= moved.astype(np.bool_)
        before, after = before + int(stack.sum()), after + int(moved.sum())
    masks.resampled(before, after)
