"""Splits without pictures."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from converters.core.boxes import Boxes
from converters.dataset.split import Split


def split_of(
    boxes: list[int],
    places: list[tuple[str, int]] | None = None,
    synthetic: Iterable[int] = (),
) -> Split:
    """Slices with so many boxes each, of a case and an index in it; those of some are made up."""
    truth = [Boxes(np.zeros((n, 4)), np.zeros(n, np.int64), np.ones(n)) for n in boxes]
    count = len(boxes)
    cases, indices = zip(*(places or [("a", k) for k in range(count)]), strict=True)
    blank: list[Any] = [None] * count
    return Split(
        "train", blank, list(range(count)), list(cases), list(cases), list(indices),
        blank, blank, truth, blank, blank, blank, [k in synthetic for k in range(count)],
    )  # fmt: skip
