"""Read and write NIfTI-1 and NIfTI-2 in one file, plain or gzipped."""

import gzip
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from converters.core.errors import InputError
from converters.core.files import atomic_file
from converters.imaging.raw import COPY_AGAIN, Packing, is_gzip, read_head, read_voxels
from converters.imaging.stored import Stored

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_GZIP_LEVEL = 4  # of CT noise, 6 takes two to five times as long and makes no smaller file

_ONE_FILE = 352  # bytes before the voxels: the header and an empty list of extensions

_Header = Any  # nibabel's headers carry no types

_HEADERS: dict[int, tuple[_Header, bytes, int]] = {
    348: (Nifti1Header, b"n+1\0", 344),
    540: (Nifti2Header, b"n+2\0", 4),
}
"""By the header's own first number, its length: class, magic of a one-file NIfTI and its place."""

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown, metre, mm, micron


def read(path: Path) -> Stored:
    """Read a NIfTI file.

    Raises:
        InputError: it is not a readable one-file NIfTI of one real-valued volume with geometry.
    """
    packing: Packing = "packed" if is_gzip(path) else "raw"
    header = _header(path, read_head(path, max(_HEADERS), packing))
    try:
        shape = _shape(path, header)
        dtype = _dtype(path, header)
        affine = _affine(path, header)
        slope, intercept = header.get_slope_inter()  # (None, None) for a slope of 0 or NaN
        offset = float(header["vox_offset"])
    except (HeaderDataError, ValueError, KeyError, OverflowError) as error:
        raise InputError(
            path, "has a NIfTI header with impossible values", "export the scan again"
        ) from error
    if not (header.sizeof_hdr + 4 <= offset < 2**53):
        raise InputError(
            path, f"states that its voxels begin at byte {offset:g}", "export the scan again"
        )
    array = read_voxels(path, shape[::-1], dtype, packing, skip=int(offset))
    return Stored(
        array,
        affine,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
    )


def _header(path: Path, head: bytes) -> _Header:
    """Read the header unchecked: nibabel's check mends silently what is to be reported."""
    for order in "<>":
        size = struct.unpack(order + "i", head[:4])[0] if len(head) >= 4 else 0
        if size not in _HEADERS:
            continue
        if len(head) < size:
            raise InputError(path, "is cut short within its header", COPY_AGAIN)
        kind, magic, place = _HEADERS[size]
        magic_in_file = head[place : place + 4]
        if magic_in_file == magic:
            return kind(head[:size], endianness=order, check=False)
        if magic_in_file in (b"ni1\0", b"ni2\0"):
            raise InputError(
                path,
                "is the header of a NIfTI pair (.hdr and .img)",
                "convert the pair to one .nii.gz file",
            )
    raise InputError(
        path,
        "is not a NIfTI file, whatever its name says",
        "give a .nii or .nii.gz file, or rename it to what it is",
    )


def _shape(path: Path, header: _Header) -> tuple[int, int, int]:
    rank = int(header["dim"][0])
    dims = [int(extent) for extent in header["dim"][1 : rank + 1]]
    if not 2 <= rank <= 7 or any(extent < 1 for extent in dims):
        raise InputError(
            path, f"states impossible dimensions {dims}", "export the scan as one 3D volume"
        )
    if any(extent > 1 for extent in dims[3:]):
        count = int(np.prod(dims[3:], dtype=object))
        raise InputError(
            path,
            f"holds {count} volumes or components ({len(dims)} dimensions)",
            "split it into one file per volume",
        )
    dims += [1]  # a single slice may be stored as two dimensions
    return dims[0], dims[1], dims[2]


def _dtype(path: Path, header: _Header) -> np.dtype[np.generic]:
    dtype: np.dtype[np.generic] = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputError(
            path,
            "stores colours, complex numbers or another voxel type that is not a plain number",
            "export the scan with whole-number HU (int16)",
        )
    return dtype


def _affine(path: Path, header: _Header) -> NDArray[np.float64]:
    """Return the affine to LPS mm: the sform where coded, else the qform, as nibabel and ITK do."""
    affine = header.get_sform(coded=True)[0]
    if affine is None:
        affine = header.get_qform(coded=True)[0]
    if affine is None:
        raise InputError(
            path,
            "states no geometry (qform_code and sform_code are 0), so left and right are unknown",
            "convert it again from the DICOM source",
        )
    unit = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    return np.asarray(np.diag([unit, unit, unit, 1.0]) @ _RAS_TO_LPS @ affine, dtype=np.float64)


def write_nifti(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Write ``array`` to ``path``, replacing it in one step; gzipped if the name ends in ``.gz``.

    Args:
        path: ``.nii`` or ``.nii.gz``; its folder is made where it is missing.
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
    head = _header_bytes(array, affine)
    try:
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            if path.name.lower().endswith(".gz"):
                # neither name nor time: both would change the bytes
                with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed:
                    _write_voxels(packed, head, array)
            else:
                _write_voxels(file, head, array)
    except OSError as error:
        raise InputError(
            path,
            f"cannot be written ({error.strerror or 'no reason given'})",
            "check that the folder may be written to and has space left",
        ) from error


def _header_bytes(array: NDArray[np.generic], affine: NDArray[np.float64]) -> bytes:
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


def _write_voxels(
    stream: IO[bytes] | gzip.GzipFile, head: bytes, array: NDArray[np.generic]
) -> None:
    stream.write(head)
    stream.write(array.data.cast("B"))  # NIfTI's first axis, the column, runs fastest too
