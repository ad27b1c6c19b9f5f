"""Turn the voxels that a file format stores into HU or labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.core.errors import InputError

_INT16 = np.iinfo(np.int16)
_UINT32 = np.iinfo(np.uint32)


@dataclass(frozen=True)
class Stored:
    """Hold voxels in the order of the file.

    Attributes:
        array: ``(k, j, i)``, C-contiguous, whatever real number type the file uses.
        affine: ``(4, 4)`` float64, file voxel ``(i, j, k, 1)`` to patient mm (LPS).
        slope: a stored value times ``slope`` plus ``intercept`` is the value meant.
        intercept: see ``slope``.
        modality: DICOM's code, or ``""``.
        body_part: DICOM's term of what was examined, or ``""``.
    """

    array: NDArray[np.generic]
    affine: NDArray[np.float64]
    slope: float = 1.0
    intercept: float = 0.0
    modality: str = ""
    body_part: str = ""

    @property
    def unscaled(self) -> bool:
        """Return whether the values need no slope and no intercept."""
        return self.slope == 1.0 and self.intercept == 0.0

    def plane(self, index: int) -> NDArray[np.generic]:
        """Return the values of one stored plane: as stored, or float64 where they are rescaled."""
        values: NDArray[np.generic] = self.array[index]
        if self.unscaled:
            return values
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused as infinite
            return np.asarray(values.astype(np.float64) * self.slope + self.intercept)


def intensities(stored: Stored, path: Path) -> NDArray[np.generic]:
    """Return the values as int16 where all are whole and fit, else as float32; ``(k, j, i)``.

    Raises:
        InputError: a value is not a finite number, or too large for float32.
    """
    if stored.array.dtype == np.int16 and stored.unscaled:
        return stored.array
    whole = np.empty(stored.array.shape, np.int16)
    for index in range(len(whole)):  # plane by plane: no second volume of floats
        values = stored.plane(index)
        if not _fit(values, _INT16.min, _INT16.max):
            return _floats(stored, path)
        whole[index] = values
    return whole


def labels(stored: Stored, path: Path) -> NDArray[np.generic]:
    """Return the values in the smallest unsigned integer type that holds them; ``(k, j, i)``.

    Raises:
        InputError: a value is negative, not whole, or larger than 32 bits hold.
    """
    if stored.array.dtype == np.uint8 and stored.unscaled:
        return stored.array
    highest = 0
    for index in range(len(stored.array)):
        values = stored.plane(index)
        if not _fit(values, 0, _UINT32.max):
            raise InputError(
                path,
                f"is not a mask of labels: stored plane {index} holds values that are "
                "negative, not whole, or too large",
                "give the mask, not the scan, with 0 for background and 1, 2, … for the classes",
            )
        highest = max(highest, int(values.max()))
    dtype = np.min_scalar_type(highest)
    if stored.array.dtype == dtype and stored.unscaled:
        return stored.array
    result = np.empty(stored.array.shape, dtype)
    for index in range(len(result)):
        result[index] = stored.plane(index)
    return result


def _fit(values: NDArray[np.generic], low: int, high: int) -> bool:
    """Check whether every value is a whole number from ``low`` to ``high``; NaN is not."""
    if not (values.min() >= low and values.max() <= high):
        return False
    return values.dtype.kind in "iu" or bool((np.rint(values) == values).all())


def _floats(stored: Stored, path: Path) -> NDArray[np.generic]:
    ready = stored.array.dtype == np.float32 and stored.unscaled
    result = stored.array if ready else np.empty(stored.array.shape, np.float32)
    for index in range(len(result)):
        if not ready:
            with np.errstate(over="ignore"):
                result[index] = stored.plane(index)
        if not np.isfinite(result[index]).all():
            raise InputError(
                path,
                f"holds values that are not finite numbers on stored plane {index}",
                "export the scan again, or replace them by the HU of air (-1024)",
            )
    return result
