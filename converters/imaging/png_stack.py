"""Read scans that were published as pictures: a folder of slices `NNN.png`, or one slice.

A picture has no geometry. Its order is that of the numbers, its size and HU are those of the table
of boxes and the recipe. DeepLesion publishes the slices around each marked one: those between are
missing, and are filled with the nearest there is, as beyond a scan's end.
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from converters.core.errors import InputError
from converters.imaging.raw import COPY_AGAIN, open_file, unreadable
from converters.imaging.rescale import Rescale

SUFFIXES = (".png", ".jpg", ".jpeg")
DEEPLESION = Rescale(slope=1.0, intercept=-32768.0)
"""What 16-bit pictures hold unless the recipe says otherwise: HU + 32768."""

_MOST_PX = 1 << 26  # of one slice: 8192 x 8192
_MOST_VOXELS = 1 << 30


def picture_files(path: Path) -> dict[int, Path]:
    """Map the number of each slice to its picture, in order.

    A file by itself is a scan of one slice.

    Raises:
        InputError: no pictures, a name without a number, or a number that is there twice.
    """
    if not path.is_dir():
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(path, "is not a picture", "boxes without masks need PNG or JPEG")
        number = re.search(r"(\d+)$", path.stem)
        return {int(number[1]) if number else 0: path}
    home = path.resolve()
    by_number: dict[int, Path] = {}
    for file in sorted(path.iterdir()):
        if file.suffix.lower() not in SUFFIXES or file.name.startswith("."):
            continue
        if file.is_symlink() and file.resolve().parent != home:
            raise InputError(file, "is a link that leaves the folder", "put the file itself there")
        number = re.search(r"(\d+)$", file.stem)
        if not number or int(number[1]) in by_number:
            raise InputError(file, "does not end in a slice number of its own", "name it NNN.png")
        by_number[int(number[1])] = file
    if not by_number:
        raise InputError(path, "holds no PNG or JPEG slices", "give the folder of the slices")
    return {number: by_number[number] for number in sorted(by_number)}


def picture_shape(path: Path) -> tuple[int, int, int]:
    """Return the shape (slices, rows, columns) of a scan; only one header is read.

    Raises:
        InputError: as `picture_files`, or it is no readable picture.
    """
    files = picture_files(path)
    numbers = list(files)
    with _opened(files[numbers[0]]) as picture:
        shape = (numbers[-1] - numbers[0] + 1, picture.height, picture.width)
    if shape[0] * shape[1] * shape[2] > _MOST_VOXELS:
        raise InputError(path, f"would be a scan of {shape[0]} slices", "check the slices' numbers")
    return shape


def read_pictures(path: Path, rescale: Rescale | None) -> NDArray[np.generic]:
    """Read the slices in HU, ``(slices, rows, columns)``: int16 if the rule gives whole numbers.

    Args:
        path: a folder of pictures, or one picture.
        rescale: from grey to HU; None for 16-bit pictures of HU + 32768.

    Raises:
        InputError: as `picture_files`, or a picture is damaged, in colour or of another size.
    """
    files = picture_files(path)
    first = min(files)
    rule = rescale or DEEPLESION
    whole = rule.slope == 1 and rule.intercept.is_integer()
    shape = picture_shape(path)
    result: NDArray[np.generic] = np.empty(shape, np.int16 if whole else np.float32)
    for number, file in files.items():
        stored = read_grey(file)
        if stored.shape != shape[1:]:
            raise InputError(file, "is of another size than the first slice", COPY_AGAIN)
        if stored.dtype == np.uint8 and rescale is None:
            raise InputError(
                file, "is an 8-bit picture, whose HU are not known", "add `rescale` to the recipe"
            )
        hu = stored.astype(np.float64) * rule.slope + rule.intercept
        result[number - first] = np.clip(hu, -32768, 32767) if whole else hu
    published = np.array(list(files)) - first
    for z in set(range(shape[0])) - set(published.tolist()):
        result[z] = result[published[np.abs(published - z).argmin()]]
    return result


def _opened(path: Path) -> Image.Image:
    open_file(path).close()
    try:
        picture = Image.open(path, formats=("PNG", "JPEG"))
    except OSError:  # PIL's own error is one too
        raise InputError(path, "is not a readable PNG or JPEG picture", COPY_AGAIN) from None
    except Image.DecompressionBombError:
        raise InputError(path, "is too large for a slice", COPY_AGAIN) from None
    if picture.width * picture.height > _MOST_PX:
        raise InputError(path, "is too large for a slice", COPY_AGAIN)
    return picture


def read_grey(path: Path) -> NDArray[np.generic]:
    """Read one picture as it is, ``(rows, columns)``; black and white as 0 and 1.

    Raises:
        InputError: it is damaged, or in colour.
    """
    with _opened(path) as picture:
        try:
            if picture.mode == "RGB":  # JPEGs of grey slices often are
                values = np.asarray(picture)
                if (values[..., :1] != values).any():
                    raise InputError(path, "is in colour, so it is no CT slice", COPY_AGAIN)
                return values[..., 0].copy()
            if picture.mode == "1":
                return np.array(picture, np.uint8)
            if picture.mode not in ("L", "I;16", "I;16B", "I"):
                raise InputError(path, f"is no grey picture ({picture.mode})", COPY_AGAIN)
            return np.array(picture)
        except (OSError, SyntaxError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:
                raise unreadable(path, error) from error
            raise InputError(path, "is damaged or cut short", COPY_AGAIN) from None
