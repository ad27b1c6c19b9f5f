"""Choose the side of the network's input: by the pictures, or by the lesions in them.

Detectors predict from grids, the finest of 8 px in most families, and the YOLO losses assign a box
to the cells whose middles it holds. One of 8 px or more holds a middle wherever it lies; a smaller
one may hold none, and then there is nothing for it to be learned from. So most lesions should span
8 px, which says how many mm a pixel of the input may have. Not all should: the last slices of a
lesion, where it is cut through its very end, are boxes of a few voxels however large it is.
"""

import math
from collections.abc import Mapping

import numpy as np

from converters.core.errors import ParameterError
from converters.dataset.split import Split

CELL = 8  # px: side of a cell of the finest grid
SHARE = 0.75  # of the training boxes that shall span one
MULTIPLE = 32  # px: cells of the coarsest grid
LARGEST = 640  # px that are taken unasked: the published weights were trained at this size
ENLARGED = 2  # times the pictures' own size; beyond, there is nothing new to be seen, only costs


def picture_size(split: Split) -> int:
    """Return the longest side of the pictures, as far as is taken unasked, px."""
    longest = max(max(size) for size in split.sizes)
    return min(math.ceil(longest / MULTIPLE) * MULTIPLE, LARGEST)


def size_for_lesions(split: Split, pixel_mm: Mapping[str, tuple[float, ...]]) -> tuple[int, str]:
    """Choose the side that lets most lesions span a cell: no less than the pictures' own.

    Args:
        split: train, with a box.
        pixel_mm: for each case, the spacing of its pictures' pixels along columns and rows.

    Returns:
        The side, px, and a line that says why.
    """
    needed, short_mm = [], []
    for case, size, truth in zip(split.case_ids, split.sizes, split.truth, strict=True):
        sides = truth.xyxy[:, 2:] - truth.xyxy[:, :2]
        shorter = sides.argmin(axis=1, keepdims=True)
        px = np.take_along_axis(sides, shorter, 1)[:, 0]
        needed += (CELL * max(size) / px).tolist()
        short_mm += (px * np.asarray(pixel_mm[case][:2])[shorter[:, 0]]).tolist()
    order = np.argsort(needed, kind="stable")
    last = order[math.ceil(SHARE * len(order)) - 1]  # of those that shall span a cell
    wanted = math.ceil(needed[last] / MULTIPLE) * MULTIPLE
    smallest, largest = picture_size(split), max(max(size) for size in split.sizes) * ENLARGED
    side = max(min(wanted, LARGEST, largest // MULTIPLE * MULTIPLE), smallest)
    reason = (
        f"{1 - SHARE:.0%} of the training boxes are finer than one of {short_mm[last]:.1f} mm,"
        f" which spans {CELL * side / needed[last]:.1f} px"
    )
    if side < wanted:
        most = f"{LARGEST} px" if side == LARGEST else f"{ENLARGED} times the pictures' size"
        reason += f"; {CELL} px are wanted, but the most that is taken is {most}"
    return side, reason


def checked_size(asked: int) -> int:
    """Take a side that was asked for.

    Raises:
        InputError: it is not a multiple of 32.
    """
    if asked % MULTIPLE:
        near = max(round(asked / MULTIPLE), 1) * MULTIPLE
        raise ParameterError("imgsz", f"{asked} is not a multiple of {MULTIPLE}", f"use {near}")
    return asked
