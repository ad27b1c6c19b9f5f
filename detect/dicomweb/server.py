"""Send requests to a DICOMweb server; each ends in an answer or in an error of one line.

The server is not trusted. Its answers are bounded in size and time, and redirects are not followed.
No text of the server, nor of the libraries below (which quote addresses), gets into a message.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import requests
import urllib3

from converters.core.errors import InputError, ParameterError
from detect.dicomweb.credentials import PASSWORD, TOKEN, USER, Credentials

T = TypeVar("T")
WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds between one attempt and the next."""
TIMEOUT = (10.0, 120.0)
"""Seconds to connect, and between two pieces of an answer; archives on tape take their time."""
LONGEST = 3600.0
"""Seconds for the head of an answer, and for its body, however steadily its bytes drip."""
LONGEST_WAIT = 60.0  # that a server may ask for
MOST_JSON = 16 << 20  # bytes
_SLOWEST = 10_000  # bytes a second, once it has been sending for _PATIENCE seconds
_PATIENCE = 60.0
_CHUNK = 1 << 20


class ServerError(Exception):
    """A fault of the server.

    Args:
        problem: what it did wrong, without a subject and a full stop, as in `InputError`.
        remedy: what to do about it.
        again: whether to try again.
        wait: seconds that it asks for.
    """

    def __init__(self, problem: str, remedy: str, again: bool = False, wait: float = 0) -> None:
        """Keep the parts."""
        super().__init__(problem)
        self.problem, self.remedy, self.again, self.wait = problem, remedy, again, wait

    def at(self, place: str) -> InputError:
        """Return the error for the user."""
        return ParameterError(place, f"the server {self.problem}", self.remedy)


class Server:
    """A session with one server.

    Args:
        base: its URL, without a slash at the end.
        credentials: of the user.
    """

    def __init__(self, base: str, credentials: Credentials) -> None:
        """Open a session; nothing is sent yet."""
        for name in ("urllib3", "python_multipart"):  # their warnings quote URLs and contents
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self._base, self._credentials = base, credentials
        self._session = requests.Session()
        self._session.auth = credentials
        # compressed answers have no size that could be bounded
        self._session.headers["Accept-Encoding"] = "identity"

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def get_json(self, path: str) -> tuple[Any, bool]:
        """GET DICOM JSON; returns its content (None if empty), and whether more pages follow.

        Raises:
            ServerError: the last attempt gave no such answer.
        """

        def once() -> tuple[Any, bool]:
            asked = self._ask("GET", path, "application/dicom+json")
            with closing(asked) as response, _ending(response):
                content = _json(b"".join(chunks(response, MOST_JSON)))
                return content, response.headers.get("Warning", "").startswith("299")

        return insist(once)

    def get(self, path: str, accept: str, use: Callable[[requests.Response], T]) -> T:
        """GET a path and `use` the answer; both are repeated where the connection breaks.

        Raises:
            ServerError: the last attempt gave no whole answer.
        """

        def once() -> T:
            with closing(self._ask("GET", path, accept)) as response, _ending(response):
                return use(response)

        return insist(once)

    def post(self, path: str, content_type: str, body: bytes) -> Any:
        """POST a body that may arrive twice without harm; returns the JSON answered, if any.

        Raises:
            ServerError: it was not taken.
        """

        def once() -> Any:
            asked = self._ask("POST", path, "application/dicom+json", content_type, body)
            with closing(asked) as response, _ending(response):
                return _json(b"".join(chunks(response, MOST_JSON)), strict=False)

        return insist(once)

    def _ask(
        self,
        method: str,
        path: str,
        accept: str,
        content_type: str | None = None,
        body: bytes | None = None,
    ) -> requests.Response:
        headers = {"Accept": accept}
        if content_type is not None:
            headers["Content-Type"] = content_type
        try:
            response = self._request(method, self._base + path, headers=headers, data=body)
        except requests.exceptions.SSLError:
            raise ServerError(
                "has a certificate that is not trusted",
                "let REQUESTS_CA_BUNDLE name the file of your hospital's certificates",
            ) from None
        except requests.Timeout:
            raise ServerError("does not answer in time", "try again later", again=True) from None
        except requests.ConnectionError:
            raise ServerError(
                "cannot be reached, or hangs up",
                "check host and port, and that it is running",
                again=True,
            ) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError):
            raise ServerError(
                "gives an answer that is not HTTP", "check host, port and http or https"
            ) from None
        try:
            self._check(response)
        except ServerError:
            response.close()
            raise
        return response

    def _request(self, method: str, url: str, **what: Any) -> requests.Response:
        """Send a request in a thread that is abandoned if the head of the answer takes too long."""
        answer: Future[requests.Response] = Future()

        def ask() -> None:
            try:
                response = self._session.request(
                    method, url, stream=True, allow_redirects=False, timeout=TIMEOUT, **what
                )
                answer.set_result(response)
            except Exception as error:
                answer.set_exception(error)

        threading.Thread(target=ask, daemon=True).start()
        try:
            return answer.result(LONGEST)
        except TimeoutError:
            answer.add_done_callback(_hang_up)
            raise _too_long() from None

    def _check(self, response: requests.Response) -> None:
        code = response.status_code
        if 200 <= code < 300:
            return
        if 300 <= code < 400:
            raise ServerError(
                f"redirects the request ({code}), which is not followed", "give its final address"
            )
        if code in (401, 403):
            problem = "refuses the credentials" if self._credentials.given else "wants credentials"
            raise ServerError(
                f"{problem} ({code})", f"set {USER} and {PASSWORD}, or {TOKEN}, to valid ones"
            )
        if code == 404:
            raise ServerError(
                "does not have the study or series (404)",
                "check the path before /studies and the UIDs",
            )
        if code < 500:
            raise ServerError(f"refuses the request ({code})", "see the server's log")
        asked = response.headers.get("Retry-After", "")
        wait = min(float(asked), LONGEST_WAIT) if asked.isascii() and asked.isdigit() else 0.0
        raise ServerError(
            f"fails ({code})", "see its log, or try again later", again=True, wait=wait
        )


def insist(once: Callable[[], T]) -> T:
    """Repeat a request with growing pauses, as long as its errors may be temporary.

    Raises:
        ServerError: of the last attempt.
    """
    for pause in WAITS:
        try:
            return once()
        except ServerError as error:
            if not error.again:
                raise
            time.sleep(max(pause, error.wait))
    return once()


def chunks(response: requests.Response, most: int, folder: Path | None = None) -> Iterator[bytes]:
    """Yield the body of an answer in pieces.

    Args:
        response: opened and not yet read.
        most: bytes.
        folder: the disk it is on must have room for the body.

    Raises:
        ServerError: it is too large, too slow, compressed, or breaks off.
    """
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ServerError("compresses what was asked for plain", "turn its HTTP compression off")
    if folder is not None and (free := shutil.disk_usage(folder).free) < most:
        most, limit = free, "as there is room for"
    else:
        limit = "as one answer may hold"
    announced = response.headers.get("Content-Length", "")
    total, started = 0, time.monotonic()
    while True:
        if max(total, int(announced) if announced[:20].isdecimal() else 0) > most:
            raise ServerError(
                f"sends more bytes than {most}, {limit}",
                "ask for a single series, or let TMPDIR name a folder on a larger disk",
            )
        try:
            piece = response.raw.read1(_CHUNK, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError):
            raise broken_off() from None
        if not piece:
            return
        yield piece
        total += len(piece)
        lasted = time.monotonic() - started
        if lasted > _PATIENCE and total < lasted * _SLOWEST:
            raise ServerError("sends too slowly", "try again later", again=True)


@contextmanager
def _ending(response: requests.Response) -> Iterator[None]:
    """End the reading of an answer after `LONGEST` seconds."""
    late = threading.Event()

    def end() -> None:
        late.set()
        with suppress(OSError, RuntimeError, ValueError):  # it has ended just now
            response.raw.shutdown()

    watchdog = threading.Timer(LONGEST, end)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    except ServerError:
        if not late.is_set():
            raise
    finally:
        watchdog.cancel()
    if late.is_set():
        raise _too_long()


def _hang_up(answer: Future[requests.Response]) -> None:
    if answer.exception() is None:
        answer.result().close()


def _too_long() -> ServerError:
    return ServerError(f"takes more than {LONGEST:.0f} s for one answer", "ask for a single series")


def broken_off() -> ServerError:
    """Return the error for an answer that is cut short."""
    return ServerError("breaks off in the middle", "try again later", again=True)


def _json(body: bytes, strict: bool = True) -> Any:
    import json

    try:
        return json.loads(body) if body.strip() else None
    except (ValueError, RecursionError):
        if not strict:
            return None
        raise ServerError(
            "answers with something other than DICOM JSON", "check the path before /studies"
        ) from None
