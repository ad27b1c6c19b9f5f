"""Reports made by hand, and a browser to open them in."""

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from converters.dataset.split import Split
from detect.detectors.card import OperatingPoint
from detect.evaluation.detected import Detected
from detect.evaluation.metrics import evaluate
from detect.report.evaluation_report import evaluation_report
from tests.helpers.browser import Page
from tests.helpers.report_data import (
    CLASSES,
    CONFIDENCE,
    LEVELS,
    WINDOW,
    make_detections,
    make_split,
)

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1200,1000",
)  # fmt: skip


@pytest.fixture(scope="session")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return make_split(tmp_path_factory.mktemp("split"))


@pytest.fixture(scope="session")
def metrics(split: Split) -> dict[str, Any]:
    """Metrics of the hand-made detections, with every optional section."""
    scores = evaluate(split.truth, make_detections(split), CLASSES, CONFIDENCE).to_json()
    content: dict[str, Any] = json.loads(json.dumps({"split": "test", **scores, **LEVELS}))
    return content


@pytest.fixture(scope="session")
def write(split: Split) -> Callable[[dict[str, Any]], str]:
    """Write the report of the hand-made detections with any metrics."""

    detected = Detected(
        "a <model>", split, make_detections(split), CLASSES, WINDOW, {},
        OperatingPoint(confidence=CONFIDENCE),
    )  # fmt: skip

    def report(content: dict[str, Any], **options: Any) -> str:
        return evaluation_report(content, detected, **options)

    return report


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser; skips where there is none."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("chromium and chromedriver are not installed")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = selenium.ChromeService(executable_path=chromedriver)
    driver = selenium.Chrome(options=options, service=service)
    try:
        yield Page(driver)
    finally:
        driver.quit()
