"""Format the components on a slice as YOLO label text."""

from collections.abc import Iterable

from converters.masks.components import Component
from converters.preprocessing.frame import Frame


def label_text(boxes: Iterable[Component], frame: Frame) -> str:
    """Format a picture's boxes; nine decimals give back whole pixels on images below 10^6 px."""
    lines = []
    for box in boxes:
        x, y, width, height = frame.box(box.x, box.y, box.width, box.height)
        lines.append(
            f"{box.label} {(x + width / 2) / frame.width:.9f} {(y + height / 2) / frame.height:.9f}"
            f" {width / frame.width:.9f} {height / frame.height:.9f}\n"
        )
    return "".join(lines)
