"""What a user asks for, checked as a whole before any scan is looked at."""

from collections.abc import Sequence
from pathlib import Path

from converters.core.errors import InputError
from detect.inference.model_set import choose_models
from detect.inference.process_scan import DICOM_FILES, Job


def make_job(
    models: Sequence[Path],
    out: Path,
    *,
    confidence: float | None = None,
    dicom_sr: bool = False,
    dicom_seg: bool = False,
    device: str = "auto",
    runtime: str = "torch",
    augment: bool = False,
    strict: bool = False,
    overwrite: bool = False,
) -> Job:
    """Check a request and settle what is the same for all scans; see `workflows.predict`.

    Raises:
        InputError: the models or the request are wrong as a whole.
    """
    if confidence is not None and not 0 <= confidence <= 1:
        raise InputError("--confidence", f"{confidence} is no score", "use a number from 0 to 1")
    used = choose_models(models, confidence, runtime, augment)
    if strict and used.unchecked:
        raise InputError("--strict", used.unchecked, "leave it out, or train again")
    if out.exists() and not out.is_dir():
        raise InputError(out, "is a file", "give a folder with --out")
    asked = zip(DICOM_FILES, (dicom_sr, dicom_seg), strict=True)
    wanted = frozenset(name for name, yes in asked if yes)
    if wanted:
        from detect.inference.dicom.source import check_installed

        check_installed("--dicom-sr" if dicom_sr else "--dicom-seg")
    return Job(used, device, out, wanted, overwrite, strict)
