"""The table of the levels: every headline number with its interval, within 80 columns."""

import io

from rich.console import Console

from detect.evaluation.matching import match
from detect.evaluation.metrics import measure
from detect.evaluation.study import study
from detect.evaluation.study_table import render_study

from .test_level_draws import sample


def render(confidence: float | None) -> str:
    truth, detections, origins = sample(2)
    matches = match(truth, detections, 3)
    metrics = measure(matches, ["a", "b", "c"], confidence)
    own = study(matches, metrics, origins, draws=50)
    text = io.StringIO()
    Console(file=text, width=80).print(render_study(metrics, own))
    found = own.lesions.all
    assert f"sensitivity, {found.found} of {found.total}" in text.getvalue()
    low, high = own.intervals["lesion_froc"]
    numbers = f"{own.lesions.froc_scan.mean:.3f} {low:.3f}–{high:.3f}"
    assert numbers in " ".join(text.getvalue().split())
    return text.getvalue()


def test_every_level_with_its_interval() -> None:
    text = render(0.4)
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    for level in ("boxes", "lesions", "scans"):
        assert f"\n {level} " in text
    assert "lesions and scans at conf 0.4 (frozen beforehand)" in text


def test_the_operating_point_of_this_very_set_is_called_so() -> None:
    text = render(None)
    assert "(best F1 on this set)" in text
    (row,) = [line for line in text.splitlines() if "F1 frozen" in line]
    assert row.split()[-2:] == ["–", "–"]
