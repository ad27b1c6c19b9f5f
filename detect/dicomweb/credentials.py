"""Read the credentials for a server from the environment: no password is an argument."""

import os
from base64 import b64encode

from requests import PreparedRequest
from requests.auth import AuthBase

from converters.core.errors import InputError

USER, PASSWORD, TOKEN = (
    "DETECT_DICOMWEB_USER",
    "DETECT_DICOMWEB_PASSWORD",
    "DETECT_DICOMWEB_TOKEN",
)


class Credentials(AuthBase):
    """Authentication of requests, by an Authorization header or none.

    It is always set, as requests would look for a password in `.netrc` otherwise.
    """

    def __init__(self, header: str | None) -> None:
        """Keep the value of the Authorization header; None for none."""
        self._header = header

    @property
    def given(self) -> bool:
        """Tell whether requests carry credentials."""
        return self._header is not None

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sign one request."""
        if self._header is not None:
            request.headers["Authorization"] = self._header
        return request


def from_environment() -> Credentials:
    """Read `DETECT_DICOMWEB_USER` and `_PASSWORD`, or `_TOKEN`.

    Raises:
        InputError: user and password are not both set, both kinds are set, or one cannot be sent.
    """
    user, password = os.environ.get(USER, ""), os.environ.get(PASSWORD, "")
    token = os.environ.get(TOKEN, "").strip()  # `$(cat file)` keeps no line end, others do
    if token and (user or password):
        raise InputError(TOKEN, f"is set beside {USER} and {PASSWORD}", "unset one or the other")
    if token:
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise InputError(TOKEN, "is not a bearer token", "set it to the bare token")
        return Credentials(f"Bearer {token}")
    if bool(user) != bool(password):
        missing, present = (PASSWORD, USER) if user else (USER, PASSWORD)
        raise InputError(missing, f"is not set, but {present} is", "set both, or neither")
    if ":" in user:
        raise InputError(USER, "holds a colon, which no user's name can", "correct it")
    if not user:
        return Credentials(None)
    return Credentials("Basic " + b64encode(f"{user}:{password}".encode()).decode())
