"""Charts are well-formed SVG with correct positions and descriptions."""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converters.core.drawing import CLASS_COLOURS
from detect.report.chart_labels import Box, place_labels
from detect.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Chart,
    Line,
    log_ticks,
    nice_ticks,
)
from detect.report.colours import ON_DARK, ON_LIGHT
from detect.report.curves import froc_chart
from detect.report.page import interval, rate, render, thousands


def test_the_corners_and_the_middle_of_a_chart() -> None:
    line = Line("a", [0, 0.5, 1], [0, 0.5, 1])
    figure = ElementTree.fromstring(Chart("t", [line], Axis("x"), Axis("y")).svg())
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
        Chart(
            "<t>", lines, axis, Axis("y"), verticals=[(10, "here")], diagonal=True, note="&"
        ).svg()
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
    figure = ElementTree.fromstring(Chart("t", [Line("a", x, x)], Axis("x"), Axis("y")).svg())
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
    figure = ElementTree.fromstring(froc_chart("t", {"": section}, "scan", (1, 2, 4)).svg())
    (path,) = [p.get("d") for p in figure.iter("path") if p.get("stroke-width") == "2"]
    height = HEIGHT - TOP - BOTTOM
    low, high = (round(HEIGHT - BOTTOM - v * height, 1) for v in (0.2, 0.6))
    middle, end = (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT
    corners = (LEFT, low), (middle, low), (middle, high), (end, high), (end, high)
    assert path == "M" + "L".join(f"{x:g} {y:g}" for x, y in corners)
    assert len(list(figure.iter("circle"))) == 2


def test_names_beside_marks_cover_no_mark_and_no_other_name() -> None:
    rng = np.random.default_rng(0)
    frame = Box(0, 0, 900, 400)
    marks = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in rng.uniform(60, 340, (14, 2))]
    names = [f"model-{k}, {k}.5 M" for k in range(14)]
    labels = place_labels(names, marks, [], frame)
    boxes = [
        Box(x - 3 * len(name), y - 7, x + 3 * len(name), y + 7)
        for name, (x, y, _) in zip(names, labels, strict=True)
    ]
    for k, box in enumerate(boxes):
        assert frame.holds(box)
        assert not any(box.overlaps(other) for other in (*marks, *boxes[:k]))
    assert place_labels(["a"], marks[:1], [], frame)[0][1:] == ((marks[0].top + 5).round(1), False)


def test_a_png_shows_what_the_svg_shows(tmp_path: Path) -> None:
    """The line from corner to corner, in its colour and dashed, and the mark with its name."""
    lines = [
        Line("a", [0, 1], [0, 1], colour=1),
        Line("b", [0.5], [0.1], [0.05], [0.2], colour=4, marks=True, joined=False, labelled=True),
    ]
    chart = Chart("t", lines, Axis("x"), Axis("y"), note="n", verticals=[(0.25, "v")])
    chart.write_png(tmp_path / "chart.png")
    image = np.asarray(Image.open(tmp_path / "chart.png"), int)
    line, mark = (np.array(list(bytes.fromhex(ON_LIGHT[k][1:]))) for k in (1, 4))
    rows, columns = np.nonzero((np.abs(image - line) < 20).all(axis=2))
    upper = rows < 2 * (27 + HEIGHT - BOTTOM)  # the rest is the legend
    slope = np.polyfit(columns[upper], rows[upper], 1)[0]
    assert slope == pytest.approx(-(HEIGHT - TOP - BOTTOM) / (WIDTH - LEFT - RIGHT), rel=0.02)
    gaps = np.diff(np.unique(columns[upper]))
    assert gaps.max() > 2  # dashes
    rows, columns = np.nonzero((np.abs(image - mark) < 20).all(axis=2))
    centre = (
        2 * (12 + LEFT + (WIDTH - LEFT - RIGHT) / 2),
        2 * (27 + HEIGHT - BOTTOM - 0.1 * (HEIGHT - TOP - BOTTOM)),
    )
    near = (np.abs(columns - centre[0]) < 6) & (np.abs(rows - centre[1]) < 6)
    assert near.sum() > 100 and (columns > centre[0] + 8).sum() > 30  # the name, to the right
