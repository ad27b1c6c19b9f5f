"""Find lesions in a study on a DICOMweb server, and store what was found beside it."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from converters.core.errors import InputError
from detect.dicomweb.address import OPTION, parse_address
from detect.inference.dicom.source import check_installed
from detect.inference.job import make_job
from detect.inference.process_scan import SEG_FILE, SR_FILE
from detect.workflows.predict import PredictResult, predict


@dataclass(frozen=True)
class StudyResult:
    """What came of a study.

    Attributes:
        prediction: of its series; its errors hold those of the server, too.
        stored: how many DICOM objects the server took.
    """

    prediction: PredictResult
    stored: int


def predict_study(
    model: Path | Sequence[Path],
    url: str,
    *,
    out: Path,
    store: bool = False,
    dicom_sr: bool = False,
    dicom_seg: bool = False,
    keep_identifiers: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
    **options: Any,
) -> StudyResult:
    """Retrieve the series of a study into a temporary folder, and find the lesions in each.

    Args:
        model: as `predict`'s.
        url: `dicomweb+http://HOST:PORT/…/studies/UID`, or one series of it.
        out: as `predict`'s.
        store: store the SR, and the SEG where asked for, in the study.
        dicom_sr, dicom_seg: as `predict`'s; `store` asks for the SR.
        keep_identifiers: name the cases by the UIDs of the series.
        workers, scheduler: as `predict`'s; a cluster must see the temporary folder, too.
        options: the others of `predict`.

    Raises:
        InputError: the request is wrong as a whole, or the server does not have the study.
    """
    address = parse_address(url)
    if find_spec("requests") is None or find_spec("python_multipart") is None:
        raise InputError(OPTION, "needs more packages", 'pip install "detect[dicomweb]"')
    from detect.dicomweb.credentials import from_environment
    from detect.dicomweb.retrieve import retrieve
    from detect.dicomweb.server import Server

    if store:
        check_installed("--store")
        dicom_sr = True
    models = [model] if isinstance(model, Path) else list(model)
    options |= {"dicom_sr": dicom_sr, "dicom_seg": dicom_seg}
    modality = make_job(
        models, out, **options
    ).used.spec.representation.modality  # wrong options fetch nothing
    server = Server(address.base, from_environment())
    try:
        with tempfile.TemporaryDirectory(prefix="detect-") as folder:
            got = retrieve(
                server,
                address,
                modality,
                Path(folder),
                keep_identifiers=keep_identifiers,
            )
            result = predict(
                models,
                list(got.folders),
                out=out,
                keep_identifiers=keep_identifiers,
                workers=workers,
                scheduler=scheduler,
                **options,
            )
        errors = got.errors + [_named(error, got.folders) for error in result.errors]
        passed_over = got.passed_over + [_named(why, got.folders) for why in result.passed_over]
        stored = 0
        if store:
            wanted = [SR_FILE, SEG_FILE] if dicom_seg else [SR_FILE]
            stored, refused = _store(server, address, result, wanted)
            errors += refused
    finally:
        server.close()
    return StudyResult(replace(result, errors=errors, passed_over=passed_over), stored)


def _named(error: InputError, folders: dict[Path, str]) -> InputError:
    """An error of a series under the name that the user knows it by."""
    place = Path(error.path)
    for folder, name in folders.items():
        if place == folder or folder in place.parents:
            return InputError(f"{OPTION}, {name}", error.problem, error.remedy)
    return error


def _store(
    server: Any, address: Any, result: PredictResult, wanted: Sequence[str]
) -> tuple[int, list[InputError]]:
    """Store the objects of each case; returns how many there were, and what was refused."""
    from detect.dicomweb.server import ServerError
    from detect.dicomweb.store import store

    stored, errors = 0, []
    for case in result.rows:
        files = [path for name in wanted if (path := result.folder / case / name).exists()]
        try:
            if files:
                store(server, address, files)
                stored += len(files)
        except ServerError as error:
            errors.append(error.at(f"--store, {case}"))
    return stored, errors
