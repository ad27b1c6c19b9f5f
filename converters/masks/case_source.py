"""Name the files of one case: its scan and its annotations."""

from dataclasses import dataclass
from pathlib import Path

from converters.imaging.rescale import Rescale
from converters.masks.deeplesion import BoxRow
from converters.masks.lld_mmri import Cuboid
from converters.recipes.recipe import MaskKind


@dataclass(frozen=True)
class CaseSource:
    """Hold the paths of one case, and how its annotations are read.

    Attributes:
        case_id: name of the case in the dataset.
        patient_id: name of the person; cases of one person share it.
        image: the scan.
        mask: what says where its lesions are; None where the recipe's path matches nothing.
        parts: where that is several: (name of the structure, or "", and its path), `mask` first.
        rows: the case's rows of a table of boxes.
        mask_kind: as the recipe's.
        rescale: as the recipe's.
    """

    case_id: str
    patient_id: str
    image: Path
    mask: Path | None
    parts: tuple[tuple[str, Path], ...] = ()
    rows: tuple[BoxRow | Cuboid, ...] = ()
    mask_kind: MaskKind = "labels"
    rescale: Rescale | None = None
