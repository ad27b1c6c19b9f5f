"""Compute SHA-256 hashes over the files of a scan or a mask."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from converters.imaging.dicom.geometry import DicomSeries
from converters.imaging.read import source_files


def hash_files(scan: Path | DicomSeries) -> str:
    """Compute the SHA-256 over the files that make up a scan or a mask, in sorted order.

    ``scan`` is as for `read_volume`.
    """
    return hash_contents(source_files(scan))


def hash_contents(files: Sequence[Path], names: Sequence[str] = ()) -> str:
    """Compute the SHA-256 over some names and the contents of files, in the order given."""
    digest = hashlib.sha256("\n".join(names).encode())
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
