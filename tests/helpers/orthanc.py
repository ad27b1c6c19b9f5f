"""A real Orthanc on loopback, with a password, on a storage folder of its own."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "reader", "s3cret-of-the-tests"


@dataclass
class Orthanc:
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        configuration = {
            "StorageDirectory": str(self.folder / "db"),
            "IndexDirectory": str(self.folder / "db"),
            "Plugins": [str(PLUGIN)],
            "HttpPort": self.port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Ssl": False},
        }
        (self.folder / "orthanc.json").write_text(json.dumps(configuration))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [shutil.which("Orthanc") or "Orthanc", str(self.folder / "orthanc.json")],
                stdout=log,
                stderr=log,
            )
        for _ in range(600):
            try:
                if self.get("/system").ok:
                    return
            except requests.ConnectionError:
                pass
            assert self.process.poll() is None, (self.folder / "log").read_text(encoding="utf-8")
            time.sleep(0.05)
        raise AssertionError("Orthanc did not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, auth=(USER, PASSWORD), timeout=30)

    def push(self, files: list[Path]) -> None:
        for file in files:
            answer = requests.post(
                f"{self.url}/instances", file.read_bytes(), auth=(USER, PASSWORD), timeout=30
            )
            assert answer.ok, answer.text

    def study_url(self, study: str) -> str:
        return f"dicomweb+{self.url}/dicom-web/studies/{study}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if not (shutil.which("Orthanc") and PLUGIN.exists()):
        pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
    os.environ["NO_PROXY"] = "127.0.0.1"
    server = Orthanc(tmp_path_factory.mktemp("orthanc"), free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()
