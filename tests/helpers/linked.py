"""Stacks of slices with boxes to link."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from converters.core.boxes import Boxes
from converters.dataset.split import Split

SQUARE = (10, 10, 20, 20)
ELSEWHERE = (60, 60, 70, 70)

LESION = [(SQUARE, 1)]

SEEN = [(SQUARE, 0.8)]


def boxes(*rows: tuple[tuple[float, ...], int, float]) -> Boxes:
    """Return boxes of rows of corners, class and score."""
    return Boxes(
        np.array([r[0] for r in rows], dtype=float).reshape(-1, 4),
        np.array([r[1] for r in rows], dtype=np.int64),
        np.array([r[2] for r in rows], dtype=float),
    )


@st.composite
def stacks(draw: st.DrawFn) -> list[Boxes]:
    counts = draw(st.lists(st.integers(0, 4), min_size=0, max_size=6))
    scores = iter(draw(st.permutations(range(1, sum(counts) + 1))))
    corner, size = st.integers(0, 12), st.integers(1, 10)
    slices = []
    for count in counts:
        rows = []
        for _ in range(count):
            x, y, w, h = draw(corner), draw(corner), draw(size), draw(size)
            rows.append(((x, y, x + w, y + h), draw(st.integers(0, 2)), next(scores) / 100))
        slices.append(boxes(*rows))
    return slices


def split_of(cases: list[list[list[tuple[tuple[float, ...], int]]]], skip: int = -1) -> Split:
    """Return a val split; each case has, by slice, corners and lesion of each true box."""
    rows = [
        (f"case{c}", z, marks)
        for c, slices in enumerate(cases)
        for z, marks in enumerate(slices)
        if z != skip
    ]
    count = len(rows)
    return Split(
        name="val",
        paths=[Path(f"{k}.png") for k in range(count)],
        image_ids=list(range(count)),
        case_ids=[case for case, _, _ in rows],
        patient_ids=[case for case, _, _ in rows],
        slice_indices=[z for _, z, _ in rows],
        sizes=[(100, 100)] * count,
        planes=[1] * count,
        synthetic=[False] * count,
        truth=[boxes(*((box, 0, 1.0) for box, _ in marks)) for _, _, marks in rows],
        lesion_ids=[np.array([lesion for _, lesion in marks], np.int64) for _, _, marks in rows],
        diameters_mm=[np.full(len(marks), np.nan) for _, _, marks in rows],
        areas=[np.full(len(marks), np.nan) for _, _, marks in rows],
    )


def detected(*slices: list[tuple[tuple[float, ...], float]]) -> list[Boxes]:
    return [boxes(*((box, 0, score) for box, score in marks)) for marks in slices]
