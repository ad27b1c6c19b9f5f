"""The pages in Chromium: keyboard, dark mode and print."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detect.workflows.predict import predict
from tests.helpers.browser import Page, focus, rows
from tests.helpers.report_data import CASES, HOSTILE
from tests.helpers.tiny import make_scans

UP, DOWN, RIGHT, LEFT = "\ue013", "\ue015", "\ue014", "\ue012"


@pytest.fixture(scope="module")
def report(
    metrics: dict[str, Any], write: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(write(metrics), encoding="utf-8")
    return path


def place(page: Page) -> tuple[str, int]:
    """Return the case and the slice that the page shows."""
    shown = page.ask("({...document.getElementById('browser').dataset})")
    return shown["case"], int(shown["slice"])


def drawn(page: Page) -> list[str]:
    return page.ask(
        "[...document.querySelectorAll('#stage rect')].map((r) => r.getAttribute('class'))"
    )


def test_opens_without_a_complaint_and_asks_for_nothing(page: Page, report: Path) -> None:
    page.open(report)
    assert page.complaints() == []
    assert page.requests() == [report.as_uri()]
    assert page.ask("document.title") == "a <model> on test"  # no stranger's script has run
    assert page.ask("document.images.length") == 0
    assert page.ask("getComputedStyle(document.querySelector('#browser')).display") == "grid"
    # every picture can be decoded
    sizes = page.driver.execute_async_script(
        "const done = arguments[0];"
        "const all = JSON.parse(document.getElementById('slices').textContent).slices;"
        "Promise.all(all.map((s) => { const i = new Image(); i.src = s.picture;"
        " return i.decode().then(() => [i.width, i.height]); })).then(done, () => done(null));"
    )
    assert sizes == [[64, 48]] * 16
    assert page.complaints() == []


def test_the_policy_stops_what_is_not_the_pages_own(page: Page, report: Path) -> None:
    """An element with a script or a picture from elsewhere, as if an escape had been forgotten."""
    page.open(report)
    page.driver.execute_script(
        "const s = document.createElement('script'); s.textContent = 'document.title = 1';"
        "document.body.append(s);"
        "document.body.insertAdjacentHTML('beforeend',"
        ' \'<img src="http://127.0.0.1:9/x.png" onerror="document.title = 2">\');'
    )
    assert page.ask("document.title") == "a <model> on test"
    assert any("Content Security Policy" in line for line in page.complaints())


def test_moves_by_keyboard(page: Page, report: Path) -> None:
    page.open(report)
    # worst first: the largest miss
    assert place(page) == (CASES[1], 2)
    page.press("k")  # the focus is not inside: the page keeps its keys
    assert place(page) == (CASES[1], 2)
    focus(page)
    seen = []
    for key in ("k", UP, "j", DOWN, DOWN, DOWN, DOWN, "k"):
        page.press(key)
        seen.append(place(page)[1])
    assert seen == [3, 4, 3, 2, 1, 0, 0, 1]
    page.press(RIGHT)  # from the list's start again, since the walk stayed in the case
    assert place(page) == (CASES[0], 4)
    page.press(RIGHT)
    assert place(page) == (CASES[0], 5)
    assert rows(page) == [["false positive", HOSTILE, "0.900"]]
    page.press(LEFT + LEFT)
    assert place(page) == (CASES[1], 2)
    names = page.ask("[...document.getElementById('case').options].map((o) => o.text)")
    assert sorted(names) == sorted(CASES)
    first = names.index(CASES[1])
    page.press("n" if first == 0 else "p")
    assert place(page)[0] == CASES[0] and place(page)[1] == 4  # its slice with most to see
    page.press("p" if first == 0 else "n")
    assert place(page)[0] == CASES[1]
    page.press("?")
    assert page.ask("document.getElementById('keys').open")
    page.press("\ue00c")
    assert not page.ask("document.getElementById('keys').open")
    assert page.complaints() == []


def test_truth_detections_confidence_and_zoom(page: Page, report: Path) -> None:
    page.open(report)
    focus(page)
    assert rows(page) == [["truth, missed", HOSTILE, ""]]
    assert drawn(page) == ["truth missed"]
    slide = (
        "const c = document.getElementById('confidence'); c.value = {};"
        " c.dispatchEvent(new Event('input'));"
    )
    page.driver.execute_script(slide.format(0.1))  # now the unsure hit counts
    assert rows(page) == [["truth, found", HOSTILE, ""], ["hit", HOSTILE, "0.200"]]
    assert drawn(page) == ["truth", "found"]
    page.press("t")
    assert drawn(page) == ["found"]
    page.press("d")
    assert drawn(page) == []
    page.press("tdo")
    assert drawn(page) == ["truth missed"]
    assert page.ask("document.getElementById('stage').getAttribute('viewBox')") == "0 0 64 48"
    page.press("z")
    left, top, width, height = map(
        float, page.ask("document.getElementById('stage').getAttribute('viewBox')").split()
    )
    assert width == height < 65 and left <= 5 and top <= 5
    page.press("z" + RIGHT)
    assert drawn(page) == ["truth", "truth missed", "found wrong", "found"]
    assert page.complaints() == []


def test_dark_and_on_paper(page: Page, report: Path) -> None:
    page.open(report)

    def look(scheme: str, media: str = "") -> list[int]:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        command = {"media": media, "features": features}
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", command)
        colour = page.ask("getComputedStyle(document.body).backgroundColor")
        return [int(v) for v in colour[4:-1].split(",")]

    shown = "getComputedStyle(document.querySelector('{}')).display"
    assert min(look("light")) == 255 and max(look("dark")) < 40
    assert min(look("dark", "print")) == 255  # paper is white
    assert page.ask(shown.format("#browser")) == page.ask(shown.format("nav")) == "none"
    assert page.ask(shown.format(".gallery")) == "grid"
    look("light")


def test_the_report_of_a_prediction(page: Page, tiny_run: Path, tmp_path: Path) -> None:
    """A real prediction; a second run over other scans keeps the cases of the first."""
    scans, out = make_scans(tmp_path / "scans", cases=3), tmp_path / "out"
    predict(tiny_run, [scans / "case0-scan.nii"], out=out, confidence=0.01)
    others = [scans / "case1-scan.nii", scans / "case2-scan.nii"]
    predict(tiny_run, others, out=out, confidence=0.01)
    html = (out / "report.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in html
    page.open(out / "report.html")
    assert page.complaints() == [] and page.requests() == [(out / "report.html").as_uri()]
    cases = ["case0-scan", "case1-scan", "case2-scan"]
    assert page.ask("[...document.getElementById('case').options].map((o) => o.text)") == cases
    contents = [json.loads((out / case / "detections.json").read_bytes()) for case in cases]
    lesions = sum(len(content["lesions"]) for content in contents)
    assert page.ask("document.querySelectorAll('#findings button').length") == lesions > 3
    best = max(contents, key=lambda c: max(row["score"] for row in c["lesions"]))
    assert place(page)[0] == best["case"]
    focus(page)
    page.press(RIGHT + "z")
    assert page.complaints() == [] and rows(page)[0][0] == "detection"
