"""Read voxel bytes out of a file that may be truncated, damaged or hostile.

No reader library checks all of this: nibabel and SimpleITK ignore the checksum of a gzip stream,
SimpleITK fills what is missing with zeros. So the length is compared with what the header promises
before memory is asked for, and a packed stream is read to its end, where its checksum stands.
"""

import io
import os
import stat
from pathlib import Path
from typing import IO, Literal

import numpy as np
from isal import isal_zlib  # zlib's interface and checks, at twice its speed
from numpy.typing import NDArray

from converters.core.errors import InputError

Packing = Literal["raw", "packed"]
"""``packed`` is gzip (one member or several) or zlib, told apart by their first bytes."""

MAX_INFLATION = 1032
"""Deflate cannot expand a stream by more than this factor."""

COPY_AGAIN = "copy or download the file again"
"""The remedy for whatever is damaged or cut short."""

_Damage: type[Exception] = isal_zlib.IsalError  # type: ignore[assignment]  # its stub is wrong
_CHUNK = 1 << 20  # bytes
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_OR_ZLIB = 47  # zlib's wbits: 15, plus 32 for "look at the header"


def open_file(path: Path) -> IO[bytes]:
    """Open a regular, non-empty file for reading.

    Raises:
        InputError: it is missing, may not be read, is empty, or is a folder, pipe or device.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(path, "is a folder, not a file", "give a scan file")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise InputError(path, "is not a regular file", "give a scan file")
        stream = path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from error
    if os.fstat(stream.fileno()).st_size == 0:
        stream.close()
        raise InputError(path, "is empty", COPY_AGAIN)
    return stream


def unreadable(path: Path, error: OSError) -> InputError:
    """Turn an error of the operating system about ``path`` into an ``InputError``."""
    if isinstance(error, FileNotFoundError):
        return InputError(path, "does not exist", "check the spelling of the path")
    if isinstance(error, PermissionError):
        return InputError(path, "may not be read", "grant yourself permission to read it")
    reason = error.strerror or "the system gave no reason"
    return InputError(path, f"cannot be read ({reason})", "check the path and the disk")


def is_gzip(path: Path) -> bool:
    """Tell by its first bytes, not by its name, whether a file is a gzip stream."""
    with open_file(path) as stream:
        return stream.read(2) == _GZIP_MAGIC


def read_head(path: Path, count: int, packing: Packing) -> bytes:
    """Return up to ``count`` bytes from the start of the (unpacked) file."""
    with open_file(path) as stream:
        try:
            return (Unpacked(stream) if packing == "packed" else stream).read(count)
        except (_Damage, EOFError) as error:
            raise _damaged(path, error) from error
        except OSError as error:
            raise unreadable(path, error) from error


def read_voxels(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    packing: Packing,
    start: int = 0,
    skip: int = 0,
) -> NDArray[np.generic]:
    """Read one block of voxels into a single new array.

    Args:
        path: the file that holds them.
        shape: of the array, slowest axis first; every extent at least 1.
        dtype: as stored, byte order included; the array returned has the machine's.
        packing: whether the block is compressed.
        start: byte in the file where the block, or its compressed stream, begins.
        skip: bytes to pass over at the start of the unpacked stream.

    Raises:
        InputError: the file is shorter than the shape needs, the stream is cut short, its checksum
            is wrong, or more follows than the header states.
    """
    needed = int(dtype.itemsize)
    for extent in shape:  # whole numbers without limit: numpy's would overflow on a hostile header
        needed *= int(extent)
    with open_file(path) as stream:
        held = os.fstat(stream.fileno()).st_size - start
        limit = held * (MAX_INFLATION if packing == "packed" else 1)
        if needed + skip > max(limit, 0):
            size = " x ".join(str(extent) for extent in reversed(shape))
            raise InputError(
                path,
                f"is cut short: its header promises {size} voxels ({needed} bytes), "
                f"and the file holds {max(held, 0)} bytes of {packing} data",
                COPY_AGAIN,
            )
        array = np.empty(shape, dtype)
        target = array.reshape(-1).view(np.uint8).data
        try:
            stream.seek(start)
            source = Unpacked(stream) if packing == "packed" else stream
            _pass_over(source, skip)
            _fill(source, target)
            if packing == "packed" and len(source.read(_CHUNK)) == _CHUNK:
                raise InputError(
                    path,
                    "holds more data than its header states",
                    "export the scan again: header and voxels do not belong together",
                )
        except (_Damage, EOFError) as error:
            raise _damaged(path, error) from error
        except OSError as error:
            raise unreadable(path, error) from error
    if not array.dtype.isnative:
        array = array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))
    return array


class Unpacked(io.RawIOBase):
    """The unpacked bytes of a gzip or zlib stream; its checksum is verified at its end.

    Used in place of ``gzip.GzipFile``, which does not know zlib and copies through small buffers.
    Raises ``EOFError`` where the stream is cut short and ``IsalError`` where it is damaged.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        """Start at the present position of ``stream``."""
        super().__init__()
        self._stream = stream
        self._inflate = isal_zlib.decompressobj(_GZIP_OR_ZLIB)
        self._pending = b""
        self._started = False

    def readable(self) -> bool:
        """Return True, as ``io`` expects of a stream that can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return ``size`` bytes, or fewer at the end; a size must be given."""
        buffer = bytearray(size)
        done = 0
        while done < size and (count := self.readinto(memoryview(buffer)[done:])):
            done += count
        return bytes(buffer[:done])

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill part of ``buffer`` and return how many bytes; 0 at the verified end."""
        while True:
            if self._inflate.eof:
                self._pending = self._inflate.unused_data or self._pending
                if len(self._pending) < len(_GZIP_MAGIC):
                    self._pending += self._stream.read(_CHUNK)
                if not self._pending.startswith(_GZIP_MAGIC):
                    return 0  # what follows the stream is padding
                self._inflate = isal_zlib.decompressobj(_GZIP_OR_ZLIB)  # the next gzip member
            if not self._pending:
                self._pending = self._stream.read(_CHUNK)
            piece = self._inflate.decompress(self._pending, min(len(buffer), _CHUNK))
            starved = not self._pending
            self._pending = self._inflate.unconsumed_tail
            if piece:
                buffer[: len(piece)] = piece
                return len(piece)
            if starved and not self._inflate.eof:
                raise EOFError


def _fill(source: IO[bytes] | Unpacked, target: memoryview) -> None:
    done = 0
    while done < len(target):
        count = source.readinto(target[done:])  # type: ignore[union-attr]
        if not count:
            raise EOFError
        done += count


def _pass_over(source: IO[bytes] | Unpacked, count: int) -> None:
    while count > 0:
        piece = len(source.read(min(count, _CHUNK)))
        if not piece:
            raise EOFError
        count -= piece


def _damaged(path: Path, error: Exception) -> InputError:
    if isinstance(error, EOFError):
        return InputError(path, "is cut short: its data end too early", COPY_AGAIN)
    return InputError(path, "is damaged: its compressed data or checksum are wrong", COPY_AGAIN)
