"""Parse the address of a study, or of one series of it, on a DICOMweb server (`--from`)."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from converters.core.errors import ParameterError

PARAMETER = "url"
_SCHEMES = {"dicomweb+http": "http", "dicomweb+https": "https"}
_SHAPE = "dicomweb+https://HOST:PORT/dicom-web/studies/UID, or that and /series/UID"
_LONGEST_UID = 64


@dataclass(frozen=True)
class Address:
    """Address of a study or a series.

    Attributes:
        base: URL of the service, without a slash at its end.
        study, series: UIDs; the series is None where the whole study is meant. Never to be shown.
    """

    base: str
    study: str
    series: str | None

    def series_path(self, series: str) -> str:
        """Return the path of one series below `base`."""
        return f"/studies/{self.study}/series/{series}"


def parse_address(url: str) -> Address:
    """Parse a `dicomweb+http(s)` URL.

    Raises:
        InputError: it is not such a URL, or holds a password; the error never quotes it.
    """
    try:
        parts = urlsplit(url)
        scheme, host, _ = _SCHEMES.get(parts.scheme.lower()), parts.hostname, parts.port
    except ValueError:  # a port that is no number, brackets that do not match
        raise ParameterError(PARAMETER, "is not a URL", f"give {_SHAPE}") from None
    if "@" in parts.netloc:
        raise ParameterError(
            PARAMETER,
            "holds a user or password",
            "put them into DETECT_DICOMWEB_USER and DETECT_DICOMWEB_PASSWORD instead",
        )
    place = re.fullmatch(r"(.*)/studies/([^/]+)(?:/series/([^/]+))?/?", parts.path)
    if not (scheme and host and place) or parts.query or parts.fragment:
        raise ParameterError(PARAMETER, "is not the address of a study", f"give {_SHAPE}")
    path, study, series = place.groups()
    if not all(is_uid(uid) for uid in (study, series) if uid is not None):
        raise ParameterError(
            PARAMETER, "has a UID of other characters than digits and dots", f"give {_SHAPE}"
        )
    return Address(f"{scheme}://{parts.netloc}{path}", study, series)


def is_uid(text: object) -> bool:
    """Return whether something is a UID: no other text may get into a path."""
    return (
        isinstance(text, str)
        and len(text) <= _LONGEST_UID
        and re.fullmatch(r"[0-9]+(\.[0-9]+)*", text) is not None
    )
