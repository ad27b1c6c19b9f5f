"""The distribution this program is installed as: name, version, and how to add an extra."""

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

NAME = "lesion-detect"  # `detect` on the package index is another program
PROGRAM = "detect"  # as lists of versions on disk name it
_CHECKOUT = Path(__file__).parents[2] / "pyproject.toml"


def install_hint(extra: str) -> str:
    """Return the command that installs an extra, such as ``pip install "lesion-detect[dicom]"``.

    It adds to the installed distribution, editable or not. A checkout that runs without being
    installed is itself what the command names.
    """
    try:
        version(NAME)
    except PackageNotFoundError:
        return f'pip install -e ".[{extra}]"'
    return f'pip install "{NAME}[{extra}]"'


@cache
def program_version() -> str:
    """Return this program's version, of a checkout that is not installed too."""
    try:
        return version(NAME)
    except PackageNotFoundError:
        project = tomllib.loads(_CHECKOUT.read_text(encoding="utf-8"))
        return str(project["project"]["version"])


def installed_version(package: str) -> str:
    """Return the version of a package, where `detect` stands for this program.

    Raises:
        PackageNotFoundError: the package is not installed.
    """
    return program_version() if package == PROGRAM else version(package)
