"""The table of the levels: every headline number with its interval, within 80 columns."""

import io

from rich.console import Console

from detect.cli.levels_table import render_levels
from detect.evaluation.findings.match import Linked
from detect.evaluation.levels import measure_levels
from detect.evaluation.matching import match
from detect.evaluation.metrics import measure
from tests.helpers.samples import sample


def render(confidence: float | None) -> str:
    truth, detections, origins = sample(2)
    matches = match(truth, detections, 3)
    metrics = measure(matches, ["a", "b", "c"], confidence)
    result = measure_levels(matches, metrics, origins, draws=50)
    text = io.StringIO()
    Console(file=text, width=80).print(render_levels(metrics, result))
    lesions = result.lesions.all
    assert f"sensitivity, {lesions.found} of {lesions.total}" in text.getvalue()
    low, high = result.intervals["lesion_froc"]
    numbers = f"{result.lesions.froc_scan.mean:.3f} {low:.3f}–{high:.3f}"
    assert numbers in " ".join(text.getvalue().split())
    return text.getvalue()


def test_every_level_with_its_interval() -> None:
    text = render(0.4)
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    for level in ("boxes", "lesions", "scans"):
        assert f"\n {level} " in text
    assert "lesions and scans at conf 0.4 (frozen beforehand)" in text


def test_linked_findings_have_a_row() -> None:
    truth, detections, origins = sample(2)
    matches = match(truth, detections, 3)
    metrics = measure(matches, ["a", "b", "c"], 0.4)
    text = io.StringIO()
    linked = Linked(lesions=8, findings=1000, hits=4, splits=0, merges=0, average_precision=0.5)
    table = render_levels(metrics, measure_levels(matches, metrics, origins, draws=2), linked)
    Console(file=text, width=80).print(table)
    (row,) = [line for line in text.getvalue().splitlines() if "linked" in line]
    assert " ".join(row.split()) == "F1 of 1000 linked findings (P 0.004, R 0.500) 0.008 –"
    assert len(row) <= 80


def test_the_operating_point_of_this_very_set_is_called_so() -> None:
    text = render(None)
    assert "(best F1 on this set)" in text
    (row,) = [line for line in text.splitlines() if "F1 frozen" in line]
    assert row.split()[-2:] == ["–", "–"]
