"""Read any scan or mask into the canonical volume, and find scans below a folder."""

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.core.errors import InputError
from converters.imaging import itk as itk_images
from converters.imaging.orientation import canonical
from converters.imaging.raw import open_file, unreadable
from converters.imaging.stored import Stored, intensities, labels
from converters.imaging.volume import Volume

GRID_TOLERANCE_MM = 0.1
"""How far the corners of a mask may lie from those of its scan: well below any voxel of a CT.

Tools round the geometry they write to single precision or to four digits, and over 500 mm that adds
up to some hundredths of a millimetre.
"""

NIFTI_SUFFIXES = (".nii", ".nii.gz")
ITK_SUFFIXES = itk_images.NRRD_SUFFIXES + itk_images.META_SUFFIXES
SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES
"""Names of the files that are scans by themselves; a DICOM series is a folder."""

_FORMATS = ".nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd or a folder with one DICOM series"


def read_volume(path: Path, series: str = "") -> Volume:
    """Read a scan: HU as int16 where every value is whole and fits, else float32.

    Args:
        path: a NIfTI, NRRD or MetaImage file, or a folder that holds one DICOM series.
        series: UID of the one wanted, where the folder holds several.

    Raises:
        InputError: whatever is wrong with it; it names the file at fault.
    """
    stored = _stored(path, series)
    return _canonical(intensities(stored, path), stored, path)


def read_mask(path: Path) -> Volume:
    """Read a mask of labels, in the smallest unsigned integer type that holds them.

    Raises:
        InputError: as ``read_volume``, or a value is negative or not whole.
    """
    stored = _stored(path)
    return _canonical(labels(stored, path), stored, path)


def read_grid(path: Path) -> tuple[Volume, str, str]:
    """Read where the voxels of a scan are, without their values (its array is of zeros).

    Returns:
        the grid and, of a DICOM series, the UIDs of the series and of its frame of reference.

    Raises:
        InputError: as ``read_volume``.
    """
    series = frame = ""
    if _is_folder(path):
        from converters.imaging.dicom import series as dicom

        found = dicom.read_grid(path)
        shape, affine, series, frame = found.shape, found.affine, found.series, found.frame
    else:
        stored = _stored(path)
        shape, affine = stored.array.shape, stored.affine
    empty = np.broadcast_to(np.uint8(0), shape[::-1])
    grid = canonical(empty, affine, path)
    return replace(grid, array=np.broadcast_to(np.uint8(0), grid.array.shape)), series, frame


def same_grid(one: Volume, other: Volume) -> bool:
    """Whether each voxel of the one is the same place as that of the other."""
    return not _how_apart(one, other)


def check_same_grid(mask: Volume, scan: Volume, mask_path: Path, scan_path: Path) -> None:
    """Make sure that each voxel of the mask is the same place as that of the scan.

    Raises:
        InputError: the shapes differ, or a corner is off by more than ``GRID_TOLERANCE_MM``.
    """
    if how := _how_apart(mask, scan):
        raise InputError(
            mask_path,
            f"is not on the grid of {scan_path} ({how}; mask {_grid(mask)}; scan {_grid(scan)})",
            "resample the mask onto the scan's grid by nearest neighbour: --resample-mask",
        )


def _how_apart(mask: Volume, scan: Volume) -> str:
    if mask.array.shape != scan.array.shape:
        return "shapes differ"
    last = np.array(mask.array.shape[::-1], dtype=np.float64) - 1
    corners = np.array(list(product((0.0, 1.0), repeat=3))) * last
    apart = np.linalg.norm(mask.to_patient(corners) - scan.to_patient(corners), axis=1).max()
    if apart <= GRID_TOLERANCE_MM:
        return ""
    return f"corners up to {apart:.3g} mm apart, tolerance {GRID_TOLERANCE_MM:g} mm"


def source_files(path: Path, series: str = "") -> list[Path]:
    """The files that make up a scan, sorted: itself, its detached data, or the series' slices.

    ``series`` is as for ``read_volume``.

    Raises:
        InputError: they cannot be determined.
    """
    if _is_folder(path):
        from converters.imaging.dicom import series as dicom

        return dicom.files(path, series)
    if _suffix(path) in ITK_SUFFIXES:
        return itk_images.files(path)
    open_file(path).close()
    return [path]


def is_scan(path: Path) -> bool:
    """Whether ``path`` looks like a scan: a file by its name, a folder by a DICOM image in it."""
    if path.is_dir():
        from converters.imaging.dicom import series as dicom

        try:
            return dicom.holds_images(path)
        except InputError:
            return False
    return _suffix(path) in SUFFIXES and path.is_file()


def find_scans(
    folder: Path,
    wanted: Callable[[Path], bool] = is_scan,
    closed: list[InputError] | None = None,
) -> list[Path]:
    """All that looks like a scan in or below ``folder``, itself included, sorted.

    Hidden files are passed over; so are links to folders and links that leave ``folder``.

    Args:
        folder: to search.
        wanted: whether a file or folder is what is sought.
        closed: takes an error for each folder below that may not be read.

    Raises:
        InputError: it is not a folder, or (without `closed`) one may not be read.
    """
    if not _is_folder(folder):
        raise InputError(folder, "is not a folder", "give the folder that holds the scans")
    home = folder.resolve()
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        problem = unreadable(Path(error.filename), error)
        if closed is None or error.filename == str(folder):
            raise problem from error
        closed.append(problem)

    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=False):
        here = Path(root)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [here / name for name in names if not name.startswith(".")]
        found += [
            path
            for path in paths
            if wanted(path) and (not path.is_symlink() or path.resolve().is_relative_to(home))
        ]
        if wanted(here):
            found.append(here)
    return sorted(found)


def _stored(path: Path, series: str = "") -> Stored:
    """Dispatch; nibabel and pydicom are imported only when a file needs them."""
    if _is_folder(path):
        from converters.imaging.dicom import series as dicom

        return dicom.read(path, series)
    suffix = _suffix(path)
    if suffix in NIFTI_SUFFIXES:
        from converters.imaging import nifti

        return nifti.read(path)
    if suffix in ITK_SUFFIXES:
        return itk_images.read(path)
    from converters.imaging.dicom import series as dicom

    if dicom.is_dicom(path):
        raise InputError(path, "is a single DICOM file", "give the folder that holds the series")
    raise InputError(path, "is not a format that can be read", f"give {_FORMATS}")


def _canonical(array: NDArray[np.generic], stored: Stored, path: Path) -> Volume:
    turned = array.transpose(2, 1, 0)
    volume = canonical(turned, stored.affine, path, stored.modality, in_place=True)
    return replace(volume, body_part=stored.body_part)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:  # a name too long, a folder above it closed
        raise unreadable(path, error) from error


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def _grid(volume: Volume) -> str:
    shape = " x ".join(str(extent) for extent in volume.array.shape[::-1])
    spacing = " x ".join(f"{size:.5g}" for size in volume.spacing)
    origin = ", ".join(f"{value:.2f}" for value in volume.affine[:3, 3])
    return f"{shape} voxels of {spacing} mm from ({origin}) mm"
