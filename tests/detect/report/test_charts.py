"""Charts are well-formed SVG with correct positions and descriptions."""

import math
import xml.etree.ElementTree as ElementTree

import pytest

from converters.core.drawing import CLASS_COLOURS
from detect.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Line,
    line_chart,
    log_ticks,
    nice_ticks,
)
from detect.report.colours import ON_DARK, ON_LIGHT
from detect.report.curves import froc_chart
from detect.report.page import interval, rate, render, thousands


def test_the_corners_and_the_middle_of_a_chart() -> None:
    line = Line("a", [0, 0.5, 1], [0, 0.5, 1])
    figure = ElementTree.fromstring(line_chart("t", [line], Axis("x"), Axis("y")))
    (path,) = [p.get("d") for p in figure.iter("path") if p.get("stroke-width") == "2"]
    low, high = (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, TOP)
    middle = ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2)
    assert path == f"M{low[0]:g} {low[1]:g}L{middle[0]:g} {middle[1]:g}L{high[0]:g} {high[1]:g}"


def test_gaps_marks_bars_and_strange_names() -> None:
    lines = [
        Line("<b>&", [1, 10, 100], [0.1, None, 0.3], marks=True),
        Line("", [10], [0.5], [0.4], [0.6], marks=True, joined=False),
    ]
    axis = Axis("x", (1, 10, 100), logarithmic=True)
    figure = ElementTree.fromstring(
        line_chart("<t>", lines, axis, Axis("y"), verticals=[(10, "here")], diagonal=True, note="&")
    )
    assert figure.find("figcaption").text == "<t>"
    assert len(list(figure.iter("circle"))) == 3
    drawn = [p.get("d") for p in figure.iter("path") if p.get("stroke-width") == "2"]
    assert len(drawn) == 1 and drawn[0].count("M") == 2  # the gap
    (bar,) = [p for p in figure.iter("path") if p.get("stroke-width") == "1.5"]
    assert float(bar.get("d")[1:].split()[0]) == (LEFT + WIDTH - RIGHT) / 2  # log: 10 in the middle
    (item,) = figure.find("ul")
    assert "".join(item.itertext()).strip() == "<b>&"
    description = figure.find("svg").find("desc").text
    assert "y against x." in description and "<b>&: from 0.10 at 1 to 0.30 at 100" in description


def test_long_lines_are_thinned_and_keep_their_ends() -> None:
    x = [k / 9999 for k in range(10_000)]
    figure = ElementTree.fromstring(line_chart("t", [Line("a", x, x)], Axis("x"), Axis("y")))
    (path,) = [p.get("d") for p in figure.iter("path") if p.get("stroke-width") == "2"]
    assert 300 < path.count("L") < 500
    assert path.endswith(f"L{WIDTH - RIGHT} {TOP}")


@pytest.mark.parametrize(("high", "expected"), [
    (1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.37, [0, 0.1, 0.2, 0.3, 0.4]), (130, [0, 50, 100, 150]),
])  # fmt: skip
def test_round_ticks(high: float, expected: list[float]) -> None:
    assert nice_ticks(high) == pytest.approx(expected)


def test_ticks_hold_what_is_drawn() -> None:
    for high in (1e-9, 0.02, 0.999, 3, 12_345.6):
        ticks = nice_ticks(high)
        assert ticks[0] == 0 and ticks[-1] >= high and 2 <= len(ticks) <= 8
    assert log_ticks(3, 30) == [2, 5, 10, 20, 50]
    assert len(log_ticks(5, 5)) == 2


def test_colours_are_those_of_the_pictures_and_stand_out_from_white() -> None:
    """Contrast by WCAG, calculated anew."""
    assert [tuple(bytes.fromhex(c[1:])[::-1]) for c in ON_DARK] == CLASS_COLOURS
    for colour in ON_LIGHT:
        parts = [v / 255 for v in bytes.fromhex(colour[1:])]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        luminance = sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        assert 1.05 / (luminance + 0.05) >= 3


def test_numbers_as_they_are_written() -> None:
    assert rate(0.12345) == "0.123" and rate(None) == rate(math.nan) == "–"
    assert interval([0.1, 0.25]) == "0.100–0.250" and interval(None) == interval([None, 1]) == "–"
    assert thousands(1234567) == "1\u202f234\u202f567" and thousands(None) == "–"


def test_every_template_escapes() -> None:
    assert "&lt;i&gt;" in render(
        "chart.svg", title="<i>", description="", note="", size=(1, 1), frame=(0, 0, 1, 1),
        x_label="", y_label="", x_ticks=[], y_ticks=[], verticals=[], diagonal=False, lines=[],
    )  # fmt: skip


def test_froc_curves_are_steps_from_end_to_end() -> None:
    """Nothing is read between two thresholds: each sensitivity holds until the next one."""
    section = {
        "false_positives": [1, 4], "sensitivity": [0.2, 0.6], "mean": 0.4,
        "curve": {"false_positives": [0.5, 2, 40], "sensitivity": [0.2, 0.6, 1.0]},
    }  # fmt: skip
    figure = ElementTree.fromstring(froc_chart("t", {"": section}, "scan", (1, 2, 4)))
    (path,) = [p.get("d") for p in figure.iter("path") if p.get("stroke-width") == "2"]
    height = HEIGHT - TOP - BOTTOM
    low, high = (round(HEIGHT - BOTTOM - v * height, 1) for v in (0.2, 0.6))
    middle, end = (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT
    assert path == f"M{LEFT} {low:g}H{middle:g}L{middle:g} {high:g}H{end}L{end} {high:g}"
    assert len(list(figure.iter("circle"))) == 2
