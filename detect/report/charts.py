"""Line charts as SVG for a page or as PNG files: lines or marks with intervals, a legend."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from detect.report.chart_labels import Box, place_labels
from detect.report.chart_png import write_chart_png
from detect.report.colours import DASHES, ON_DARK
from detect.report.page import render

WIDTH, HEIGHT = 440, 300
WIDE = (900, 420)
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 46
MOST_POINTS = 400  # of a line: finer than the screen


@dataclass(frozen=True)
class Line:
    """One line, or one row of marks.

    Attributes:
        name: for the legend.
        x, y: points; a y of None breaks the line.
        low, high: ends of the interval at each point; empty for none.
        colour: place in the palette; None takes the line's place in the chart.
        marks: draw the points too.
        joined: draw the line.
        steps: keep each y until the next x, instead of going there straight.
        radius: of the marks, in units of the chart.
        labelled: write the name beside the first mark, not in the legend.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    colour: int | None = None
    marks: bool = False
    joined: bool = True
    steps: bool = False
    radius: float = 3.5
    labelled: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        label: with the unit.
        ticks: where to write numbers; the first and the last are the ends, unless `ends` are given.
        logarithmic: every tick must be above 0 then.
        ends: of the axis.
    """

    label: str
    ticks: Sequence[float] = (0, 0.2, 0.4, 0.6, 0.8, 1)
    logarithmic: bool = False
    ends: tuple[float, float] | None = None

    def place(self, value: float) -> float:
        """Place a value on the axis as a fraction of it; values beyond the ends go to the ends."""
        low, high = self.ends or (self.ticks[0], self.ticks[-1])
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return min(max((value - low) / (high - low), 0.0), 1.0)


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: says what is shown.
        lines: in the order of the legend.
        x, y: axes.
        note: stands below.
        verticals: places on the x axis to mark, such as operating points, and their names.
        diagonal: draw the line from corner to corner.
        wide: twice as wide as others.
    """

    title: str
    lines: Sequence[Line]
    x: Axis
    y: Axis
    note: str = ""
    verticals: Sequence[tuple[float, str]] = ()
    diagonal: bool = False
    wide: bool = False

    def svg(self) -> Markup:
        """Draw the chart as a `figure` of a page, coloured by the page's style."""
        return render("chart.svg", **self._layout(), description=self._describe())

    def write_png(self, path: Path) -> None:
        """Draw the chart as a PNG file on white."""
        write_chart_png(path, self._layout())

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the drawing, in the units of its layout."""
        return WIDE if self.wide else (WIDTH, HEIGHT)

    def _layout(self) -> dict[str, Any]:
        """Place everything on a drawing of `size`."""
        drawn = [self._line(line, place) for place, line in enumerate(self.lines)]
        frame = (LEFT, TOP, self.size[0] - RIGHT, self.size[1] - BOTTOM)
        labelled = [k for k, line in enumerate(self.lines) if line.labelled and drawn[k]["marks"]]
        marks = [_around(drawn[k]["marks"][0], self.lines[k].radius) for k in labelled]
        bars = [Box(x, high, x, low) for line in drawn for x, low, high in line["bars"]]
        labels = place_labels([self.lines[k].name for k in labelled], marks, bars, Box(*frame))
        for k, label in zip(labelled, labels, strict=True):
            drawn[k]["label"] = label
        return {
            "title": self.title,
            "note": self.note,
            "size": self.size,
            "frame": frame,
            "x_label": self.x.label,
            "y_label": self.y.label,
            "x_ticks": [(self._x(tick), f"{tick:g}") for tick in self.x.ticks],
            "y_ticks": [(self._y(tick), f"{tick:g}") for tick in self.y.ticks],
            "verticals": [(self._x(at), name) for at, name in self.verticals],
            "diagonal": self.diagonal,
            "lines": drawn,
        }

    def _line(self, line: Line, place: int) -> dict[str, Any]:
        number = place if line.colour is None else line.colour
        points = [
            None if value is None else (self._x(at), self._y(value))
            for at, value in zip(line.x, line.y, strict=True)
        ]
        return {
            "name": line.name,
            "colour": number % len(ON_DARK),
            "dash": DASHES[number % len(DASHES)],
            "strokes": _strokes(points, line.steps) if line.joined else [],
            "marks": [point for point in points if point] if line.marks else [],
            "radius": line.radius,
            "label": None,
            "bars": [
                (self._x(at), self._y(low), self._y(high))
                for at, low, high in zip(line.x, line.low, line.high, strict=False)
                if low is not None and high is not None
            ],
        }

    def _x(self, value: float) -> float:
        return round(LEFT + self.x.place(value) * (self.size[0] - LEFT - RIGHT), 1)

    def _y(self, value: float) -> float:
        return round(self.size[1] - BOTTOM - self.y.place(value) * (self.size[1] - TOP - BOTTOM), 1)

    def _describe(self) -> str:
        """Describe for a reader who does not see the chart: the axes and where each line goes."""
        parts = [f"{self.y.label} against {self.x.label}."]
        for line in itertools.islice(self.lines, 12):
            known = [(a, v) for a, v in zip(line.x, line.y, strict=True) if v is not None]
            if known:
                (x0, y0), (x1, y1) = known[0], known[-1]
                top = max(v for _, v in known)
                ends = f"{y0:.2f} at {x0:.3g}"
                if len(known) > 1:
                    ends = f"from {y0:.2f} at {x0:.3g} to {y1:.2f} at {x1:.3g}"
                parts.append(f"{line.name}: {ends}, highest {top:.2f}.")
        parts += [f"{name} at {at:.3g}." for at, name in self.verticals]
        return " ".join(parts)


def _around(mark: tuple[float, float], radius: float) -> Box:
    x, y = mark
    return Box(x - radius, y - radius, x + radius, y + radius)


def nice_ticks(high: float, low: float = 0.0) -> list[float]:
    """Four to eight round numbers from `low`, or just below it, to `high`, or just above it."""
    span = high - low if high > low else 1.0
    step = next(
        unit
        for unit in (
            m * 10.0**e
            for e in range(math.floor(math.log10(span)) - 1, math.floor(math.log10(span)) + 2)
            for m in (1, 2, 5)
        )
        if span / unit <= 6
    )
    first, last = math.floor(low / step + 1e-9), math.ceil((low + span) / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 … around the values."""
    steps = [m * 10.0**e for e in range(-6, 9) for m in (1, 2, 5)]
    below = max((s for s in steps if s <= low), default=steps[0])
    above = min((s for s in steps if s >= high), default=steps[-1])
    chosen = [float(f"{s:g}") for s in steps if below <= s <= above]
    return chosen if len(chosen) > 1 else [chosen[0], chosen[0] * 2]


def _strokes(
    points: Sequence[tuple[float, float] | None], steps: bool
) -> list[list[tuple[float, float]]]:
    """Corners of the line, a new stroke after each None, no more points than can be seen."""
    step = max(1, len(points) // MOST_POINTS)
    last = len(points) - 1
    strokes: list[list[tuple[float, float]]] = [[]]
    for k, point in enumerate(points):
        if point is None:
            strokes.append([])
        elif k % step == 0 or k == last or points[k - 1] is None or points[k + 1] is None:
            if steps and strokes[-1]:
                strokes[-1].append((point[0], strokes[-1][-1][1]))
            strokes[-1].append(point)
    return [stroke for stroke in strokes if stroke]
