"""Shared fixtures."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real scans, or a skipped test."""
    folder = os.environ.get("DETECT_REALDATA")
    if not folder:
        pytest.skip("DETECT_REALDATA does not name the folder of real scans")
    return Path(folder)
