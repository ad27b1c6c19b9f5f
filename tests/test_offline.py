"""Nothing uses the network: the whole suite runs with every other machine out of reach."""

import socket
import subprocess
import sys

import pytest

from tests.helpers.imports import end_and_modules
from tests.no_network.sitecustomize import NetworkUsed

OUTSIDE = ("192.0.2.1", 80)  # a block reserved for documentation (RFC 5737)


def test_the_guard_stops_connections_and_look_ups() -> None:
    with socket.socket() as stream, pytest.raises(NetworkUsed):
        stream.connect(OUTSIDE)
    with socket.socket() as stream, pytest.raises(NetworkUsed):
        stream.connect_ex(OUTSIDE)
    with socket.socket(type=socket.SOCK_DGRAM) as stream, pytest.raises(NetworkUsed):
        stream.sendto(b"", OUTSIDE)
    with pytest.raises(NetworkUsed):
        socket.getaddrinfo("example.org", 443)


def test_the_guard_lets_this_machine_talk_to_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()


def test_the_guard_reaches_other_processes() -> None:
    code = f"import socket; socket.create_connection({OUTSIDE!r}, timeout=1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode != 0 and "NetworkUsed" in done.stderr


@pytest.mark.parametrize("words", [[], ["--help"], ["train", "--help"], ["predict", "--help"]])
def test_help_waits_for_no_heavy_import(words: list[str]) -> None:
    ended, modules = end_and_modules(words)
    assert ended == 0
    heavy = {"torch", "ultralytics", "cv2", "pydicom", "SimpleITK", "albumentations"}
    assert not heavy & modules
