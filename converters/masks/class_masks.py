"""What a source of masks says of one case: which voxels are of which class."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.imaging.volume import Volume


@dataclass
class ClassMasks:
    """Voxels class by class: those of two classes may overlap.

    Attributes:
        grid: of the scan or of the masks; its array is not used but for its shape.
        objects: DICOM files that were read for it.
        inside: class index, or `names.ORGAN` → ``(slices, rows, columns)``, canonical.
        notes: what a user ought to know, a line each, without names from files.
    """

    grid: Volume
    objects: list[Path] = field(default_factory=list)
    inside: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def of(self, role: int) -> NDArray[np.bool_]:
        """The voxels of a class, to be added to; empty at first."""
        if role not in self.inside:
            self.inside[role] = np.zeros(self.grid.array.shape, np.bool_)
        return self.inside[role]

    def resampled(self, before: int, after: int) -> None:
        """Note that a mask was put onto another grid, with its voxels before and after."""
        self.notes.append(resampled(before, after))


def resampled(before: int, after: int) -> str:
    """Say that a mask was put onto another grid."""
    return f"the mask was resampled onto the scan's grid: {before} voxels became {after}"
