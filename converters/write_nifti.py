"""Write an array on a canonical grid as NIfTI, the same bytes every time."""

import gzip
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from converters.core.errors import InputError

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_GZIP_LEVEL = 4  # of CT noise, 6 takes two to five times as long and makes no smaller file
_ONE_FILE = 352  # bytes before the voxels: the header and an empty list of extensions


def write_nifti(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Write ``array`` to ``path``, replacing it in one step; gzipped if the name ends in ``.gz``.

    Args:
        path: ``.nii`` or ``.nii.gz``, in a folder that exists.
        array: ``(slices, rows, columns)``; real numbers, bool is written as uint8.
        affine: ``(4, 4)``, canonical voxel ``(column, row, slice, 1)`` to patient mm (LPS). Written
            in RAS as both sform and qform, each with code 1.

    Raises:
        InputError: the file cannot be written there.
        ValueError: NIfTI cannot hold such an array.
    """
    if array.ndim != 3:
        raise ValueError(f"an array of 3 dimensions is needed, not {array.ndim}")
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    head = _header(array, affine)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            if path.name.lower().endswith(".gz"):
                # neither name nor time: both would change the bytes
                with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed:
                    _write(packed, head, array)
            else:
                _write(file, head, array)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            path,
            f"cannot be written ({error.strerror or 'no reason given'})",
            "check that the folder exists, may be written to and has space left",
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _header(array: NDArray[np.generic], affine: NDArray[np.float64]) -> bytes:
    make: Any = Nifti1Header  # nibabel's headers carry no types
    header = make(endianness="<")
    ras = _LPS_TO_RAS @ affine
    try:
        header.set_data_dtype(array.dtype)
        header.set_data_shape(array.shape[::-1])
    except HeaderDataError as error:
        raise ValueError(str(error)) from error
    header.set_qform(ras, code=1)
    header.set_sform(ras, code=1)
    header.set_xyzt_units("mm")
    header["vox_offset"] = _ONE_FILE
    header["magic"] = b"n+1"
    block: bytes = header.binaryblock
    return block + b"\0" * (_ONE_FILE - len(block))


def _write(stream: IO[bytes] | gzip.GzipFile, head: bytes, array: NDArray[np.generic]) -> None:
    stream.write(head)
    stream.write(array.data.cast("B"))  # NIfTI's first axis, the column, runs fastest too
