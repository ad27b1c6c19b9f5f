"""The report of a benchmark: two models on the same slices, one of them better."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.core.boxes import Boxes
from converters.dataset.coco import detections_to_coco
from converters.dataset.folder import Dataset, open_dataset
from converters.dataset.split import load_split
from detect.benchmarking.results import NUMBERS, Row
from detect.benchmarking.runs import Run
from detect.evaluation.metrics import evaluate
from detect.report.benchmark_report import benchmark_report
from tests.helpers.browser import Page, focus, rows
from tests.helpers.report_data import LEVELS

RIGHT = "\ue014"  # arrow key, as WebDriver names it
INTERVALS = ("map50", "map50_95", "precision_frozen", "recall_frozen", "f1_frozen")


@pytest.fixture(scope="module")
def dataset(tiny_dataset: Path) -> Dataset:
    return open_dataset(tiny_dataset)


def make_run(out: Path, dataset: Dataset, model: str, share: float, extra: dict[str, Any]) -> Row:
    """Write a run whose detections are a share of the true boxes, with the files of a benchmark."""
    split, classes = load_split(dataset, "test"), dataset.manifest.request.recipe.class_names
    rng = np.random.default_rng(1)
    detections = []
    for truth in split.truth:
        kept = truth[rng.random(len(truth)) < share]
        detections.append(Boxes(kept.xyxy, kept.label, rng.uniform(0.5, 1, len(kept))))
    metrics = evaluate(split.truth, detections, classes, 0.4).to_json()
    run = Run(model, None, 0, model)
    folder = run.bundle(out) / "evaluation-test"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({**metrics, **extra}))
    results = detections_to_coco(detections, split.image_ids)
    (folder / "predictions.json").write_text(json.dumps(results))
    numbers = dict.fromkeys(NUMBERS, math.nan) | {
        "map50": metrics["map50"], "ms_per_slice": 20.0 * share, "parameters": 3e6,
    }  # fmt: skip
    draws = {name: np.array([0.25, 0.5]) for name in INTERVALS}
    return Row(run, "done", numbers, draws, [(1.0, 0.25), (2.0, math.nan), (3.0, 0.5)], "CPU", 1)


def test_two_models_side_by_side(page: Page, dataset: Dataset, tmp_path: Path) -> None:
    levels = {key: value for key, value in LEVELS.items() if key != "intervals"}
    waiting = Row(Run("late", None, 0, "late"), "waiting", dict.fromkeys(NUMBERS, math.nan), {}, [])
    done = [
        make_run(tmp_path, dataset, "better", 0.9, levels),
        make_run(tmp_path, dataset, "worse", 0.2, {}),  # without the sections of today
        waiting,
    ]
    html = benchmark_report(dataset, tmp_path, done, "A <heading>.", ["late: it failed"])
    assert html == benchmark_report(dataset, tmp_path, done, "A <heading>.", ["late: it failed"])
    path = tmp_path / "report.html"
    path.write_text(html, encoding="utf-8")
    assert str(tmp_path) not in html
    page.open(path)
    assert page.complaints() == [] and page.requests() == [path.as_uri()]
    text = page.ask("document.querySelector('main').innerText")
    assert "late (0 of 1 runs)" in text and "late: it failed" in text
    assert f"{done[0].numbers['map50']:.3f}\t" in text and "0.256–0.494" in text
    assert page.ask("document.querySelectorAll('.chart').length") == 4
    rates = page.ask(
        "[...document.querySelectorAll('#tables ~ .side tr')].map((row) => row.innerText)"
    )
    assert "> 20\t0.400\t–" in rates and "missed\t0.400\t–" in rates

    # a lesion that only the worse one misses
    focus(page)
    findings = page.ask("[...document.querySelectorAll('#findings li')].map((li) => li.innerText)")
    only = next(k for k, text in enumerate(findings) if "missed by 1 of 2" in text)
    page.press(RIGHT * only)
    assert page.ask("document.getElementById('detector').selectedOptions[0].text") == "worse"
    choose = (
        "const s = document.getElementById('detector'); s.value = {};"
        " s.dispatchEvent(new Event('change'));"
    )
    missed = {}
    for number, name in enumerate(("better", "worse")):
        page.driver.execute_script(choose.format(number))
        missed[name] = sum(row[0] == "truth, missed" for row in rows(page))
    assert missed["worse"] > missed["better"]
    assert page.complaints() == []


def test_before_anything_is_done(dataset: Dataset, tmp_path: Path) -> None:
    waiting = Row(Run("late", None, 0, "late"), "waiting", dict.fromkeys(NUMBERS, math.nan), {}, [])
    html = benchmark_report(dataset, tmp_path, [waiting], "h", [])
    assert "late" in html and 'id="slices"' not in html
