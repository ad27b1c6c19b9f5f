"""Reorient voxels from the order of a file to axial LPS, by permutation and flips alone."""

from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.core.errors import InputError
from converters.imaging.volume import Volume

SHEAR_TOLERANCE = 1e-3
"""Largest cosine between two voxel axes that still counts as a right angle (0.06 degrees).

Headers round their directions to single precision or a few digits, and at 1e-3 a 300 mm long scan
drifts by 0.3 mm, less than a voxel.
"""

SPACING_RANGE_MM = (1e-3, 1e3)
"""Voxel sizes outside this are nonsense for a scan of a body."""

_REMEDY = "export the scan again with correct geometry, or resample it onto a rectangular grid"


def canonical(
    array_ijk: NDArray[np.generic],
    affine_ijk_to_lps: NDArray[np.float64],
    path: Path,
    modality: str = "",
    in_place: bool = False,
) -> Volume:
    """Reorient to axial slices: inferior first, row 0 anterior, column 0 the patient's right.

    Each file axis goes to the patient axis that it runs along most closely, so an oblique scan
    keeps its voxels and its obliquity stays in the affine.

    Args:
        array_ijk: ``(i, j, k)``, any strides.
        affine_ijk_to_lps: ``(4, 4)``, file voxel ``(i, j, k, 1)`` to patient mm (LPS).
        path: named in errors.
        modality: DICOM's code, or ``""``.
        in_place: the array may be overwritten; saves a second volume where its axes need but flips.

    Raises:
        InputError: the affine is not finite, has voxels of no sensible size, or is sheared.

    Voxels stored as RAS run to the right and to the front, so that two axes are flipped:

    >>> array = np.arange(8).reshape(2, 2, 2)
    >>> volume = canonical(array, np.diag([-0.5, -0.5, 2.0, 1.0]), Path("scan.nii"))
    >>> volume.array[0].tolist(), volume.spacing
    ([[6, 2], [4, 0]], (0.5, 0.5, 2.0))
    """
    affine = np.array(affine_ijk_to_lps, dtype=np.float64)
    cosines = _directions(affine, path)
    order, signs = _closest_axes(cosines)

    to_file = np.zeros((4, 4))
    to_file[3, 3] = 1.0
    for axis, (source, sign) in enumerate(zip(order, signs, strict=True)):
        to_file[source, axis] = sign
        if sign < 0:
            to_file[source, 3] = array_ijk.shape[source] - 1

    turned = array_ijk.transpose(order[::-1])
    flips = tuple(slice(None, None, sign) for sign in reversed(signs))
    if in_place and turned.flags.c_contiguous:
        _flip(turned, flips)
    else:
        turned = np.ascontiguousarray(turned[flips])
    return Volume(
        array=turned,
        affine=affine @ to_file + 0.0,  # + 0.0 turns -0.0 into 0.0
        to_file=to_file,
        modality=modality,
    )


def _flip(array: NDArray[np.generic], flips: tuple[slice, ...]) -> None:
    """Flip in place, plane by plane."""
    across, last = flips[1:], len(array) - 1
    if across != (slice(None, None, 1),) * 2:
        for plane in array:
            plane[:] = plane[across].copy()
    if flips[0].step < 0:
        for z in range(len(array) // 2):
            array[z], array[last - z] = array[last - z].copy(), array[z].copy()


def _directions(affine: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    """Return the unit vectors of the file's axes as columns."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise InputError(path, "states a geometry with values that are not finite numbers", _REMEDY)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = SPACING_RANGE_MM
    if not ((spacing >= low) & (spacing <= high)).all():
        sizes = " x ".join(f"{size:g}" for size in spacing)
        raise InputError(
            path, f"states voxels of {sizes} mm, outside {low:g} to {high:g} mm", _REMEDY
        )
    cosines = affine[:3, :3] / spacing
    worst = float(np.abs(cosines.T @ cosines - np.eye(3)).max())
    if worst > SHEAR_TOLERANCE:
        degrees = np.degrees(np.arcsin(min(worst, 1.0)))
        raise InputError(
            path,
            f"has a sheared geometry: its axes are {degrees:.2f} degrees off a right angle "
            f"(cosine {worst:.2g}, tolerance {SHEAR_TOLERANCE:g})",
            _REMEDY,
        )
    return np.asarray(cosines)


def _closest_axes(cosines: NDArray[np.float64]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return for each patient axis the file axis along it, and its sign (1 or -1).

    The whole assignment is chosen at once; the best axis for each alone could name one twice.
    """
    order = max(
        permutations(range(3)),
        key=lambda order: sum(abs(cosines[axis, order[axis]]) for axis in range(3)),
    )
    return order, tuple(1 if cosines[axis, order[axis]] >= 0 else -1 for axis in range(3))
