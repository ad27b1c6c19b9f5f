"""Look up the label numbers of a mask, passing over its background."""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

Block = tuple[slice, slice, slice]


def foreground(mask: NDArray[np.unsignedinteger]) -> Block:
    """Return the smallest block of ``(slices, rows, columns)`` that holds all that is not zero.

    Its slices are empty where there is nothing.
    """
    flat = np.bitwise_or.reduce(mask, axis=0) != 0
    y, x = _extent(flat.any(axis=1)), _extent(flat.any(axis=0))
    return _extent(np.asarray(mask[:, y, x].any(axis=(1, 2)))), y, x


def numbers(mask: NDArray[np.unsignedinteger]) -> set[int]:
    """Return the label numbers in a mask, without the background's 0."""
    labels: set[int] = set()
    for plane in mask[foreground(mask)]:
        if plane.dtype == np.uint8:
            counts = cv2.calcHist([np.ascontiguousarray(plane)], [0], None, [256], [0, 256])
            labels.update(np.flatnonzero(counts).tolist())
        else:
            labels.update(np.unique(plane).tolist())
    return labels - {0}


def classes_of(
    mask: NDArray[np.unsignedinteger], classes: Mapping[int, int]
) -> NDArray[np.unsignedinteger]:
    """Return class index + 1 of each voxel of a mask, 0 where its label names no class.

    Args:
        mask: ``(slices, rows, columns)`` label numbers.
        classes: label number → class index.

    >>> classes_of(np.array([[[0, 1, 2, 5]]], np.uint8), {1: 0, 5: 1}).tolist()
    [[[0, 1, 0, 2]]]
    """
    size = 256 if mask.dtype == np.uint8 else int(mask.max(initial=0)) + 1
    table = np.zeros(size, np.min_scalar_type(max(classes.values(), default=0) + 1))
    for value, label in classes.items():
        if value < size:
            table[value] = label + 1
    if table.dtype == mask.dtype == np.uint8 and mask.size:  # as nearly always, and much faster
        flat = np.ascontiguousarray(mask).reshape(1, -1)
        return np.asarray(cv2.LUT(flat, table), np.uint8).reshape(mask.shape)
    return np.asarray(table[mask])


def _extent(shown: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(shown)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
