"""Convert one case: its mask into lesions and boxes, its scan into PNGs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from converters.core.errors import InputError
from converters.core.files import write_text
from converters.core.images import write_png
from converters.imaging.hashing import hash_contents
from converters.imaging.read import check_same_grid
from converters.imaging.volume import Volume
from converters.masks.annotations import mask_files, read_annotations, read_scan, scan_files
from converters.masks.case_source import CaseSource
from converters.masks.components import SMALL_MM, Component, Lesion
from converters.preprocessing.frame import Frame, Region, extent
from converters.preprocessing.pictures import pictures
from converters.preprocessing.value_range import value_range
from converters.preprocessing.windowing import Window
from converters.recipes.recipe import Recipe


class CaseAnalysis(BaseModel):
    """The lesions and boxes of one mask, kept on disk between the two passes of a conversion.

    Attributes:
        case_id, patient_id: names.
        shape: slices, rows, columns.
        affine: canonical voxel (column, row, slice) to patient mm, LPS.
        mask_sha256: of the mask's files.
        lesions, components: as `find_lesions` gives them, less what the minimum size removed.
        small: boxes under 3 mm, before the minimum size.
        dropped: boxes removed by the minimum size.
        negative_slices: slices known to be without a lesion voxel.
        organ_slices: slices that show an organ or a lesion.
        notes: what the mask leaves open, a line each.
        organ_region: holds organs and lesions on every slice; None where there are none.
    """

    model_config = ConfigDict(extra="forbid")

    case_id: str
    patient_id: str
    shape: tuple[int, int, int]
    affine: list[list[float]]
    mask_sha256: str
    lesions: list[Lesion]
    components: list[Component]
    small: int
    dropped: int
    negative_slices: list[int]
    organ_slices: list[int]
    notes: list[str]
    organ_region: Region | None

    def components_by_slice(self) -> dict[int, list[Component]]:
        """Map each slice with boxes to its boxes."""
        grouped: dict[int, list[Component]] = defaultdict(list)
        for component in self.components:
            grouped[component.slice_index].append(component)
        return dict(grouped)


def analyse_case(
    recipe: Recipe, min_size_mm: float, resample: bool, case: CaseSource
) -> CaseAnalysis:
    """Read a case's mask and find its lesions.

    Args:
        recipe: says what is in the mask.
        min_size_mm: boxes with a smaller longest axial diameter are dropped; 0 keeps all.
        resample: put a mask on another grid onto the scan's.
        case: where the mask lies.

    Raises:
        InputError: no mask, an unreadable one, or one that does not fit the recipe or the scan.
    """
    annotation = read_annotations(recipe, case, resample)
    kept = [c for c in annotation.components if c.diameter_mm >= min_size_mm]
    kept_ids = {c.lesion_id for c in kept}
    return CaseAnalysis(
        case_id=case.case_id,
        patient_id=case.patient_id,
        shape=annotation.shape,
        affine=annotation.affine.tolist(),
        mask_sha256=_hash_mask(case, annotation.files),
        lesions=[lesion for lesion in annotation.lesions if lesion.lesion_id in kept_ids],
        components=kept,
        small=sum(c.diameter_mm < SMALL_MM for c in annotation.components),
        dropped=len(annotation.components) - len(kept),
        negative_slices=annotation.negative_slices,
        organ_slices=np.flatnonzero(annotation.shown.any(axis=(1, 2))).tolist(),
        notes=annotation.notes,
        organ_region=extent(annotation.shown),
    )


class CaseWritten(BaseModel):
    """The facts of a case that are known once its pictures are written.

    Attributes:
        image_sha256: of the scan's files.
        frame: where the pictures lie on its slices.
        windows: as applied, one a channel.
        value_range: 1st and 99th percentile of a CT's values, HU.
    """

    model_config = ConfigDict(extra="forbid")

    image_sha256: str
    frame: Frame
    windows: list[Window]
    value_range: tuple[float, float] | None = None


@dataclass
class CaseState:
    """One case on its way through a conversion.

    Attributes:
        source: where its scan and its masks lie.
        recipe: how they are read.
        synthetic: the case is for training only: its lesions are made up, and others' are not.
        analysis: of its masks; set by the first pass unless `error` is.
        split: train, val or test; empty until the patients are dealt.
        slices: canonical slice indices to write.
        written: facts from the second pass; set by it unless `error` is.
        error: why the case could not be read; it is left out of the dataset.
    """

    source: CaseSource
    recipe: Recipe
    synthetic: bool = False
    analysis: CaseAnalysis = field(init=False, repr=False)
    split: str = ""
    slices: list[int] = field(default_factory=list)
    written: CaseWritten = field(init=False, repr=False)
    error: InputError | None = None

    @property
    def case_id(self) -> str:
        """Return the name of the case."""
        return self.source.case_id

    @property
    def patient_id(self) -> str:
        """Return the name of the person."""
        return self.source.patient_id

    def image_name(self, z: int) -> str:
        """Return the file name of a slice's picture."""
        return f"{self.case_id}_z{z:04d}.png"


def write_case(dataset: Path, case: CaseState) -> CaseWritten:
    """Write the chosen slices of a case as 8-bit PNGs with YOLO label files.

    Args:
        dataset: folder with `images/SPLIT` and `labels/SPLIT`.
        case: with analysis, split and slices.

    Raises:
        InputError: an unreadable scan, one on another grid than its mask, or one whose crop would
            cut a lesion.
    """
    source, analysis, representation = case.source, case.analysis, case.recipe.representation
    scan, files = read_scan(source)
    grid = Volume(  # the mask's grid without its voxels
        array=np.broadcast_to(np.uint8(0), analysis.shape),
        affine=np.asarray(analysis.affine),
        to_file=np.eye(4),
    )
    check_same_grid(grid, scan, source.mask or source.image, source.image)
    rendered = pictures(scan, representation, source.image, analysis.organ_region)
    _check_inside(analysis, rendered.frame, source.image)
    by_slice = analysis.components_by_slice()
    for z in case.slices:
        name, picture = case.image_name(z), rendered[z]
        # channels 0, 1, 2 are a PNG's red, green, blue; OpenCV takes them in reverse
        pixels = picture if picture.ndim == 2 else picture[..., ::-1]
        write_png(dataset / "images" / case.split / name, pixels)
        text = label_text(by_slice.get(z, []), rendered.frame)
        write_text((dataset / "labels" / case.split / name).with_suffix(".txt"), text)
    return CaseWritten(
        image_sha256=hash_contents(files),
        frame=rendered.frame,
        windows=[window for _, window in rendered.channels],
        value_range=value_range(scan) if representation.modality == "CT" else None,
    )


def _check_inside(analysis: CaseAnalysis, frame: Frame, scan: Path) -> None:
    """Refuse to cut lesions, which would silently be missing from every score."""
    left, top, right, bottom = frame.region
    cut = sum(
        c.x < left or c.y < top or c.x + c.width > right or c.y + c.height > bottom
        for c in analysis.components
    )
    if cut:
        raise InputError(
            scan,
            f"has {cut} boxes that reach beyond the body found in it",
            "check that its mask belongs to it, or convert with a larger margin_mm or --crop none",
        )


def hash_scan(case: CaseSource) -> str:
    """Compute the SHA-256 of the files of a case's scan."""
    return hash_contents(scan_files(case))


def hash_mask(case: CaseSource) -> str:
    """Compute the SHA-256 of a case's masks: of files, or of rows of a table."""
    return _hash_mask(case, mask_files(case)) if case.mask else ""


def _hash_mask(case: CaseSource, named: Sequence[tuple[str, Path]]) -> str:
    names = [name for name, _ in named if name] or [repr(row) for row in case.rows]
    return hash_contents([file for _, file in named], names)


def label_text(boxes: Iterable[Component], frame: Frame) -> str:
    """Format a picture's boxes; nine decimals give back whole pixels on images below 10^6 px."""
    lines = []
    for box in boxes:
        x, y, width, height = frame.box(box.x, box.y, box.width, box.height)
        lines.append(
            f"{box.label} {(x + width / 2) / frame.width:.9f} {(y + height / 2) / frame.height:.9f}"
            f" {width / frame.width:.9f} {height / frame.height:.9f}\n"
        )
    return "".join(lines)
