"""Study folders as hospitals have them."""

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    generate_uid,
)

from detect.inference.find_scans import DiscoveredScans, discover_scans
from tests.helpers.dicom_series import SECRETS, write_series

Edit = Callable[[int, Dataset], Dataset]

CORONAL = (1.0, 0, 0, 0, 0, -1.0)


def stack(
    folder: Path, edit: Edit | None = None, slices: int = 5, level: int = 1024, **how
) -> Path:
    write_series(folder, np.full((slices, 24, 32), level, np.uint16), edit, **how)
    return folder


def with_type(*values: str) -> Edit:
    def edit(number: int, ds: Dataset) -> Dataset:
        ds.ImageType = list(values)
        return ds

    return edit


def as_kind(sop_class: str, modality: str) -> Edit:
    def edit(number: int, ds: Dataset) -> Dataset:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
        ds.Modality = modality
        return ds

    return edit


def write_object(path: Path, sop_class: str, modality: str) -> None:
    """A DICOM object without pixels."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID, ds.Modality = generate_uid(), modality
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = SECRETS[:3]
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


def without_rights() -> None:
    """Make root obey permissions in a child process."""
    drop = 24  # PR_CAPBSET_DROP, which the next exec makes true
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(drop, capability, 0, 0, 0)


def is_closed(path: Path) -> bool:
    """Return True if a child process without rights cannot open a file or folder."""
    look = "import os, sys; os.close(os.open(sys.argv[1], os.O_RDONLY))"
    words = [sys.executable, "-c", look, str(path)]
    return bool(subprocess.run(words, capture_output=True, preexec_fn=without_rights).returncode)


def four_dimensional(data: bytes) -> bytes:
    header = bytearray(data)
    header[40:56] = np.array([4, 64, 48, 2, 3, 1, 1, 1], "<i2").tobytes()
    return bytes(header)


def look(path: Path, modality: str = "CT") -> DiscoveredScans:
    result = discover_scans([path], modality, path.parent / "no-such-folder")
    for reason in (*result.skipped, *result.errors):
        line = str(reason)
        assert "\n" not in line and reason.problem and reason.remedy
        assert not any(secret in line for secret in SECRETS)
    return result
