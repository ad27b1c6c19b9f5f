"""Boxes as rows of numbers for the page's script."""

from collections.abc import Sequence

from converters.core.boxes import Boxes


def rows(boxes: Boxes) -> list[list[float]]:
    """Rows of x, y, width, height (px, to a tenth) and class index."""
    return [
        [*xywh(xyxy), label]
        for xyxy, label in zip(boxes.xyxy.tolist(), boxes.label.tolist(), strict=True)
    ]


def xywh(xyxy: Sequence[float]) -> list[float]:
    """Turn corners into x, y, width and height, to a tenth of a pixel."""
    x1, y1, x2, y2 = xyxy
    return [round(v, 1) for v in (x1, y1, x2 - x1, y2 - y1)]
