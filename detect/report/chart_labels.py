"""Place names beside the marks of a chart so that they cover no mark and no other name."""

import math
from collections.abc import Sequence
from typing import NamedTuple

FONT_SIZE = 11  # in the units of the layout, as `.tick` in the style
_LETTER = 0.56 * FONT_SIZE  # mean width of a letter of a sans-serif font


class Box(NamedTuple):
    """A rectangle of the layout; y points down."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        """Tell whether two rectangles touch."""
        return (
            self.left <= other.right
            and other.left <= self.right
            and self.top <= other.bottom
            and other.top <= self.bottom
        )

    def holds(self, other: "Box") -> bool:
        """Tell whether the other rectangle lies inside this one."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


class Label(NamedTuple):
    """Centre of a name, and whether it lies so far from its mark that a line must join them."""

    x: float
    y: float
    far: bool


def place_labels(
    names: Sequence[str], marks: Sequence[Box], bars: Sequence[Box], frame: Box
) -> list[Label]:
    """Place names from left to right, each as near to its mark as can be.

    Args:
        names: to write.
        marks: that they belong to, in the same order; no name may cover one.
        bars: intervals, which may be covered where space is short.
        frame: that the names should stay in.
    """
    taken = list(marks)
    labels: dict[int, Label] = {}
    for k in sorted(range(len(names)), key=lambda k: marks[k].left):
        width, height = _LETTER * len(names[k]) + 4, FONT_SIZE + 3
        x, y = (marks[k].left + marks[k].right) / 2, (marks[k].top + marks[k].bottom) / 2
        radius = (marks[k].right - marks[k].left) / 2

        def cost(place: tuple[float, float, int]) -> float:
            box = _around(place[0], place[1], width, height)  # noqa: B023
            covered = sum(box.overlaps(other) for other in taken)
            crossed = sum(box.overlaps(other) for other in bars)
            return 1000 * (covered + (not frame.holds(box))) + 0.7 * crossed + place[2]

        places = [
            (
                x + math.cos(angle) * (radius + 2 + 6 * far + width / 2),
                y + math.sin(angle) * (radius + 2 + 6 * far + height / 2),
                far,
            )
            for far in range(12)
            for angle in (2 * math.pi * turn / 16 for turn in range(16))  # to the right first
        ]
        best_x, best_y, far = min(places, key=cost)
        taken.append(_around(best_x, best_y, width, height))
        labels[k] = Label(round(best_x, 1), round(best_y, 1), far > 0)
    return [labels[k] for k in range(len(names))]


def _around(x: float, y: float, width: float, height: float) -> Box:
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
