"""A series for servers to send, and short pauses between attempts."""

from pathlib import Path

import pytest
from pydicom import dcmread

from tests.helpers.dicom_results import study, two_bright_blocks
from tests.helpers.dicom_series import write_series
from tests.helpers.hostile_servers import STUDY


@pytest.fixture
def slices(tmp_path: Path) -> tuple[str, list[bytes]]:
    """The UID of a series of `STUDY`, and its files."""
    edit = study()

    def ours(number: int, ds):
        ds = edit(number, ds)
        ds.StudyInstanceUID = STUDY
        return ds

    paths = write_series(tmp_path / "series", two_bright_blocks(), ours)
    return dcmread(paths[0]).SeriesInstanceUID, [path.read_bytes() for path in paths]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    temp = tmp_path_factory.mktemp("temp")
    for name in ("USER", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"DETECT_DICOMWEB_{name}", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("detect.dicomweb.server.WAITS", (0.01, 0.02))
    monkeypatch.setattr("tempfile.tempdir", str(temp))
    return temp
