"""Boxes of one image: checks on construction, overlap and duplicates, by hand."""

import pickle

import numpy as np
import pytest

from converters.core.boxes import Boxes, iou, nms
from tests.helpers.samples import boxes


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


def test_iou_by_hand() -> None:
    a = np.array([[0, 0, 10, 4], [5, 5, 5, 9]], float)
    b = np.array(
        [[0, 0, 10, 4], [8, 1, 12, 5], [10, 0, 20, 4], [0, 4, 10, 8], [12, 6, 13, 7]], float
    )
    # 2 x 3 px in common, of 40 + 16 - 6
    assert iou(a, b).tolist() == [[1, 6 / 50, 0, 0, 0], [0] * 5]
    assert iou(a[1:], a[1:]).tolist() == [[0]]  # without area, there is nothing in common
    half = np.array([[0, 0, 0.5, 1]])
    assert iou(half, half).tolist() == [[1]]


SQUARE = [[0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("xyxy", "label", "score", "problem"),
    [
        (SQUARE, [0], 0.5, r"xyxy: shape \(1, 4\) beside score \(\)"),
        ([], [], 0.5, r"xyxy: shape \(0,\)|label: whole numbers"),
        (SQUARE, [], [], r"xyxy: shape \(1, 4\)|label: whole numbers"),
        (SQUARE, np.zeros(0, np.int64), [0.5], r"label: shape \(0,\) beside score \(1,\)"),
        ([], np.zeros(1, np.int64), [], r"xyxy: shape \(0,\) beside score \(0,\)"),
        ([], [0], [0.5], r"xyxy: shape \(0,\) beside score \(1,\)"),
        ([[0, 0, 1]], [0], [0.5], r"xyxy: shape \(1, 3\)"),
        (SQUARE, [0.0], [0.5], "label: whole numbers are needed, not float64"),
        (SQUARE, [0], [np.nan], "score: not every number is finite"),
        ([[0, 0, np.inf, 1]], [0], [0.5], "not finite, or ends before it begins"),
        ([[2, 0, 1, 1]], [0], [0.5], "not finite, or ends before it begins"),
        ([[0, 2, 1, 1]], [0], [0.5], "not finite, or ends before it begins"),
    ],
)
def test_arrays_that_are_no_boxes_are_refused(xyxy, label, score, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        Boxes(xyxy, label, score)


def test_a_box_without_area_and_no_boxes_at_all_are_boxes() -> None:
    flat = Boxes([[3, 3, 3, 3]], np.array([1], np.uint8), [1])
    assert (flat.xyxy.dtype, flat.label.dtype, flat.score.dtype) == (float, np.int64, float)
    none = Boxes([], [], [])
    assert (none.xyxy.shape, none.label.dtype, len(none)) == ((0, 4), np.int64, 0)


def test_boxes_are_selected_by_mask_indices_or_slice() -> None:
    three = boxes((0, 0, 1, 1, 2, 0.1), (0, 0, 2, 2, 1, 0.2), (0, 0, 3, 3, 0, 0.3))
    for index in (np.array([False, True, True]), np.array([1, 2]), slice(1, None)):
        chosen = three[index]
        assert len(chosen) == 2 and chosen.xyxy[:, 2].tolist() == [2, 3]
        assert (chosen.label.tolist(), chosen.score.tolist()) == ([1, 0], [0.2, 0.3])
    none = Boxes.empty()
    assert len(none) == 0
    assert (none.xyxy.shape, none.label.shape, none.score.shape) == ((0, 4), (0,), (0,))


@pytest.mark.parametrize(("right", "kept"), [(20, 2), (19, 1), (21, 2)])
def test_a_box_that_overlaps_a_surer_one_by_more_than_half_is_dropped(
    right: int, kept: int
) -> None:
    """A box of 10 x 10 in one of `right` x 10: an IoU of 10 / right; far from the corner."""
    pair = boxes((30, 7, 30 + right, 17, 0, 0.4), (30, 7, 40, 17, 0, 0.6))
    left = nms(pair, 0.5)
    assert left.score.tolist() == [0.6, 0.4][:kept] and left.xyxy[0].tolist() == [30, 7, 40, 17]
    other = Boxes(pair.xyxy, np.array([0, 1]), pair.score)  # of another class
    assert nms(other, 0.5).score.tolist() == [0.6, 0.4]


def test_nms_keeps_the_order_of_equals_and_boxes_of_score_0() -> None:
    square = (5, 5, 15, 15)
    left = nms(boxes((*square, 0, 0.0), (40, 40, 50, 50, 0, 0.5), (60, 5, 70, 9, 0, 0.5)), 0.5)
    assert left.xyxy[:, 0].tolist() == [40, 60, 5] and left.score.tolist() == [0.5, 0.5, 0]
    assert len(nms(Boxes.empty(), 0.5)) == 0
