"""Servers of any behaviour, played on loopback."""

import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pydicom.uid import generate_uid

STUDY = generate_uid()


class Visit:
    """One request, and how many there were of that path before."""

    def __init__(self, path: str, times: int, headers: dict[str, str]) -> None:
        self.path, self.times, self.headers = path, times, headers


Reply = Callable[[Visit], bytes | Iterable[bytes]]


@contextmanager
def stranger(reply: Reply, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[Visit]]]:
    """A server that answers each request with the very bytes of `reply`, then hangs up."""
    visits: list[Visit] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            times = sum(visit.path == self.path for visit in visits)
            visit = Visit(self.path, times, dict(self.headers))
            visits.append(visit)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sent = reply(visit)
            with suppress(OSError):  # who asked may have had enough
                for piece in [sent] if isinstance(sent, bytes) else sent:
                    self.wfile.write(piece)
            self.close_connection = True

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # such as a handshake that the client gave up

    server = Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        scheme = "http" if tls is None else "https"
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}", visits
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(body: bytes, kind: str = "application/dicom+json", status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "Connection: close", "", ""]).encode() + body


def listing(*series: tuple[str, str]) -> bytes:
    rows = (
        f'{{"0020000E":{{"vr":"UI","Value":["{uid}"]}},"00080060":{{"Value":["{kind}"]}}}}'
        for uid, kind in series
    )
    return answer(f"[{','.join(rows)}]".encode())


MULTIPART = 'multipart/related; type="application/dicom"; boundary="xyz"'


def multipart(*parts: bytes) -> bytes:
    inside = b"".join(b"--xyz\r\nContent-Type: application/dicom\r\n\r\n%b\r\n" % p for p in parts)
    return inside + b"--xyz--\r\n"


def one_series(series: str, reply: Reply) -> Reply:
    return lambda visit: listing((series, "CT")) if visit.path.endswith("/series") else reply(visit)


def ask(model: Path, url: str, out: Path, *more: str | Path) -> list[str | Path]:
    address = f"dicomweb+{url}/dicom-web/studies/{STUDY}"
    return ["predict", "--model", model, "--from", address, "--out", out, *more]
