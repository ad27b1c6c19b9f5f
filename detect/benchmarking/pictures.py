"""Accuracy against speed, and learning curves, as PNG."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converters.core.files import atomic_file
from detect.benchmarking.results import Row, Summary

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of making its list of fonts

from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patheffects import withStroke  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402
from matplotlib.transforms import Bbox  # noqa: E402

DPI = 150
# distinguishable with the common colour-vision deficiencies (after Okabe and Ito, 2008)
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#A66F00", "#56B4E9", "#000000"]


def draw_accuracy(path: Path, summaries: Sequence[Summary]) -> None:
    """Draw mAP50, with its interval, against the time a slice takes; area as the parameters."""
    figure, axes = _new()
    shown = [s for s in summaries if s.values("map50") and s.values("ms_per_slice")]
    axes.set_xscale("log")
    axes.set_xlabel("inference, ms per slice (log scale)" + _measured_on(shown))
    axes.set_ylabel("mAP50 on test, with its 95 % interval over patients")
    points, bars, texts = [], [], []
    for summary in sorted(shown, key=lambda s: -s.mean("parameters")):  # small marks on top
        x, y = summary.mean("ms_per_slice"), summary.mean("map50")
        low, high = summary.interval("map50")
        colour = _colour(summary.model, summaries)
        if not math.isnan(low):
            bars.append((x, low, high))
            axes.vlines(x, low, high, color=colour, alpha=0.45, linewidth=1.5, zorder=2)
        millions = summary.mean("parameters") / 1e6
        size = 30 + 8 * millions
        axes.scatter([x], [y], s=size, color=colour, edgecolors="white", linewidths=0.8, zorder=3)
        points.append((x, y, math.sqrt(size) / 2))
        texts.append((f"{summary.model}\n{millions:.1f} M", colour))
    if shown:
        _limit(axes, shown)
        _label(figure, axes, points, bars, texts)
    else:
        axes.text(0.5, 0.5, "no model is finished", transform=axes.transAxes, ha="center")
    _save(figure, path)


def draw_curves(path: Path, rows: Sequence[Row]) -> None:
    """Draw val mAP50 against the seconds of training: a line a run, a colour a model."""
    figure, axes = _new()
    axes.set_xlabel("training, seconds (scoring on val included)")
    axes.set_ylabel("mAP50 on val after each epoch")
    models = list(dict.fromkeys(row.run.model for row in rows if row.curve))
    for k, model in enumerate(models):
        style = ("-", "--", ":")[k // len(COLOURS) % 3]
        label: str | None = model
        for row in (row for row in rows if row.run.model == model and row.curve):
            seconds, values = zip(*row.curve, strict=True)
            alpha = 0.9 if label else 0.45
            axes.plot(
                seconds, values, style, color=COLOURS[k % len(COLOURS)], linewidth=1.5,
                alpha=alpha, label=label, marker="." if len(seconds) < 30 else None,
            )  # fmt: skip
            label = None
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    if models:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    _save(figure, path)


def _new() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(True, which="major", color="0.9", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=DPI, metadata={"Software": None})


def _colour(model: str, summaries: Sequence[Summary]) -> str:
    """One colour for the sizes of one line of models: what precedes the name of the size."""
    lines = list(dict.fromkeys(_line(s.model) for s in summaries))
    return COLOURS[lines.index(_line(model)) % len(COLOURS)]


def _line(model: str) -> str:
    return model.rsplit("-", 1)[0] if "-" in model else model[:-1]


def _measured_on(shown: Sequence[Summary]) -> str:
    ways = {f"{row.device}, {row.batch} slices a call" for s in shown for row in s.rows}
    return f"\n{ways.pop()}" if len(ways) == 1 else ""


def _limit(axes: Axes, shown: Sequence[Summary]) -> None:
    """Leave room for the labels, and write the milliseconds as plain numbers."""
    x = [s.mean("ms_per_slice") for s in shown]
    ends = [v for s in shown for v in (*s.interval("map50"), s.mean("map50"))]
    y = [v for v in ends if not math.isnan(v)]
    axes.set_xlim(min(x) / 1.5, max(x) * 1.7)
    margin = 0.08 * (max(y) - min(y)) + 0.02
    axes.set_ylim(max(min(y) - margin, -0.02), min(max(y) + margin, 1.02))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _label(
    figure: Figure,
    axes: Axes,
    points: Sequence[tuple[float, float, float]],
    bars: Sequence[tuple[float, float, float]],
    texts: Sequence[tuple[str, str]],
) -> None:
    """Put each label where it covers no point and no other label, as near as can be.

    Args:
        points: x, y in the units of the axes, and the radius of the mark in typographic points.
        bars: x, lower and upper end of each interval; they may be covered where space is short.
        texts: what to write at each point, and its colour.
    """
    figure.draw_without_rendering()  # the layout decides how large a pixel is
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    scale = figure.dpi / 72
    centres = [axes.transData.transform((x, y)) for x, y, _ in points]
    radii = [radius * scale for _, _, radius in points]
    taken = [
        _box(x, y, 2 * radius, 2 * radius) for (x, y), radius in zip(centres, radii, strict=True)
    ]
    ends = [axes.transData.transform(((x, low), (x, high))) for x, low, high in bars]
    lines = [Bbox.from_extents(*low, *high).padded(scale, 0) for low, high in ends]
    inside = axes.get_window_extent(renderer)
    for index in sorted(range(len(points)), key=lambda k: float(centres[k][0])):
        (x, y), radius, (words, colour) = centres[index], radii[index], texts[index]
        probe = figure.text(0, 0, words, fontsize=8, linespacing=1.1)
        extent = probe.get_window_extent(renderer)
        probe.remove()
        width, height = extent.width + 4, extent.height + 4

        def cost(place: tuple[float, float, int]) -> float:
            box = _box(place[0], place[1], width, height)  # noqa: B023
            covered = sum(box.overlaps(other) for other in taken)
            crossed = sum(box.overlaps(other) for other in lines)
            return 1000 * (covered + (not _contains(inside, box))) + 0.7 * crossed + place[2]

        places = [
            (
                x + math.cos(angle) * (radius + (3 + 9 * far) * scale + width / 2),
                y + math.sin(angle) * (radius + (3 + 9 * far) * scale + height / 2),
                far,
            )
            for far in range(12)
            for angle in (2 * math.pi * turn / 16 for turn in range(16))  # to the right first
        ]
        best_x, best_y, far = min(places, key=cost)
        taken.append(_box(best_x, best_y, width, height))
        to_x, to_y = axes.transData.inverted().transform((best_x, best_y)).tolist()
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.7}
        axes.annotate(
            words, points[index][:2], xytext=(to_x, to_y), ha="center", va="center", fontsize=8,
            linespacing=1.1, color=colour, arrowprops=line if far else None, zorder=4,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def _box(x: float, y: float, width: float, height: float) -> Bbox:
    return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)


def _contains(outer: Bbox, inner: Bbox) -> bool:
    return bool(
        outer.x0 <= inner.x0
        and inner.x1 <= outer.x1
        and outer.y0 <= inner.y0
        and inner.y1 <= outer.y1
    )
