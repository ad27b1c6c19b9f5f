"""Retrieve the series of a study on a server, each into a folder (QIDO-RS and WADO-RS)."""

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from converters.core.errors import InputError, ParameterError
from converters.core.progress import progress
from converters.imaging.dicom import series as dicom
from detect.dicomweb.address import PARAMETER, Address, is_uid
from detect.dicomweb.parts import boundary, write_parts
from detect.dicomweb.server import Server, ServerError, chunks

MOST_BYTES = 64 << 30
"""Of one series; a photon-counting CT has some GB."""
MOST_SERIES = 2000
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'  # as it is stored
_MODALITY, _SERIES, _INSTANCES = "00080060", "0020000E", "00201209"


@dataclass
class Retrieved:
    """Series that were retrieved of a study.

    Attributes:
        folders: folder of each series → how to call it: `series 2 of 3`.
        errors: one for each series that could not be retrieved.
        skipped: series of other modalities, which were not retrieved.
    """

    folders: dict[Path, str] = field(default_factory=dict)
    errors: list[InputError] = field(default_factory=list)
    skipped: list[InputError] = field(default_factory=list)


@dataclass(frozen=True)
class _Series:
    uid: str
    modality: str
    instances: int


def retrieve(
    server: Server,
    address: Address,
    modality: str,
    into: Path,
    *,
    keep_identifiers: bool = False,
) -> Retrieved:
    """Fetch the series of a study, or one series, each into its folder.

    Args:
        server: to ask.
        address: of the study or series.
        modality: of the scans wanted; series that the server says are others are not fetched.
        into: an empty folder.
        keep_identifiers: name the folders by the series' UIDs instead of numbers.

    Raises:
        InputError: the server refuses, or has no such study, or no such scan in it.
    """
    result = Retrieved()
    try:
        if address.series is None:
            listed = _list_series(server, address)
        else:
            listed = [_Series(address.series, modality, 0)]
    except ServerError as error:
        raise error.at(PARAMETER) from None
    names = {series: f"series {n} of {len(listed)}" for n, series in enumerate(listed, 1)}
    wanted = [series for series in listed if series.modality in ("", modality)]
    result.skipped = [
        ParameterError(
            f"{PARAMETER}, {names[series]}", f"is {series.modality}", f"only {modality} is fetched"
        )
        for series in listed
        if series not in wanted
    ]
    if not wanted:
        kinds = Counter(series.modality for series in listed)
        present = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        raise ParameterError(
            PARAMETER,
            f"the study holds no {modality} series (there are: {present or 'none at all'})",
            "check the study's UID",
        )
    with progress("retrieve", len(wanted)) as advance:
        for series in wanted:
            name = names[series]
            folder = into / (series.uid if keep_identifiers else name.replace(" ", "-"))
            try:
                _fetch(server, address, series, folder)
                result.folders[folder] = name
            except ServerError as error:
                if address.series is not None:
                    raise error.at(PARAMETER) from None
                result.errors.append(error.at(f"{PARAMETER}, {name}"))
            advance("")
    return result


def _list_series(server: Server, address: Address) -> list[_Series]:
    """List the series of a study; servers may give them a page at a time."""
    listed: dict[str, _Series] = {}
    while True:
        page = f"?offset={len(listed)}" if listed else ""
        content, more = server.get_json(f"/studies/{address.study}/series{page}")
        before = len(listed)
        for item in content if isinstance(content, list) else []:
            uid = _value(item, _SERIES)
            if not is_uid(uid):
                raise ServerError("lists series without a UID", "see the server's log")
            kind, count = _value(item, _MODALITY), _value(item, _INSTANCES)
            code = isinstance(kind, str) and len(kind) <= 16 and kind.isascii() and kind.isalnum()
            series = _Series(uid, kind if code else "", count if isinstance(count, int) else 0)
            listed.setdefault(uid, series)
        if len(listed) > MOST_SERIES:
            raise ServerError(f"lists more than {MOST_SERIES} series", "give a single one")
        if not more or len(listed) == before:
            return list(listed.values())


def _value(item: Any, tag: str) -> Any:
    """Return the first value of a tag in DICOM JSON, or None."""
    try:
        return item[tag]["Value"][0]
    except (KeyError, IndexError, TypeError):
        return None


def _fetch(server: Server, address: Address, series: _Series, folder: Path) -> None:
    """Retrieve one series: all of its objects, and no others."""

    def use(response: requests.Response) -> None:
        shutil.rmtree(folder, ignore_errors=True)  # of an attempt that broke off
        folder.mkdir()
        between = boundary(response.headers.get("Content-Type", ""))
        count = write_parts(chunks(response, MOST_BYTES, folder), between, folder)
        if count < series.instances:
            raise ServerError(
                f"sends {count} of {series.instances} objects", "try again later", again=True
            )

    try:
        server.get(address.series_path(series.uid), _ACCEPT, use)
        for path in folder.iterdir():
            _check_belongs(path, address.study, series.uid)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _check_belongs(path: Path, study: str, series: str) -> None:
    """Refuse an object of another study or series: its results would go to another patient."""
    tags = ["StudyInstanceUID", "SeriesInstanceUID"]
    try:
        header = dicom.load(path, tags) if dicom.is_dicom(path) else None
        with dicom.as_input_errors(path):
            uids = [str(header.get(tag, "")) for tag in tags] if header else None
    except InputError:
        uids = None
    if uids is None:
        raise ServerError("sends something that is not a DICOM object", "see the server's log")
    if uids != [study, series]:
        raise ServerError("sends objects of another study or series", "see the server's log")
