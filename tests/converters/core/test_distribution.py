"""The program's name, and the commands that install its extras."""

import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from converters.core import distribution
from detect.cli.main import main

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def absent(name: str) -> str:
    raise PackageNotFoundError(name)


def test_every_name_is_that_of_the_project() -> None:
    assert PROJECT["name"] == distribution.NAME
    extras = PROJECT["optional-dependencies"]
    assert [e for e in extras["test"] if "lesion" in e] == [
        f"{distribution.NAME}[dicomweb,onnx,openvino]"
    ]


def test_a_hint_names_the_installed_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "version", lambda name: "1.0")
    assert distribution.install_hint("dicom") == 'pip install "lesion-detect[dicom]"'


def test_a_checkout_that_is_not_installed_has_a_version_and_a_hint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distribution, "version", absent)
    assert distribution.install_hint("dicom") == 'pip install -e ".[dicom]"'
    assert distribution.program_version.__wrapped__() == PROJECT["version"]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"lesion-detect {distribution.program_version()}\n"


def test_no_hint_installs_a_stranger() -> None:
    """No hint installs `detect` from the package index: it belongs to somebody else."""
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "pyproject.toml"]
    texts += [
        p for room in ("detect", "converters", "weights") for p in ROOT.glob(f"{room}/**/*.py")
    ]
    for path in texts:
        for line in path.read_text(encoding="utf-8").splitlines():
            if "pip install" in line and path.name != "distribution.py":
                assert "pip install ." in line or 'pip install ".' in line, (path, line)
            assert "detect[" not in line.replace("lesion-detect[", ""), (path, line)
