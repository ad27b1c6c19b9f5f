"""The HTML of the pages, without a browser."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.core.boxes import Boxes
from converters.dataset.split import Split
from detect.detectors.card import OperatingPoint
from detect.evaluation.detected import Detected
from detect.evaluation.matching import match
from detect.evaluation.metrics import measure
from detect.report.browser import browse
from detect.report.evaluation_report import SECTIONS, evaluation_report
from detect.report.findings import by_picture
from detect.report.prediction_report import prediction_report
from tests.helpers.report_data import (
    CASES,
    CLASSES,
    CONFIDENCE,
    HOSTILE,
    LEVELS,
    WINDOW,
    boxes,
    make_detections,
    make_split,
    truth_of,
)

Write = Callable[..., str]
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Reader(HTMLParser):
    """Read elements with attributes and text, and whether all are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.data = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        last = self.elements[-1][1] if self.elements else {}
        if self.open and self.open[-1] == "script" and last.get("id") == "slices":
            self.data += data
        elif self.open and self.open[-1] not in ("script", "style"):
            self.text.append(" ".join(data.split()))


def test_the_page_holds_the_numbers(metrics: dict[str, Any], write: Write) -> None:
    reader = Reader(write(metrics))
    text = " ".join(filter(None, reader.text))
    assert "a <model> on test" in text and HOSTILE in text
    assert f"mAP50 {metrics['map50']:.3f} 0.123–0.987 all confidences" in text
    frozen = metrics["frozen"]
    assert f"Precision, class mean {frozen['precision']:.3f} – confidence 0.300, frozen" in text
    assert "> 20 3 0.400 0.500 0.300" in text and "< 5 0 – – –" in text
    assert "missed a true box that no detection comes near 3 7 +0.400" in text
    assert "as in TIDE <i>" in text
    assert "reports them 4 2 0.500 0.667 0.571 0.611 1 0" in text
    assert "one finding a box 0 0 – 0.000 0.000 0.000 0 0" in text
    assert "overlap at all 1 200 1 0.001 0.333 0.002 0.250 0 2" in text
    assert "Rule: 3D IoU <of tubes>." in text
    assert "F1 of linked findings (4 for 3 lesions) 0.571 confidence 0.300; 3D IoU from" in text
    assert "FROC mean, linked findings 0.375 1, 2 false findings per scan" in text
    assert "< 20 0 0 – > 20 4 1 0.250 At the confidence that finds most" in text
    assert "FROC: sensitivity for 3D lesions by linked findings" in text
    assert "16 of 16 slices are in this file, among them 5 of the 5" in text
    headings = {v["id"] for tag, v in reader.elements if tag == "h2"}
    links = {v["href"][1:] for tag, v in reader.elements if tag == "a" and v["href"] != "#main"}
    sections = {"headline", "curves", "errors", "sizes", "levels", "linked", "worst"}
    assert links == headings >= sections
    assert all("scope" in v for tag, v in reader.elements if tag == "th")


def test_a_section_that_is_missing_is_left_out(metrics: dict[str, Any], write: Write) -> None:
    """Each alone, absent or None, and all together: what `metrics.json` held before there were."""
    for name in SECTIONS:
        Reader(write({key: value for key, value in metrics.items() if key != name}))
        Reader(write({**metrics, name: None}))
    text = " ".join(Reader(write({k: v for k, v in metrics.items() if k not in LEVELS})).text)
    assert "mAP50" in text and "FROC" not in text and "interval" not in text


def test_nothing_outside_is_named_and_strangers_are_escaped(
    metrics: dict[str, Any], write: Write, tmp_path: Path, split: Split
) -> None:
    html = write(metrics)
    assert html.count("<script") == 2 and "onerror=alert(1)>" not in html
    for path in (tmp_path, split.paths[0].parent, Path.home(), Path.cwd()):
        assert str(path) not in html
    for tag, attributes in Reader(html).elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "action", "srcset", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/webp;base64,"))
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", html)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert "default-src 'none'" in policy and "img-src data:" in policy
    assert "unsafe" not in policy


def test_same_input_same_bytes(metrics: dict[str, Any], write: Write) -> None:
    assert write(metrics) == write(json.loads(json.dumps(metrics)))


def test_the_browser_shows_what_the_evaluator_matched(
    metrics: dict[str, Any], write: Write
) -> None:
    data = json.loads(Reader(write(metrics)).data)
    by_slice = {(s["case"], s["slice"]): s for s in data["slices"]}
    names = [case["name"] for case in data["cases"]]
    assert sorted(names) == sorted(CASES) and len(by_slice) == 16
    first = names.index(CASES[0])
    two = by_slice[first, 4]
    assert two["truth"] == [[10, 10, 12, 12, 0], [40, 30, 4, 4, 1]]
    assert two["found"] == [[[11, 10, 11, 12, 0, 0.8, 0], [11, 11, 10, 11, 0, 0.6, -1]]]
    assert by_slice[first, 5]["found"] == [[[30, 5, 10, 10, 1, 0.9, -1]]]
    pointed = [data["slices"][finding["slice"]]["slice"] for finding in data["findings"]]
    assert pointed == [finding["index"] for finding in data["findings"]] == [2, 4, 5, 4]


def test_150_cases_stay_within_the_budget(tmp_path: Path) -> None:
    """The worst stays in, every case gets its turn, and the page says how much it shows."""
    cases = [f"case-{k:03d}" for k in range(150)]
    split = make_split(tmp_path, cases, slices=3)
    truth = [boxes((10, 10, 12 + k % 30, 20, 0, 1)) for k in range(len(split))]
    split = Split(**{**vars(split), **truth_of(truth)})
    nothing = [Boxes.empty()] * len(split)
    largest = max(range(len(split)), key=lambda k: truth[k].xyxy[0, 2])
    point = OperatingPoint(confidence=0.5)
    detected = Detected("d", split, nothing, CLASSES, WINDOW, {}, point)
    detector = by_picture("d", detected.matches, 0.5)
    whole = browse(split, CLASSES, [detector])
    assert whole.shown == 450 == whole.total and whole.with_boxes == (450, 450)
    size = len(whole.data["slices"][0]["picture"])
    small = browse(split, CLASSES, [detector], budget=300 * size)
    assert 250 < small.shown < 350
    assert sum(len(s["picture"]) for s in small.data["slices"]) < 302 * size
    shown = {(small.data["cases"][s["case"]]["name"], s["slice"]) for s in small.data["slices"]}
    assert {case for case, _ in shown} == set(cases)
    assert (split.case_ids[largest], split.slice_indices[largest]) in shown
    metrics = measure(detected.matches, CLASSES, 0.5).to_json()
    html = evaluation_report(metrics, detected, budget=300 * size)
    assert f"{small.shown} of 450 slices are in this file" in html
    assert len(html) < 300 * size + 200_000


def test_too_many_detections_raise_the_floor(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    from detect.report import browser

    monkeypatch.setattr(browser, "MOST_DETECTIONS", 3)
    detector = by_picture("d", match(split.truth, make_detections(split), 2), CONFIDENCE)
    cut = browse(split, CLASSES, [detector])
    rows = [row for s in cut.data["slices"] for row in s["found"][0]]
    assert sorted(row[5] for row in rows) == [0.7, 0.8, 0.9] and cut.floor == 0.7


def test_an_empty_folder_of_predictions_and_what_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "detections.json").write_text("[1]")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "detections.json").write_bytes(np.arange(9).tobytes())
    text = " ".join(Reader(prediction_report(tmp_path, failed=2)).text)
    assert "0 cases" in text and "2 scans could not be processed" in text
