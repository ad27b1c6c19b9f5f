"""Servers with an untrusted certificate, and servers that send a byte now and then."""

import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.hostile_servers import MULTIPART, answer, ask, multipart, one_series, stranger
from tests.helpers.threshold_detector import run


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a self-signed certificate for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    key, signed = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    words += " -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    ask = [openssl, *words.split(), "-keyout", key, "-out", signed]
    subprocess.run(ask, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed, key)
    return signed, context


def test_over_tls_a_server_is_asked_only_where_its_certificate_is_trusted(
    threshold_model: Path,
    tmp_path: Path,
    slices: tuple[str, list[bytes]],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    series, parts = slices
    body = answer(multipart(*parts), MULTIPART)
    monkeypatch.setenv("DETECT_DICOMWEB_TOKEN", "t0ken")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with stranger(one_series(series, lambda _: body), certificate[1]) as (url, visits):
        ask_it = ask(threshold_model, url, tmp_path / "out")
        assert run(*ask_it) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert "a certificate that is not trusted" in line and "REQUESTS_CA_BUNDLE" in line
        assert not visits  # it did not hear the token
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
        assert run(*ask_it) == 0
        elsewhere = ask(threshold_model, url.replace("127.0.0.1", "localhost"), tmp_path / "out")
        monkeypatch.setenv("NO_PROXY", "localhost")
        assert run(*elsewhere) == 2  # it is of another host
    assert len(visits) == 2 and len(list((tmp_path / "out").glob("scan-*"))) == 1
    assert "not trusted" in capfd.readouterr().err


def drip(begin: bytes, piece: bytes) -> Iterator[bytes]:
    """Send a byte now and then, so that no limit on silence applies."""
    yield begin
    for _ in range(60):
        time.sleep(0.05)
        yield piece


HEAD = f"HTTP/1.1 200 OK\r\nContent-Type: {MULTIPART}\r\n".encode()


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (HEAD + b"\r\n--xyz\r\n\r\n", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),  # the length of a chunk
    ],
    ids=["head", "body", "chunk"],
)
def test_a_server_that_drips_is_left(
    threshold_model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    quick: Path,
    monkeypatch: pytest.MonkeyPatch,
    certificate: tuple[Path, ssl.SSLContext],
    begin: bytes,
    piece: bytes,
    tls: bool,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    monkeypatch.setattr("detect.dicomweb.server.LONGEST", 0.4)
    start = time.monotonic()
    reply = one_series("1.2.3", lambda _: drip(begin, piece))
    with stranger(reply, certificate[1] if tls else None) as (url, visits):
        assert run(*ask(threshold_model, url, tmp_path / "out")) == 1
        assert time.monotonic() - start < 2.5
    (line,) = capfd.readouterr().err.splitlines()
    assert "takes more than 0 s for one answer" in line
    assert len(visits) == 2 and not list(quick.iterdir())
