"""Line charts as SVG: axes, lines or marks with intervals, a legend."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from detect.report.colours import DASHES, ON_DARK
from detect.report.page import render

WIDTH, HEIGHT = 440, 300
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
        """Where a value stands, as a fraction of the axis; values beyond the ends stand on them."""
        low, high = self.ends or (self.ticks[0], self.ticks[-1])
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return min(max((value - low) / (high - low), 0.0), 1.0)


def line_chart(
    title: str,
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    *,
    note: str = "",
    verticals: Sequence[tuple[float, str]] = (),
    diagonal: bool = False,
) -> Markup:
    """Draw a chart as a `figure`.

    Args:
        title: says what is shown.
        lines: in the order of the legend.
        x, y: axes.
        note: stands below.
        verticals: places on the x axis to mark, such as operating points, and their names.
        diagonal: draw the line from corner to corner.
    """
    drawn = []
    for place, line in enumerate(lines):
        number = place if line.colour is None else line.colour
        points = [
            None if value is None else (_x(x, at), _y(y, value))
            for at, value in zip(line.x, line.y, strict=True)
        ]
        bars = [
            (_x(x, at), _y(y, low), _y(y, high))
            for at, low, high in zip(line.x, line.low, line.high, strict=False)
            if low is not None and high is not None
        ]
        drawn.append(
            {
                "name": line.name,
                "colour": number % len(ON_DARK),
                "dash": DASHES[number % len(DASHES)],
                "path": _path(points, line.steps) if line.joined else "",
                "marks": [point for point in points if point] if line.marks else [],
                "bars": bars,
            }
        )
    return render(
        "chart.svg",
        title=title,
        description=_describe(lines, x, y, verticals),
        note=note,
        size=(WIDTH, HEIGHT),
        frame=(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM),
        x_label=x.label,
        y_label=y.label,
        x_ticks=[(_x(x, tick), f"{tick:g}") for tick in x.ticks],
        y_ticks=[(_y(y, tick), f"{tick:g}") for tick in y.ticks],
        verticals=[(_x(x, at), name) for at, name in verticals],
        diagonal=diagonal,
        lines=drawn,
    )


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


def _x(axis: Axis, value: float) -> float:
    return round(LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT), 1)


def _y(axis: Axis, value: float) -> float:
    return round(HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - TOP - BOTTOM), 1)


def _path(points: Sequence[tuple[float, float] | None], steps: bool) -> str:
    """SVG path of the points, with a gap at each None, and of no more points than can be seen."""
    step = max(1, len(points) // MOST_POINTS)
    last = len(points) - 1
    pen, parts = "M", []
    for k, point in enumerate(points):
        if point is None:
            pen = "M"
        elif k % step == 0 or k == last or points[k - 1] is None or points[k + 1] is None:
            corner = f"H{point[0]:g}" if steps and pen == "L" else ""
            parts.append(f"{corner}{pen}{point[0]:g} {point[1]:g}")
            pen = "L"
    return "".join(parts)


def _describe(
    lines: Sequence[Line], x: Axis, y: Axis, verticals: Sequence[tuple[float, str]]
) -> str:
    """What a reader who does not see the chart is told: the axes and where each line goes."""
    told = [f"{y.label} against {x.label}."]
    for line in itertools.islice(lines, 12):
        known = [(a, v) for a, v in zip(line.x, line.y, strict=True) if v is not None]
        if known:
            (x0, y0), (x1, y1) = known[0], known[-1]
            top = max(v for _, v in known)
            ends = f"from {y0:.2f} at {x0:.3g} to {y1:.2f} at {x1:.3g}" if len(known) > 1 else ""
            told.append(f"{line.name}: {ends or f'{y0:.2f} at {x0:.3g}'}, highest {top:.2f}.")
    told += [f"{name} at {at:.3g}." for at, name in verticals]
    return " ".join(told)
