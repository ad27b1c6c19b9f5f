"""Decode the pixels of a DICOM series into one array of HU."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from converters.core.errors import InputError
from converters.imaging.dicom.geometry import Slice
from converters.imaging.dicom.quiet import quiet
from converters.imaging.raw import COPY_AGAIN, unreadable

MAX_COMPRESSION = 5000
"""No slice packs more than this; an all-air 512 x 512 JPEG 2000 slice reaches about 500."""

_UNCOMPRESSED = {
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
}
_INT16 = np.iinfo(np.int16)
_PLUGINS = ("gdcm", "pydicom")  # a fixed choice: with others about, results could depend on luck


def read_pixels(folder: Path, slices: list[Slice]) -> NDArray[np.generic]:
    """Decode the pixels of slices as ``(slices, rows, columns)`` HU.

    The type is int16 where all values are whole numbers that fit it, else float32.

    Args:
        folder: named where the whole is at fault.
        slices: of one shape, in the order wanted.

    Raises:
        InputError: pixels are missing, cut short, damaged or of an unknown compression.
    """
    shape = (len(slices), *slices[0].shape)
    check_size(folder, slices, shape)
    result: NDArray[Any] = np.empty(shape, np.int16)
    ranked = sorted(enumerate(slices), key=lambda pair: (str(pair[1].path), pair[1].frame))
    for path, group in groupby(ranked, key=lambda pair: pair[1].path):
        members = list(group)
        frames = read_frames(path, [item.frame for _, item in members])
        for (rank, item), stored in zip(members, frames, strict=True):
            if stored.shape != item.shape:
                raise InputError(path, "has pixels of another size than it states", COPY_AGAIN)
            values = _hu(item, stored)
            if result.dtype == np.int16 and not _whole(values):
                result = result.astype(np.float32)
            result[rank] = values
    return result


def check_size(folder: Path, slices: list[Slice], shape: tuple[int, ...]) -> None:
    """Refuse headers that state far more pixels than the files could hold.

    Raises:
        InputError: the pixels would not fit into the files at any compression.
    """
    held = sum(path.stat().st_size for path in {item.path for item in slices})
    if shape[0] * shape[1] * shape[2] > held * MAX_COMPRESSION or 0 in shape:
        raise InputError(
            folder,
            f"promises {shape[2]} x {shape[1]} x {shape[0]} pixels in files of {held} bytes",
            COPY_AGAIN,
        )


def read_frames(path: Path, indices: list[int]) -> Iterator[NDArray[np.generic]]:
    """Decode some frames of a file, without any message of pydicom's, which may quote tags.

    Raises:
        InputError: the pixels are missing, damaged or of an unknown compression.
    """
    with quiet():
        try:
            dataset = dcmread(path, force=True)
            syntax = _transfer_syntax(path, dataset)
            if "PixelData" not in dataset:
                raise InputError(path, "has no pixel data, or is cut short within them", COPY_AGAIN)
            if syntax in _UNCOMPRESSED and dataset.BitsAllocated == 1:
                yield from _bits(path, dataset, indices)
                return
            plugin = "" if syntax in _UNCOMPRESSED else _plugin(path, syntax)
            yield from iter_pixels(dataset, indices=indices, raw=True, decoding_plugin=plugin)
        except InputError:
            raise
        except OSError as error:
            raise unreadable(path, error) from None
        except Exception:  # decoders raise many kinds on damaged data
            raise InputError(
                path, "has pixel data that are damaged or cut short", COPY_AGAIN
            ) from None


def _bits(path: Path, dataset: Dataset, indices: list[int]) -> Iterator[NDArray[np.uint8]]:
    """Unpack frames of one bit a pixel; pydicom expects each to begin with a byte."""
    size = dataset.Rows * dataset.Columns
    packed = np.frombuffer(dataset.PixelData, np.uint8)
    if int(dataset.NumberOfFrames) * size > 8 * len(packed):
        raise InputError(path, "has pixel data that are cut short", COPY_AGAIN)
    for index in indices:
        first, last = index * size, (index + 1) * size
        bits = np.unpackbits(packed[first // 8 : -(-last // 8)], bitorder="little")
        yield bits[first % 8 :][:size].reshape(dataset.Rows, dataset.Columns)


def _transfer_syntax(path: Path, dataset: Dataset) -> UID:
    """Return the transfer syntax as stated, or as pydicom detected it without group 0002."""
    stated = dataset.file_meta.get("TransferSyntaxUID")
    if stated:
        return UID(stated)
    implicit, little = dataset.original_encoding
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    if not little:
        syntax = ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = syntax
    return syntax


def _plugin(path: Path, syntax: UID) -> str:
    try:
        available = get_decoder(syntax).available_plugins
    except NotImplementedError:
        available = ()
    for plugin in _PLUGINS:
        if plugin in available:
            return plugin
    name = syntax.name if syntax.is_transfer_syntax and not syntax.is_private else "unknown"
    raise InputError(
        path,
        f"is compressed in a way that cannot be decoded ({name})",
        "decompress the series, for example with `gdcmconv --raw`",
    )


def _hu(item: Slice, stored: NDArray[np.generic]) -> NDArray[Any]:
    if item.slope == 1 and item.intercept == 0:
        return stored
    return np.asarray(stored.astype(np.float64) * item.slope + item.intercept)


def _whole(values: NDArray[Any]) -> bool:
    if not (values.min() >= _INT16.min and values.max() <= _INT16.max):
        return False
    return values.dtype.kind in "iu" or bool((np.rint(values) == values).all())
