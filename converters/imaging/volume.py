"""Hold the canonical volume: axial slices as a radiologist looks at them, and the way back.

Coordinates used everywhere in the project:

* *canonical voxel* ``(column, row, slice)``: the order of an affine's columns. The array itself is
  indexed ``array[slice, row, column]``. Integers are voxel centres.
* *file voxel* ``(i, j, k)``: the index in the file as it is stored (for DICOM: column, row, and the
  rank of the slice along the normal).
* *patient mm*: DICOM's LPS (x to the patient's left, y to the back, z to the head).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Volume:
    """One scan or one mask, reoriented (never resampled) to axial LPS.

    Attributes:
        array: ``(slices, rows, columns)``; C-contiguous. HU for CT (int16 where every value is a
            whole number within its range, else float32); label numbers for a mask. Slice 0 is the
            most inferior, row 0 anterior, column 0 the patient's right.
        affine: ``(4, 4)`` float64, canonical voxel ``(column, row, slice, 1)`` to patient mm (LPS).
        to_file: ``(4, 4)`` float64 with entries in {-1, 0, 1} and whole offsets, canonical voxel to
            file voxel. Exact, since reorientation only permutes and flips.
        modality: DICOM's code (``CT``, ``MR``, …) where the file states it, else ``""``.
        body_part: DICOM's term of what was examined where the file states a known one, else ``""``.
    """

    array: NDArray[np.generic]
    affine: NDArray[np.float64]
    to_file: NDArray[np.float64]
    modality: str = ""
    body_part: str = ""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Return the voxel size in mm along (column, row, slice)."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    def to_patient(self, voxels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map canonical voxels ``(n, 3)`` as (column, row, slice) to patient mm ``(n, 3)``, LPS.

        >>> affine = np.diag([0.5, 0.5, 2.0, 1.0])
        >>> volume = Volume(np.zeros((3, 4, 5), np.int16), affine, np.eye(4))
        >>> volume.to_patient(np.array([[4, 2, 1]])).tolist()
        [[2.0, 1.0, 2.0]]
        """
        return _transform(self.affine, voxels)

    def from_patient(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map patient mm ``(n, 3)``, LPS, to canonical voxels (column, row, slice)."""
        return _transform(np.linalg.inv(self.affine).astype(np.float64), points)

    def to_file_voxels(self, voxels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map canonical voxels ``(n, 3)`` to the file's own voxels (i, j, k)."""
        return _transform(self.to_file, voxels)


def _transform(affine: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    points = np.asarray(points, dtype=np.float64)
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])
