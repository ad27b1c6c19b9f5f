"""One case: from its mask to lesions and boxes, from its scan to PNGs."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from converters.conversion.yolo_labels import label_text
from converters.core.errors import InputError
from converters.core.files import write_text
from converters.core.images import write_png
from converters.imaging.hashing import hash_contents
from converters.imaging.read import check_same_grid
from converters.imaging.volume import Volume
from converters.masks.annotations import find_marks, mask_files, read_scan, scan_files
from converters.masks.case_source import CaseSource
from converters.masks.components import SMALL_MM, Component, Lesion
from converters.preprocessing.frame import Frame, Region, extent
from converters.preprocessing.pictures import pictures
from converters.preprocessing.representation import Representation
from converters.preprocessing.value_range import value_range
from converters.preprocessing.windowing import Window
from converters.recipes.recipe import Recipe


class CaseAnalysis(BaseModel):
    """What a mask says of one case; kept on disk between the two passes of a conversion.

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
        """Slice → its boxes, for slices that have any."""
        grouped: dict[int, list[Component]] = defaultdict(list)
        for component in self.components:
            grouped[component.slice_index].append(component)
        return dict(grouped)


def image_name(case_id: str, z: int) -> str:
    """File name of a slice's picture."""
    return f"{case_id}_z{z:04d}.png"


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
    marks = find_marks(recipe, case, resample)
    kept = [c for c in marks.components if c.diameter_mm >= min_size_mm]
    kept_ids = {c.lesion_id for c in kept}
    return CaseAnalysis(
        case_id=case.case_id,
        patient_id=case.patient_id,
        shape=marks.shape,
        affine=marks.affine.tolist(),
        mask_sha256=_hash_mask(case, marks.files),
        lesions=[lesion for lesion in marks.lesions if lesion.lesion_id in kept_ids],
        components=kept,
        small=sum(c.diameter_mm < SMALL_MM for c in marks.components),
        dropped=len(marks.components) - len(kept),
        negative_slices=marks.negative_slices,
        organ_slices=np.flatnonzero(marks.shown.any(axis=(1, 2))).tolist(),
        notes=marks.notes,
        organ_region=extent(marks.shown),
    )


class CaseWritten(BaseModel):
    """What writing a case's pictures settled.

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


def write_case(
    case: CaseSource,
    analysis: CaseAnalysis,
    slices: Sequence[int],
    representation: Representation,
    images: Path,
    labels: Path,
) -> CaseWritten:
    """Write the chosen slices of a case as 8-bit PNGs with YOLO label files.

    Args:
        case: where the scan lies.
        analysis: what its mask gave.
        slices: canonical slice indices to write.
        representation: how pictures are made.
        images, labels: existing folders to write to.

    Raises:
        InputError: an unreadable scan, one on another grid than its mask, or one whose crop would
            cut a lesion.
    """
    scan, files = read_scan(case)
    grid = Volume(  # the mask's grid without its voxels
        array=np.broadcast_to(np.uint8(0), analysis.shape),
        affine=np.asarray(analysis.affine),
        to_file=np.eye(4),
    )
    check_same_grid(grid, scan, case.mask or case.image, case.image)
    made = pictures(scan, representation, case.image, analysis.organ_region)
    _check_inside(analysis, made.frame, case.image)
    by_slice = analysis.components_by_slice()
    for z in slices:
        name = image_name(case.case_id, z)
        picture = made[z]
        # channels 0, 1, 2 are a PNG's red, green, blue; OpenCV takes them in reverse
        write_png(images / name, picture if picture.ndim == 2 else picture[..., ::-1])
        text = label_text(by_slice.get(z, []), made.frame)
        write_text((labels / name).with_suffix(".txt"), text)
    return CaseWritten(
        image_sha256=hash_contents(files),
        frame=made.frame,
        windows=[window for _, window in made.channels],
        value_range=value_range(scan) if representation.modality == "CT" else None,
    )


def _check_inside(analysis: CaseAnalysis, frame: Frame, scan: Path) -> None:
    """Refuse to cut lesions: they would be missing from every score, and nobody would know."""
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
    """SHA-256 over the contents of the files of a case's scan."""
    return hash_contents(scan_files(case))


def hash_mask(case: CaseSource) -> str:
    """SHA-256 over the files, or over the rows of a table, that say where a case's lesions are."""
    return _hash_mask(case, mask_files(case)) if case.mask else ""


def _hash_mask(case: CaseSource, named: Sequence[tuple[str, Path]]) -> str:
    told = [name for name, _ in named if name] or [repr(row) for row in case.rows]
    return hash_contents([file for _, file in named], told)
