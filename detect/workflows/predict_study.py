"""Find lesions in a study on a DICOMweb server, and store the results in the study."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from converters.core.distribution import install_hint
from converters.core.errors import InputError, ParameterError
from detect.dicomweb.address import PARAMETER, parse_address
from detect.inference.dicom.source import check_installed
from detect.inference.job import DICOM_FILES, PredictSettings, prepare_job
from detect.workflows.predict import PredictResult, predict_scans


@dataclass(frozen=True)
class StudyResult:
    """Result of a study.

    Attributes:
        prediction: of its series; its errors hold those of the server, too.
        stored: how many DICOM objects the server took.
    """

    prediction: PredictResult
    stored: int


def predict_study(
    settings: PredictSettings,
    url: str,
    *,
    store: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
) -> StudyResult:
    """Retrieve the series of a study into a temporary folder, and find the lesions in each.

    Args:
        settings: of the prediction; `keep_identifiers` names the cases by the UIDs of the series.
        url: `dicomweb+http://HOST:PORT/…/studies/UID`, or one series of it.
        store: store the SR, and the SEG where asked for, in the study; writes the SR in any case.
        workers, scheduler: as `predict`'s; a cluster must see the temporary folder, too.

    Raises:
        InputError: the request is wrong as a whole, or the server does not have the study.
    """
    address = parse_address(url)
    if find_spec("requests") is None or find_spec("python_multipart") is None:
        raise ParameterError(PARAMETER, "needs more packages", f"run {install_hint('dicomweb')}")
    from detect.dicomweb.credentials import from_environment
    from detect.dicomweb.retrieve import retrieve
    from detect.dicomweb.server import Server

    if store:
        check_installed("store")
        settings = replace(settings, dicom_sr=True)
    spec = prepare_job(settings).models.spec  # wrong settings fetch nothing
    server = Server(address.base, from_environment())
    try:
        with tempfile.TemporaryDirectory(prefix="detect-") as folder:
            retrieved = retrieve(
                server,
                address,
                spec.representation.modality,
                Path(folder),
                keep_identifiers=settings.keep_identifiers,
            )
            folders = retrieved.folders
            result = predict_scans(settings, list(folders), workers=workers, scheduler=scheduler)
        errors = retrieved.errors + [_named(error, folders) for error in result.errors]
        skipped = retrieved.skipped + [_named(reason, folders) for reason in result.skipped]
        stored = 0
        if store:
            wanted = [name for name in DICOM_FILES if name in settings.dicom_files]
            stored, refused = _store(server, address, result, wanted)
            errors += refused
    finally:
        server.close()
    return StudyResult(replace(result, errors=errors, skipped=skipped), stored)


def _named(error: InputError, folders: dict[Path, str]) -> InputError:
    """Rename an error of a series after the name that the user knows it by."""
    place = Path(error.path)
    for folder, name in folders.items():
        if place == folder or folder in place.parents:
            return ParameterError(f"{PARAMETER}, {name}", error.problem, error.remedy)
    return error


def _store(
    server: Any, address: Any, result: PredictResult, wanted: Sequence[str]
) -> tuple[int, list[InputError]]:
    """Store the objects of each case; returns their number, and an error for each refusal."""
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
            errors.append(error.at(f"store, {case}"))
    return stored, errors
