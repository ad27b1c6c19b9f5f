"""Read labels stored as a picture a slice beside a DICOM series, as CHAOS does.

Pictures have no geometry. They belong to the slices in the order of the file names of both, which
is how CHAOS is published; where that lies in the patient the series says.
"""

from pathlib import Path

import numpy as np

from converters.core.errors import InputError
from converters.core.naming import natural_key
from converters.imaging.dicom import series as dicom
from converters.imaging.orientation import canonical
from converters.imaging.png_stack import SUFFIXES, read_grey
from converters.imaging.volume import Volume


def files(folder: Path) -> list[Path]:
    """List the pictures of a folder in natural order of their names; none if it is no folder."""
    if not folder.is_dir():
        return []
    home = folder.resolve()
    pictures = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and path.resolve().parent == home
    ]
    return sorted(pictures, key=lambda path: natural_key(path.name))


def read(folder: Path, scan: Path) -> Volume:
    """Read the labels on the scan's grid.

    Args:
        folder: of the pictures.
        scan: folder of the DICOM series, one file a slice.

    Raises:
        InputError: the scan is no such series, or the pictures do not fit its slices.
    """
    if not scan.is_dir():
        raise InputError(
            folder, "holds label pictures, but the scan is no DICOM series", "give one"
        )
    slices, affine = dicom.open_series(scan).ordered()
    pictures = files(folder)
    if len(pictures) != len(slices):
        raise InputError(
            folder,
            f"holds {len(pictures)} pictures for a series of {len(slices)} slices",
            "give one picture a slice",
        )
    named = sorted((item.path for item in slices), key=lambda path: natural_key(path.name))
    picture_of = dict(zip(named, pictures, strict=True))
    if len(picture_of) != len(slices):
        raise InputError(scan, "holds several slices in one file", "give one file a slice")
    planes = [read_grey(picture_of[item.path]) for item in slices]
    for item, plane in zip(slices, planes, strict=True):
        path = picture_of[item.path]
        if plane.shape != item.shape:
            raise InputError(path, "is of another size than its slice", "give the original picture")
        if plane.dtype.kind != "u":
            raise InputError(path, "is not an 8-bit or 16-bit picture", "give the original picture")
    return canonical(np.stack(planes).transpose(2, 1, 0), affine, folder)
