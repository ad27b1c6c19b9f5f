"""The printed table of an evaluation."""

import io

from rich.console import Console

from detect.cli.metrics_table import render_table
from detect.evaluation.metrics import Metrics, evaluate
from tests.helpers.samples import boxes


def metrics(frozen_confidence: float | None) -> Metrics:
    truth = [boxes((0, 0, 10, 10, 0)), boxes()]
    detections = [boxes((0, 0, 10, 10, 0, 0.9)), boxes((0, 0, 5, 5, 0, 0.2))]
    return evaluate(truth, detections, ["a [bold]lesion", "b"], frozen_confidence)


def render(width: int, frozen_confidence: float | None) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render_table(metrics(frozen_confidence)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def cells(text: str, first: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.strip().split()[:1] == [first]]
    return line.split()


def test_both_operating_points_are_labelled() -> None:
    text = render(120, 0.27)
    assert "best: best F1 on this set @ conf " in text
    assert "frozen: frozen from val @ conf .27" in text
    best = text.split("best F1 on this set @ conf ")[1].split()[0]
    confidences = ["@", best] * 3 + ["@", ".27"] * 3
    assert cells(text, "class") == ["class", "images", "boxes", *confidences, "mAP50", "mAP50-95"]
    assert cells(text, "P") == ["P", "R", "F1"] * 2
    assert cells(text, "best") == ["best"] * 3 + ["frozen"] * 3
    assert len(cells(text, "all")) == 11


def test_one_operating_point() -> None:
    text = render(120, None)
    assert "frozen" not in text
    assert len(cells(text, "all")) == 8


def test_values_have_three_decimals_and_gaps_a_dash() -> None:
    text = render(120, 0.27)
    assert cells(text, "all")[1:3] == ["2", "1"]
    assert cells(text, "all")[6:] == ["1.000", "1.000", "1.000", "1.000", "1.000"]
    assert cells(text, "b") == ["b", "0", "0", *["–"] * 8]
    assert "a [bold]lesion" in text  # a name is no markup


def test_fits_a_terminal_of_80_columns() -> None:
    text = render(80, 0.27)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert len(cells(text, "all")) == 11
    assert len(cells(text, "b")) == 11
