"""Hold the voxels of each class of one case."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.imaging.volume import Volume


@dataclass
class ClassMasks:
    """Hold voxels class by class; those of two classes may overlap.

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
        """Return the voxels of a class, to be added to; all False at first."""
        if role not in self.inside:
            self.inside[role] = np.zeros(self.grid.array.shape, np.bool_)
        return self.inside[role]

    def resampled(self, before: int, after: int) -> None:
        """Note that a mask was put onto another grid, with its voxels before and after."""
        self.notes.append(resampled(before, after))


def resampled(before: int, after: int) -> str:
    """Return the note on a mask that was put onto another grid."""
    return f"the mask was resampled onto the scan's grid: {before} voxels became {after}"
