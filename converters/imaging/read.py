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
from converters.imaging.dicom.geometry import DicomSeries
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


def open_scan(path: Path) -> Path | DicomSeries:
    """Read the headers of the DICOM series in a folder, or return the path of a file as it is.

    The functions below take either; whoever calls more than one of them opens the scan once.

    Raises:
        InputError: the folder cannot be read, or does not hold one DICOM series.
    """
    if not _is_folder(path):
        return path
    from converters.imaging.dicom import series as dicom

    return dicom.open_series(path)


def read_volume(scan: str | Path | DicomSeries) -> Volume:
    """Read a scan: HU as int16 where every value is whole and fits, else float32.

    Args:
        scan: a NIfTI, NRRD or MetaImage file, a folder that holds one DICOM series, or a series.

    Raises:
        InputError: whatever is wrong with it; it names the file at fault.
    """
    if isinstance(scan, str):
        scan = Path(scan)
    stored, path = _stored(scan), _path(scan)
    return _canonical(intensities(stored, path), stored, path)


def read_mask(path: Path) -> Volume:
    """Read a mask of labels, in the smallest unsigned integer type that holds them.

    Raises:
        InputError: as ``read_volume``, or a value is negative or not whole.
    """
    stored = _stored(path)
    return _canonical(labels(stored, path), stored, path)


def read_grid(scan: Path | DicomSeries) -> Volume:
    """Read where the voxels of a scan are, without their values (its array is of zeros).

    Raises:
        InputError: as ``read_volume``.
    """
    opened = open_scan(scan) if isinstance(scan, Path) else scan
    shape: tuple[int, ...]
    if isinstance(opened, Path):
        stored = _stored(opened)
        shape, affine = stored.array.shape, stored.affine
    else:
        from converters.imaging.dicom import series as dicom

        shape, affine = dicom.read_grid(opened)
    grid = canonical(np.broadcast_to(np.uint8(0), shape[::-1]), affine, _path(scan))
    return replace(grid, array=np.broadcast_to(np.uint8(0), grid.array.shape))


def same_grid(first: Volume, second: Volume) -> bool:
    """Check whether each voxel of two volumes is the same place in the patient."""
    return not _how_apart(first, second)


def check_same_grid(mask: Volume, scan: Volume, mask_path: Path, scan_path: Path) -> None:
    """Refuse a mask whose voxels are not the same places as those of its scan.

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


def source_files(scan: Path | DicomSeries) -> list[Path]:
    """List the files that make up a scan, sorted: itself, its detached data, or its slices.

    ``scan`` is as for ``read_volume``.

    Raises:
        InputError: they cannot be determined.
    """
    opened = open_scan(scan) if isinstance(scan, Path) else scan
    if not isinstance(opened, Path):
        return opened.files
    if _suffix(opened) in ITK_SUFFIXES:
        return itk_images.files(opened)
    open_file(opened).close()
    return [opened]


def is_scan(path: Path) -> bool:
    """Check whether ``path`` looks like a scan: a file by its name, a folder by a DICOM image."""
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
    """List all that looks like a scan in or below ``folder``, itself included, sorted.

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
    scans: list[Path] = []

    def refuse(error: OSError) -> None:
        problem = unreadable(Path(error.filename), error)
        if closed is None or error.filename == str(folder):
            raise problem from error
        closed.append(problem)

    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=False):
        here = Path(root)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [here / name for name in names if not name.startswith(".")]
        scans += [
            path
            for path in paths
            if wanted(path) and (not path.is_symlink() or path.resolve().is_relative_to(home))
        ]
        if wanted(here):
            scans.append(here)
    return sorted(scans)


def _stored(scan: Path | DicomSeries) -> Stored:
    """Read with the reader of the format; nibabel and pydicom are imported when needed."""
    path = open_scan(scan) if isinstance(scan, Path) else scan
    if not isinstance(path, Path):
        from converters.imaging.dicom import series as dicom

        return dicom.read(path)
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


def _path(scan: Path | DicomSeries) -> Path:
    return scan if isinstance(scan, Path) else scan.folder


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
