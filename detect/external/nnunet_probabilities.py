"""Read nnU-Net's probability maps, `CASE.npz` beside `CASE.nii.gz`, without unpickling."""

import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from converters.core.errors import InputError
from converters.imaging.orientation import canonical
from converters.imaging.volume import Volume

MEMBER = "probabilities.npy"
_UNREADABLE = OSError, ValueError, KeyError, EOFError, RuntimeError  # zipfile: a password
_REMEDY = "give the file that nnU-Net's --save_probabilities wrote for this case"


def read_probabilities(
    path: Path, labels: Collection[int], segmentation: Volume
) -> tuple[dict[int, NDArray[np.float32]], int]:
    """Read the channels of some labels.

    nnU-Net (v2, ``export_prediction.py``) stores ``probabilities``: ``(channels, k, j, i)``, one
    channel a label, background first, on the voxels of the segmentation file beside it. Networks
    trained on regions, whose channels are not labels, are refused. The memory is bounded by the
    size of the segmentation, whatever the file claims.

    Args:
        path: the `.npz`.
        labels: label numbers.
        segmentation: what is on the same grid.

    Returns:
        label → ``(slices, rows, columns)`` in the canonical frame; and the number of channels.

    Raises:
        InputError: not such a file, or of another grid.
    """
    to_file = segmentation.to_file
    extents = np.abs(to_file[:3, :3]) @ segmentation.array.shape[::-1]
    grid = tuple(int(n) for n in extents[::-1])  # (k, j, i)
    affine = segmentation.affine @ np.linalg.inv(to_file)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(MEMBER) as stream:
            if archive.getinfo(MEMBER).compress_type not in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):
                raise ValueError("it is packed in an unusual way")
            dtype, channels = _header(stream, grid, path)
            if channels <= max(labels):
                raise InputError(path, f"has no channel for label {max(labels)}", _REMEDY)
            by_label = {}
            for label in range(max(labels) + 1):
                channel = _channel(stream, dtype, grid)
                if label in labels:
                    ijk = channel.transpose(2, 1, 0)
                    by_label[label] = canonical(ijk, affine, path).array.astype(np.float32)
            return by_label, channels
    except (*_UNREADABLE, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(path, f"cannot be read ({error})", _REMEDY) from error


def _header(
    stream: IO[bytes], grid: tuple[int, ...], path: Path
) -> tuple[np.dtype[np.generic], int]:
    """Read the header of the array; returns its type and its number of channels."""
    if np.lib.format.read_magic(stream) != (1, 0):  # later ones are for huge headers
        raise ValueError(f"{MEMBER} has an unusual header")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind != "f" or fortran or len(shape) != 4:
        raise ValueError(f"{MEMBER} is not (channels, k, j, i) of floating-point numbers")
    if shape[1:] != grid:
        stored, wanted = (" x ".join(map(str, s[::-1])) for s in (shape[1:], grid))
        raise InputError(
            path, f"has {stored} voxels, and the segmentation beside it {wanted}", _REMEDY
        )
    return dtype, int(shape[0])


def _channel(
    stream: IO[bytes], dtype: np.dtype[np.generic], grid: tuple[int, ...]
) -> NDArray[np.generic]:
    size = int(np.prod(grid)) * dtype.itemsize
    data = stream.read(size)
    if len(data) != size:
        raise EOFError("it is cut short")
    return np.frombuffer(data, dtype).reshape(grid)
