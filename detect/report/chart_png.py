"""Draw the layout of a chart as a PNG file."""

import textwrap
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import cycle, pairwise
from math import hypot
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from converters.core.files import atomic_file
from detect.report.chart_labels import FONT_SIZE
from detect.report.colours import ON_LIGHT

SCALE = 2  # pixels of the file for a unit of the layout
_FINE = 2 * SCALE  # drawn twice as fine and reduced: smooth edges
_TEXT, _SOFT, _GRID = "#1b2026", "#57606a", "#d3d9df"
_MARGIN, _ROW = 12, 18  # beside the drawing, and a row of writing, in units of the layout

Point = tuple[float, float]


def write_chart_png(path: Path, layout: Mapping[str, Any]) -> None:
    """Draw a chart on white, its title above, its legend and its note below.

    Args:
        path: of the file.
        layout: what the template `chart.svg` is filled with, in the units of its view box.
    """
    width, height = layout["size"]
    named = [line for line in layout["lines"] if line["name"] and not line["label"]]
    columns = width // 220
    rows = -(-len(named) // columns)
    note = textwrap.wrap(layout["note"], round(width / (0.5 * FONT_SIZE)))
    canvas = _Canvas(width, height + _ROW * (2 + rows + len(note)))
    canvas.text((0, _ROW / 2), layout["title"], "lm", _TEXT, 14)
    canvas.top = 1.5 * _ROW
    _draw_axes(canvas, layout)
    for draw in (_draw_line, _draw_label):
        for line in layout["lines"]:
            draw(canvas, line)
    canvas.top += height
    for k, line in enumerate(named):
        _draw_key(canvas, (k % columns * width / columns, _ROW * (k // columns + 0.5)), line)
    canvas.top += _ROW * rows
    for words in note:
        canvas.text((0, _ROW / 2), words, "lm")
        canvas.top += _ROW
    with atomic_file(path) as temporary:
        canvas.image.reduce(_FINE // SCALE).save(temporary, "PNG")


class _Canvas:
    """Draws in the units of the layout, from a row on that moves down."""

    def __init__(self, width: float, height: float) -> None:
        size = round((width + 2 * _MARGIN) * _FINE), round(height * _FINE)
        self.image = Image.new("RGB", size, "white")
        self.top = 0.0
        self._draw = ImageDraw.Draw(self.image)

    def line(self, points: Sequence[Point], colour: str, width: float, dash: str = "") -> None:
        for part in _dashes(points, [float(v) for v in dash.split()]) if dash else [points]:
            self._draw.line(list(map(self._pixel, part)), colour, round(width * _FINE), "curve")

    def disc(self, centre: Point, radius: float, colour: str) -> None:
        self._draw.circle(
            self._pixel(centre), (radius + 0.5) * _FINE, colour, "white", round(0.5 * _FINE)
        )

    def text(
        self, at: Point, words: str, anchor: str, colour: str = _SOFT, size: float = FONT_SIZE
    ) -> None:
        self._draw.text(
            self._pixel(at), words, colour, _font(size), anchor,
            stroke_width=_FINE, stroke_fill="white",
        )  # fmt: skip

    def upright_text(self, centre: Point, words: str) -> None:
        font = _font(FONT_SIZE + 1)
        _, _, width, height = map(round, font.getbbox(words))
        letters = Image.new("L", (width, height))
        ImageDraw.Draw(letters).text((0, 0), words, 255, font)
        letters = letters.rotate(90, expand=True)
        x, y = self._pixel(centre)
        corner = round(x - letters.width / 2), round(y - letters.height / 2)
        self.image.paste(_TEXT, corner, letters)

    def _pixel(self, point: Point) -> Point:
        return (point[0] + _MARGIN) * _FINE, (point[1] + self.top) * _FINE


@cache
def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size * _FINE)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ImportError("Pillow was built without FreeType, which charts are written with")
    return font


def _draw_axes(canvas: _Canvas, layout: Mapping[str, Any]) -> None:
    left, top, right, bottom = layout["frame"]
    for at, words in layout["y_ticks"]:
        canvas.line([(left, at), (right, at)], _GRID, 0.8)
        canvas.text((left - 6, at), words, "rm")
    for at, words in layout["x_ticks"]:
        canvas.line([(at, top), (at, bottom)], _GRID, 0.8)
        canvas.text((at, bottom + 11), words, "mm")
    canvas.line([(left, top), (left, bottom), (right, bottom)], _SOFT, 1)
    if layout["diagonal"]:
        canvas.line([(left, bottom), (right, top)], _SOFT, 1, "4 3")
    for k, (at, words) in enumerate(layout["verticals"]):
        canvas.line([(at, top), (at, bottom)], _SOFT, 1, "4 3")
        side, anchor = (-4, "rm") if at > (left + right) / 2 else (4, "lm")
        canvas.text((at + side, top + 8 + 13 * k), words, anchor)
    canvas.text(
        ((left + right) / 2, layout["size"][1] - 12), layout["x_label"], "mm", _TEXT, FONT_SIZE + 1
    )
    canvas.upright_text((10, (top + bottom) / 2), layout["y_label"])


def _draw_line(canvas: _Canvas, line: Mapping[str, Any]) -> None:
    colour = ON_LIGHT[line["colour"]]
    for x, low, high in line["bars"]:
        canvas.line([(x, low), (x, high)], colour, 1.5)
        for y in (low, high):
            canvas.line([(x - 4, y), (x + 4, y)], colour, 1.5)
    for stroke in line["strokes"]:
        canvas.line(stroke, colour, 2, line["dash"])
    for mark in line["marks"]:
        canvas.disc(mark, line["radius"], colour)


def _draw_label(canvas: _Canvas, line: Mapping[str, Any]) -> None:
    if line["label"]:
        x, y, far = line["label"]
        colour = ON_LIGHT[line["colour"]]
        if far:
            canvas.line([line["marks"][0], (x, y)], colour, 0.7)
        canvas.text((x, y), line["name"], "mm", colour)


def _draw_key(canvas: _Canvas, at: Point, line: Mapping[str, Any]) -> None:
    colour, (left, middle) = ON_LIGHT[line["colour"]], at
    if line["strokes"]:
        canvas.line([(left, middle), (left + 24, middle)], colour, 2.5, line["dash"])
    else:
        canvas.disc((left + 12, middle), 3.5, colour)
    canvas.text((left + 30, middle), line["name"], "lm", _TEXT)


def _dashes(points: Sequence[Point], pattern: Sequence[float]) -> list[list[Point]]:
    """Cut a line into dashes, from lengths of dash and gap in turns."""
    parts: list[list[Point]] = [[points[0]]]
    lengths = cycle(pattern)
    left, drawn = next(lengths), True
    for (x0, y0), (x1, y1) in pairwise(points):
        whole, done = hypot(x1 - x0, y1 - y0), 0.0
        while whole - done > left:
            done += left
            at = (x0 + (x1 - x0) * done / whole, y0 + (y1 - y0) * done / whole)
            if drawn:
                parts[-1].append(at)
            else:
                parts.append([at])
            left, drawn = next(lengths), not drawn
        left -= whole - done
        if drawn:
            parts[-1].append((x1, y1))
    return [part for part in parts if len(part) > 1]
