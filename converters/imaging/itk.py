"""Read NRRD and MetaImage, the formats of ITK and 3D Slicer, with the data inside or beside them.

SimpleITK is not used, for it verifies no checksum, returns whatever a MetaImage stream that it
cannot unpack happened to yield, and writes its complaints to stderr. It opens any path that a
header names, and a check before it is no remedy: its parsers end lines and names at characters
where another parser does not, so that a header can show them another path than it shows the check.
The tests compare every accepted variant with SimpleITK.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.core.errors import InputError
from converters.imaging.raw import COPY_AGAIN, Packing, open_file, read_voxels
from converters.imaging.stored import Stored

HEADER_LIMIT = 1 << 20
"""Bytes within which a text header must end; segmentations list their segments in theirs."""

NRRD_SUFFIXES = (".nrrd", ".nhdr")
"""Names of NRRD files: data inside, data beside."""

META_SUFFIXES = (".mha", ".mhd")
"""Names of MetaImage files: data inside, data beside."""

_AGAIN = "save the image again with 3D Slicer or ITK, as .nrrd or .mha"
_GEOMETRY = "export it again with direction, spacing and origin"

_NRRD_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_NRRD_CODES = {name: code for code, names in _NRRD_TYPES.items() for name in names}
_NRRD_TO_LPS = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
_META_CODES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_META_MODALITIES = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR"}


@dataclass(frozen=True)
class _Header:
    """Hold the fields of a NRRD or MetaImage text header."""

    data: Path
    packing: Packing
    start: int  # byte of ``data`` at which the voxels or their stream begin; -1: they end the file
    skip: int  # bytes to pass over after unpacking
    dtype: np.dtype[np.generic]
    size: tuple[int, ...]  # (i, j, k)
    affine: NDArray[np.float64]
    modality: str = field(default="")


def read(path: Path) -> Stored:
    """Read a NRRD or MetaImage file.

    Raises:
        InputError: it is not one undamaged, real-valued volume with geometry.
    """
    header = _header(path)
    start = header.start
    if start < 0:
        bytes_needed = header.dtype.itemsize
        for extent in header.size:
            bytes_needed *= extent
        start = max(header.data.stat().st_size - bytes_needed, 0)
    array = read_voxels(
        header.data, header.size[::-1], header.dtype, header.packing, start, header.skip
    )
    return Stored(array, header.affine, modality=header.modality)


def files(path: Path) -> list[Path]:
    """List the header file and, where the voxels lie beside it, the data file; sorted.

    Raises:
        InputError: the header cannot be understood.
    """
    return sorted({path, _header(path).data})


def _header(path: Path) -> _Header:
    nrrd = path.suffix.lower() in NRRD_SUFFIXES
    lines, end = _text(path, nrrd)
    try:
        return _nrrd(path, lines, end) if nrrd else _meta(path, lines, end)
    except KeyError as error:
        raise InputError(path, f"lacks the header field `{error.args[0]}`", _AGAIN) from error
    except (ValueError, OverflowError) as error:
        raise InputError(
            path, "has a header field that is not the number needed", _AGAIN
        ) from error


def _text(path: Path, nrrd: bool) -> tuple[list[str], int]:
    """Return the lines of the text header, and the byte at which it ends."""
    with open_file(path) as stream:
        head = stream.read(HEADER_LIMIT)
    if nrrd and not head.startswith(b"NRRD000"):
        raise InputError(path, "is not a NRRD file, whatever its name says", _AGAIN)
    lines: list[str] = []
    end = 0
    while end < len(head):
        stop = head.find(b"\n", end)
        stop = len(head) if stop < 0 else stop
        line = head[end:stop].decode("utf-8", "replace").rstrip("\r")
        end = min(stop + 1, len(head))
        if nrrd and not line:
            return lines, end
        lines.append(line)
        if not nrrd and line.partition("=")[0].strip().lower() == "elementdatafile":
            return lines, end
        if not nrrd and "=" not in line:
            raise InputError(path, "is not a MetaImage file, whatever its name says", _AGAIN)
    if nrrd and len(head) < HEADER_LIMIT:  # a detached header may do without the blank line
        return lines, end
    raise InputError(path, "has a header without an end", COPY_AGAIN)


def _nrrd(path: Path, lines: list[str], end: int) -> _Header:
    fields = {}
    for line in lines[1:]:
        name, colon, value = line.partition(": ")
        if colon and not line.startswith("#") and ":=" not in name:
            fields[name.strip().lower().replace(" ", "")] = value.strip()

    size = tuple(int(word) for word in fields["sizes"].split())
    _check_rank(path, int(fields["dimension"]), size)
    if fields["type"].lower() not in _NRRD_CODES:
        raise InputError(path, "stores voxels that are not plain numbers", _AGAIN)
    code = _NRRD_CODES[fields["type"].lower()]
    order = "<"
    if code[1] != "1":
        order = {"little": "<", "big": ">"}.get(fields["endian"].lower(), "")
        if not order:
            raise InputError(path, "states no byte order that NRRD knows", _AGAIN)

    encoding = fields["encoding"].lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise InputError(path, "stores its voxels neither raw nor with gzip", _AGAIN)
    packing: Packing = "raw" if encoding == "raw" else "packed"
    skip = int(fields.get("byteskip", 0))
    if int(fields.get("lineskip", 0)) != 0 or skip < (-1 if packing == "raw" else 0):
        raise InputError(path, "asks to skip lines or an impossible number of bytes", _AGAIN)

    detached = fields.get("datafile")
    if detached is None and path.suffix.lower() == ".nhdr":
        raise InputError(path, "names no data file", _AGAIN)
    data = path if detached is None else _beside(path, detached)
    start = 0 if detached is not None else end
    if packing == "raw":  # counted from where the data begin, or -1 for "at the file's end"
        start, skip = (-1 if skip < 0 else start + skip), 0
    return _Header(
        data=data,
        packing=packing,
        start=start,
        skip=skip,
        dtype=np.dtype(order + code),
        size=size,
        affine=_nrrd_affine(path, fields),
    )


def _nrrd_affine(path: Path, fields: dict[str, str]) -> NDArray[np.float64]:
    missing = [name for name in ("space", "spacedirections", "spaceorigin") if name not in fields]
    if missing:
        names = " and ".join(f"`{name.replace('space', 'space ').strip()}`" for name in missing)
        raise InputError(path, f"states no geometry: {names} missing", _GEOMETRY)
    signs = _NRRD_TO_LPS.get(fields["space"].lower())
    if signs is None:
        raise InputError(
            path, "states its geometry in a space that is not the patient's", _GEOMETRY
        )
    units = fields.get("spaceunits", "").replace('"', " ").lower().split()
    if set(units) - {"mm", "millimeter", "millimeters", "millimetre", "millimetres"}:
        raise InputError(path, "states its geometry in a unit other than mm", _GEOMETRY)
    affine = np.eye(4)
    affine[:3, :3] = _numbers(fields["spacedirections"], 9).reshape(3, 3).T
    affine[:3, 3] = _numbers(fields["spaceorigin"], 3)
    return np.diag([*signs, 1.0]) @ affine


def _meta(path: Path, lines: list[str], end: int) -> _Header:
    fields = {}
    for line in lines:
        name, _, value = line.partition("=")
        fields[name.strip().lower()] = value.strip()

    size = tuple(int(word) for word in fields["dimsize"].split())
    _check_rank(path, int(fields["ndims"]), size)
    code = _META_CODES.get(fields["elementtype"].upper())
    if code is None or int(fields.get("elementnumberofchannels", 1)) != 1:
        raise InputError(path, "stores voxels that are not plain numbers", _AGAIN)
    if not _true(fields.get("binarydata", "True")):
        raise InputError(path, "stores its voxels as text", _AGAIN)
    big = _true(fields.get("elementbyteordermsb", fields.get("binarydatabyteordermsb", "False")))
    packing: Packing = "packed" if _true(fields.get("compresseddata", "False")) else "raw"

    start = int(fields.get("headersize", 0))
    if start < (-1 if packing == "raw" else 0):
        raise InputError(path, "asks to skip an impossible number of bytes", _AGAIN)
    local = fields["elementdatafile"].upper() == "LOCAL"
    if local and start == 0:
        start = end
    return _Header(
        data=path if local else _beside(path, fields["elementdatafile"]),
        packing=packing,
        start=start,
        skip=0,
        dtype=np.dtype((">" if big else "<") + code),
        size=size,
        affine=_meta_affine(path, fields),
        modality=_META_MODALITIES.get(fields.get("modality", "").upper(), ""),
    )


def _meta_affine(path: Path, fields: dict[str, str]) -> NDArray[np.float64]:
    values = []
    for names in (
        ("transformmatrix", "rotation", "orientation"),
        ("elementspacing",),
        ("offset", "position", "origin"),
    ):
        value = next((fields[name] for name in names if name in fields), None)
        if value is None:
            raise InputError(path, f"states no geometry: `{names[0]}` missing", _GEOMETRY)
        values.append(value)
    affine = np.eye(4)
    # each row of the matrix is the direction of one axis of the file
    affine[:3, :3] = _numbers(values[0], 9).reshape(3, 3).T * _numbers(values[1], 3)
    affine[:3, 3] = _numbers(values[2], 3)
    return affine


def _beside(path: Path, name: str) -> Path:
    """Return the data file that a header names, which must lie in the header's folder."""
    if name.upper().startswith("LIST") or "%" in name:
        raise InputError(path, "spreads its voxels over several data files", _AGAIN)
    folder = path.parent
    try:
        data = folder / Path(name)  # an absolute name replaces the folder, and fails the test
        inside = data.resolve().parent == folder.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a null byte, a loop of links
        raise InputError(path, "names an impossible data file", _AGAIN) from error
    if not inside or Path(name).is_absolute():
        raise InputError(
            path,
            "names a data file outside its own folder, which is not followed",
            "put the data file beside the header and write its bare name there",
        )
    if not data.is_file():
        raise InputError(
            path,
            f"needs the data file {data.name!r}, which is not beside it",
            "copy both files together",
        )
    return folder / data.name


def _check_rank(path: Path, rank: int, size: tuple[int, ...]) -> None:
    if rank != 3 or len(size) != 3:
        raise InputError(
            path, f"has {rank} dimensions, not 3", "split it into one 3D file per volume"
        )
    if min(size) < 1:
        raise InputError(path, f"states impossible dimensions {list(size)}", _AGAIN)


def _numbers(text: str, count: int) -> NDArray[np.float64]:
    words = text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    if len(words) != count:
        raise ValueError(text)
    return np.array([float(word) for word in words])


def _true(text: str) -> bool:
    return text[:1].upper() in ("T", "Y", "1")
