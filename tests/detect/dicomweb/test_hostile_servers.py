"""Servers that fail, lie or attack, played on loopback."""

import re
import socket
from pathlib import Path

import pytest
from distributed import LocalCluster
from pydicom.uid import generate_uid

from detect.dicomweb.address import parse_address
from detect.dicomweb.credentials import from_environment
from detect.dicomweb.server import Server, ServerError
from detect.dicomweb.store import store
from tests.helpers.dicom_series import SECRETS
from tests.helpers.hostile_servers import (
    MULTIPART,
    STUDY,
    Visit,
    answer,
    ask,
    listing,
    multipart,
    one_series,
    stranger,
)
from tests.helpers.threshold_detector import detections, run
from tests.helpers.trees import tree


def test_busy_twice_then_well(
    threshold_model: Path,
    tmp_path: Path,
    slices: tuple[str, list[bytes]],
) -> None:
    series, parts = slices

    def reply(visit: Visit) -> bytes:
        if visit.times < 2:
            return answer(b"busy", "text/plain", "503 Service Unavailable")
        if visit.path.endswith("/series"):
            return listing((series, "CT"))
        return answer(multipart(*parts), MULTIPART)

    out = tmp_path / "out"
    with stranger(reply) as (url, visits):
        assert run(*ask(threshold_model, url, out)) == 0
    assert len(visits) == 6 and len(list(out.glob("scan-*"))) == 1


def chunked(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {MULTIPART}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"%x\r\n%b\r\n" % (len(body), body)


@pytest.mark.parametrize("way", ["short length", "chunked", "well-formed", "until closed"])
def test_an_answer_cut_short_is_asked_for_again_and_never_taken(
    threshold_model: Path,
    tmp_path: Path,
    slices: tuple[str, list[bytes]],
    capsys: pytest.CaptureFixture[str],
    quick: Path,
    way: str,
) -> None:
    series, parts = slices
    cut = multipart(*parts)[: -len(parts[-1]) // 2]
    body = {
        "short length": answer(multipart(*parts), MULTIPART)[: -len(parts[-1]) // 2],
        "chunked": chunked(cut),
        "well-formed": answer(cut, MULTIPART),
        "until closed": f"HTTP/1.1 200 OK\r\nContent-Type: {MULTIPART}\r\n\r\n".encode() + cut,
    }[way]
    out = tmp_path / "out"
    with stranger(one_series(series, lambda _: body)) as (url, visits):
        assert run(*ask(threshold_model, url, out)) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("failed: --from, series 1 of 1: the server breaks off in the middle")
        assert len(visits) == 4  # the listing, and three times the series
        assert not list(out.glob("scan-*")) and not list(quick.iterdir())

    def mended(visit: Visit) -> bytes:
        return body if visit.times == 0 else chunked(multipart(*parts)) + b"0\r\n\r\n"

    with stranger(one_series(series, mended)) as (url, visits):
        assert run(*ask(threshold_model, url, out)) == 0
    assert len(list(out.glob("scan-*"))) == 1


def test_gone_in_the_middle_the_series_that_came_are_done(
    threshold_model: Path,
    tmp_path: Path,
    slices: tuple[str, list[bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    series, parts = slices
    others = generate_uid(), generate_uid()

    def reply(visit: Visit) -> bytes:
        if visit.path.endswith("/series"):
            return listing((series, "CT"), ("1.2.3", "SR"), *((uid, "CT") for uid in others))
        return answer(multipart(*parts), MULTIPART) if series in visit.path else b""

    out = tmp_path / "out"
    with stranger(reply) as (url, _):
        assert run(*ask(threshold_model, url, out)) == 1
    printed = capsys.readouterr()
    assert len(list(out.glob("scan-*"))) == 1
    assert [line.split(": ")[1] for line in printed.err.splitlines()] == [
        "--from, series 2 of 4",
        "--from, series 3 of 4",
        "--from, series 4 of 4",
    ]
    for secret in (*SECRETS, STUDY, series, *others, url):
        assert secret not in printed.out.replace(str(out), "") + printed.err


GIANT = f"HTTP/1.1 200 OK\r\nContent-Type: {MULTIPART}\r\nContent-Length: {10**17}\r\n\r\n".encode()
WRONG = [
    (GIANT, "sends more bytes than"),
    (GIANT.replace(b"1000", b"\xb2999"), "gives an answer that is not HTTP|breaks off"),
    (answer(b"x" * 99, MULTIPART).replace(b"OK\r\n", b"OK\r\nContent-Encoding: gzip\r\n"), "compr"),
    (answer(b"<html>", "text/html"), "something other than multipart/related"),
    (answer(b"no boundary", MULTIPART), "sends a malformed answer"),
    (answer(b"", "multipart/related; boundary=" + "b" * 5000), "malformed|something other"),
    (answer(multipart(b"hello"), MULTIPART), "sends something that is not a DICOM object"),
    (answer(multipart(b"\0" * 128 + b"DICM" + b"\xff" * 99), MULTIPART), "not a DICOM|another"),
    (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2:1/x\r\n\r\n", "redirects the request"),
    (answer(b"", status="400 Bad"), "refuses the request .400."),
    (b"\xff\xfe no HTTP at all\r\n\r\n", "not HTTP|cannot be reached"),
    (answer(b"--xyz\r\n" + b"A: b\r\n" * 9999, MULTIPART), "sends a malformed answer"),
]


@pytest.mark.parametrize(("raw", "problem"), WRONG, ids=lambda value: str(value)[:30])
def test_what_a_hostile_server_sends_is_one_line(
    threshold_model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    quick: Path,
    raw: bytes,
    problem: str,
) -> None:
    with stranger(one_series("1.2.3", lambda _: raw)) as (url, _):
        assert run(*ask(threshold_model, url, tmp_path / "out")) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert re.search(problem, line), line
    assert STUDY not in line and url not in line and not list(quick.iterdir())


def test_objects_of_another_study_are_refused(
    threshold_model: Path,
    tmp_path: Path,
    slices: tuple[str, list[bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    body = answer(multipart(*slices[1]), MULTIPART)
    with stranger(one_series(generate_uid(), lambda _: body)) as (url, _):
        assert run(*ask(threshold_model, url, tmp_path / "out")) == 1
    assert "objects of another study or series" in capsys.readouterr().err


def test_fewer_objects_than_announced_are_refused(
    threshold_model: Path,
    tmp_path: Path,
    slices: tuple[str, list[bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    series, parts = slices
    rows = listing((series, "CT"))
    more = answer(rows.split(b"\r\n\r\n")[1].replace(b"}}]", b'},"00201209":{"Value":[20]}}]'))
    for sent, code in ((parts[:12], 1), (parts, 0)):
        body = answer(multipart(*sent), MULTIPART)
        with stranger(lambda v, b=body: more if v.path.endswith("/series") else b) as (url, _):
            assert run(*ask(threshold_model, url, tmp_path / "out")) == code
    assert "sends 12 of 20 objects" in capsys.readouterr().err


LISTS = [
    (answer(b"[" * 100_000), "something other than DICOM JSON"),
    (answer(b"<html>"), "something other than DICOM JSON"),
    (listing(("../../secret", "CT")), "lists series without a UID"),
    (answer(b'[{"0020000E": 3}]'), "lists series without a UID"),
    (answer(b'{"a": []}'), "holds no CT series"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", "holds no CT series"),
    (listing(("1.2", "MR"), ("1.3", "PR"), ("1.4", "PR")), "there are: 1 MR, 2 PR"),
    (answer(b"", status="404 Not Found"), "does not have the study or series (404)"),
    (answer(b"", status="500 Broken"), "fails (500)"),
    (b"HTTP/1.1 200 OK\r\n: \r\nbad header\r\nContent-Length: 2\r\n\r\n[]", "holds no CT series"),
]


@pytest.mark.parametrize(("raw", "problem"), LISTS, ids=lambda value: str(value)[:30])
def test_what_a_hostile_server_lists_is_one_line(
    threshold_model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    raw: bytes,
    problem: str,
) -> None:
    with stranger(lambda _: raw) as (url, visits):
        assert run(*ask(threshold_model, url, tmp_path / "out")) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert problem in line and not (tmp_path / "out").exists()
    assert STUDY not in line and len(visits) == (3 if "500" in problem else 1)


def test_nobody_there_and_no_answer(
    threshold_model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("detect.dicomweb.server.TIMEOUT", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert run(*ask(threshold_model, f"http://127.0.0.1:{port}", tmp_path / "out")) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "does not answer in time" in line
    assert run(*ask(threshold_model, f"http://127.0.0.1:{port}", tmp_path / "out")) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "cannot be reached" in line


def test_the_options_of_predict_hold_for_a_study(
    threshold_model: Path,
    tmp_path: Path,
    slices: tuple[str, list[bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    series, parts = slices
    body = answer(multipart(*parts), MULTIPART)
    out = tmp_path / "out"
    with stranger(one_series(series, lambda _: body)) as (url, visits):
        wrong = {"--strict": "the model does not say", "--confidence=2": "is not a score"}
        for option, problem in wrong.items():
            assert run(*ask(threshold_model, url, out, option)) == 2
            assert problem in capsys.readouterr().err
        assert not visits  # nothing is fetched in vain
        assert run(*ask(threshold_model, url, out, "--augment", "--workers", "2")) == 0
    (case,) = out.glob("scan-*")
    assert detections(out, case.name)["augment"]


def test_a_cluster_predicts_a_study_as_one_process_does(
    threshold_model: Path, tmp_path: Path, slices: tuple[str, list[bytes]]
) -> None:
    series, parts = slices
    body = answer(multipart(*parts), MULTIPART)
    # a worker in this process: only here is the threshold model known
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1",
        dashboard_address=None,
    )  # fmt: skip
    with cluster, stranger(one_series(series, lambda _: body)) as (url, _):
        assert run(*ask(threshold_model, url, tmp_path / "one")) == 0
        assert not cluster.scheduler.transition_counter
        scheduler = ["--scheduler", str(cluster.scheduler_address)]
        assert run(*ask(threshold_model, url, tmp_path / "two", *scheduler)) == 0
        assert cluster.scheduler.transition_counter  # it did the work
    assert tree(tmp_path / "two") == tree(tmp_path / "one") != {}


def test_a_token_goes_to_the_server_and_nowhere_else(
    threshold_model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    elsewhere: list[Visit]
    with stranger(lambda _: listing()) as (other, elsewhere):
        redirect = f"HTTP/1.1 307 Go\r\nLocation: {other}/x\r\n\r\n".encode()
        with stranger(lambda _: redirect) as (url, visits):
            assert run(*ask(threshold_model, url, tmp_path / "out")) == 2
            monkeypatch.setenv("DETECT_DICOMWEB_TOKEN", "t0ken\n")
            assert run(*ask(threshold_model, url, tmp_path / "out")) == 2
    assert "Authorization" not in visits[0].headers
    assert visits[1].headers["Authorization"] == "Bearer t0ken" and not elsewhere
    for bad in ("two words", "line\nbreak", "n\u00f6n"):
        monkeypatch.setenv("DETECT_DICOMWEB_TOKEN", bad)
        assert run(*ask(threshold_model, url, tmp_path / "out")) == 2
    monkeypatch.setenv("DETECT_DICOMWEB_TOKEN", "t0ken")
    monkeypatch.setenv("DETECT_DICOMWEB_USER", "me")
    assert run(*ask(threshold_model, url, tmp_path / "out")) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 6 and "is set beside" in lines[-1]
    assert not any(secret in "".join(lines) for secret in ("t0ken", "words", "break"))


REFUSED = b'{"00081198":{"vr":"SQ","Value":[{"00081197":{"vr":"US","Value":[272]}}]}}'


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (answer(REFUSED, status="202 Accepted"), "1 of 1 objects (reason 0110)"),
        (answer(b"[%b]" % REFUSED), "1 of 1 objects (reason 0110)"),
        (answer(REFUSED.replace(b"272", b'"x"')), "1 of 1 objects (reason not stated)"),
        (answer(b"", status="503 Busy"), "fails (503)"),
        (answer(b"{}"), ""),
        (answer(b"<xml/>", "application/dicom+xml"), ""),
    ],
)
def test_what_the_server_does_not_store(tmp_path: Path, raw: bytes, problem: str) -> None:
    (tmp_path / "one.dcm").write_bytes(b"some bytes")
    with stranger(lambda _: raw) as (url, visits):
        address = parse_address(f"dicomweb+{url}/studies/{STUDY}")
        server = Server(address.base, from_environment())
        try:
            store(server, address, [tmp_path / "one.dcm"])
            assert not problem
        except ServerError as error:
            assert problem and problem in str(error)
        server.close()
    assert len(visits) == (3 if "503" in problem else 1)


def test_what_is_not_stored_is_listed(
    threshold_model: Path,
    tmp_path: Path,
    slices: tuple[str, list[bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    series, parts = slices

    def reply(visit: Visit) -> bytes:
        if visit.path.endswith(STUDY):
            return answer(REFUSED, status="409 Conflict")
        body = answer(multipart(*parts), MULTIPART)
        return listing((series, "CT")) if visit.path.endswith("/series") else body

    out = tmp_path / "out"
    with stranger(reply) as (url, _):
        assert run(*ask(threshold_model, url, out, "--store")) == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    (case,) = out.glob("scan-*")
    assert line.startswith(f"failed: --store, {case.name}: the server refuses the request (409)")
    assert "stored in the study: 0 DICOM objects" in printed.out
