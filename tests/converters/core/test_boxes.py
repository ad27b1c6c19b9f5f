"""Boxes are checked when they are made."""

import pickle

import numpy as np
import pytest

from converters.core.boxes import Boxes


def test_lists_and_other_types_become_arrays() -> None:
    boxes = Boxes([[0, 1, 2, 3], [4, 5, 6, 7]], np.array([1, 0], np.uint8), [1, 0.5])  # type: ignore[arg-type]
    assert (boxes.xyxy.dtype, boxes.label.dtype, boxes.score.dtype) == (float, np.int64, float)
    part = boxes[boxes.score < 1]
    assert (part.xyxy.tolist(), part.label.tolist()) == ([[4, 5, 6, 7]], [0])
    again = pickle.loads(pickle.dumps(part))
    assert (again.xyxy == part.xyxy).all() and len(again) == 1
    empty = Boxes([], [], [])  # type: ignore[arg-type]
    assert empty.xyxy.shape == (0, 4) and empty.label.dtype == np.int64 and len(empty) == 0


@pytest.mark.parametrize(
    ("name", "xyxy", "label", "score"),
    [
        ("xyxy", [[0, 0, np.nan, 1]], [0], [1]),
        ("xyxy", [[0, 0, np.inf, 1]], [0], [1]),
        ("xyxy", [[5, 0, 4, 1]], [0], [1]),
        ("xyxy", [[0, 5, 1, 4]], [0], [1]),
        ("xyxy", [[0, 0, 1]], [0], [1]),
        ("xyxy", [0, 0, 1, 1], [0], [1]),
        ("xyxy", [[0, 0, 1, 1]] * 2, [0], [1]),
        ("label", [[0, 0, 1, 1]], [0, 0], [1]),
        ("label", [[0, 0, 1, 1]], [0.0], [1]),
        ("score", [[0, 0, 1, 1]], [0], [np.nan]),
        ("xyxy", [[0, 0, 1, 1]], [0], 1),
    ],
)
def test_malformed_boxes_are_refused_by_name(
    name: str, xyxy: object, label: object, score: object
) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        Boxes(xyxy, label, score)  # type: ignore[arg-type]
