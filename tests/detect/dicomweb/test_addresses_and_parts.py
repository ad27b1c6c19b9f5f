"""The address of `--from`, and the parts of multipart bodies."""

from pathlib import Path

import pytest

from detect.dicomweb.address import parse_address
from detect.dicomweb.parts import boundary, write_parts
from detect.dicomweb.server import ServerError
from tests.helpers.hostile_servers import MULTIPART, multipart
from tests.helpers.threshold_detector import run


@pytest.mark.parametrize(
    "url",
    [
        "http://h/dicom-web/studies/1.2",
        "dicomweb+ftp://h/studies/1.2",
        "dicomweb+http://h/studies",
        "dicomweb+http://h/studies/1.2/series/1.3/instances/4",
        "dicomweb+http://h/studies/1.2/../3",
        "dicomweb+http://h/studies/..",
        "dicomweb+http://h/studies/1.2?token=s3cret",
        "dicomweb+http://h:x/studies/1.2",
        "dicomweb+http://me:s3cret@h/studies/1.2",
        "dicomweb+http://[h/studies/1.2",
        "dicomweb+http://h/studies/" + "1." * 40 + "1",
        "",
    ],
)
def test_wrong_addresses(tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert run("predict", "--model", tmp_path, "--from", url, "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --from: ") and "s3cret" not in line


def test_addresses() -> None:
    address = parse_address("dicomweb+https://h:8/a/studies/b/dicom-web/studies/1.2/series/3.4/")
    assert address.base == "https://h:8/a/studies/b/dicom-web"
    assert (address.study, address.series) == ("1.2", "3.4")
    assert parse_address("dicomweb+http://[::1]:8/studies/1.2").base == "http://[::1]:8"


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 50, 10_000])
def test_parts_in_pieces_of_any_size(tmp_path: Path, piece: int) -> None:
    parts = [b"", b"\r\n", b"--xyz", b"\r\n--xy", b"a\r\n--xyyz--\r\n\r\n", b"-" * 99, b"\r" * 60]
    body = b"\r\n" + multipart(*parts) + b"epilogue"
    pieces = [body[start : start + piece] for start in range(0, len(body), piece)]
    assert write_parts(pieces, boundary(MULTIPART), tmp_path) == len(parts)
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == sorted(parts)
    for end in (len(body) - 15, len(body) // 2, 10, 0):
        with pytest.raises(ServerError, match="breaks off"):
            write_parts([body[:end]], b"xyz", tmp_path)
