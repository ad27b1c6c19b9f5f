"""Matching of detections to truth, worked by hand."""

import numpy as np
import pytest

from converters.core.boxes import Boxes
from detect.evaluation.matching import IOU_THRESHOLDS, match
from tests.helpers.samples import boxes

SQUARE = (0, 0, 10, 10, 0)


def hits_at_half(truth: Boxes, detections: Boxes, num_classes: int = 1) -> list[int]:
    hits: list[int] = match([truth], [detections], num_classes).hit[0].tolist()
    return hits


def test_thresholds_are_those_of_coco() -> None:
    assert IOU_THRESHOLDS.tolist() == pytest.approx([(10 + k) / 20 for k in range(10)])


def test_iou_of_one_half_counts() -> None:
    matches = match([boxes((0, 0, 20, 10, 0))], [boxes((0, 0, 10, 10, 0, 0.5))], 1)
    assert matches.hit[:, 0].tolist() == [0] + [-1] * 9


def test_a_second_detection_of_the_same_box_is_a_false_positive() -> None:
    assert hits_at_half(boxes(SQUARE), boxes((*SQUARE, 0.6), (*SQUARE, 0.9))) == [0, -1]
    matches = match([boxes(SQUARE)], [boxes((*SQUARE, 0.6), (*SQUARE, 0.9))], 1)
    assert matches.score.tolist() == [0.9, 0.6]
    assert matches.rank.tolist() == [0, 1]


def test_the_better_overlap_is_taken_and_the_rest_left_to_the_next() -> None:
    truth = boxes((0, 0, 10, 10, 0), (0, 0, 10, 9, 0))
    # the first prefers box 1, the second would too, and has to take box 0 with IoU 0.9
    assert hits_at_half(truth, boxes((0, 0, 10, 9, 0, 0.9), (0, 0, 10, 9, 0, 0.8))) == [1, 0]


def test_greedy_is_not_optimal_and_must_not_be() -> None:
    """The surer detection takes the box of highest IoU, even if the next one then has none."""
    truth = boxes((0, 0, 10, 10, 0), (0, 4, 10, 14, 0))
    first = (0, 1, 10, 11, 0, 0.9)  # IoU 9/11 with box 0, 7/13 with box 1
    second = (0, -2, 10, 8, 0, 0.8)  # IoU 8/12 with box 0, 4/16 with box 1
    assert hits_at_half(truth, boxes(first, second)) == [0, -1]


def test_among_equal_overlaps_the_last_listed_box_is_taken() -> None:
    truth = boxes(SQUARE, SQUARE, SQUARE)
    assert hits_at_half(truth, boxes((*SQUARE, 0.9), (*SQUARE, 0.8))) == [2, 1]


def test_a_long_chain_of_detections_that_wait_for_each_other() -> None:
    n = 40
    truth = boxes(*[(0, 4 * k, 10, 4 * k + 20, 0) for k in range(n)])
    # each takes the box after its own, which its predecessor overlaps as well; the last is left
    detections = boxes(*[(0, 4 * k + 2.1, 10, 4 * k + 22.1, 0, 1 - k / 100) for k in range(n)])
    assert hits_at_half(truth, detections) == [*range(1, n), -1]


def test_classes_and_images_are_kept_apart() -> None:
    here, elsewhere = boxes((*SQUARE, 0.5)), boxes((0, 0, 10, 10, 1, 0.5))
    assert hits_at_half(boxes(SQUARE), elsewhere, num_classes=2) == [-1]
    matches = match([boxes(SQUARE), boxes()], [boxes(), here], 1)
    assert matches.hit[0].tolist() == [-1]


def test_truth_is_counted_through_all_images() -> None:
    truth = [boxes(SQUARE), boxes(), boxes((0, 0, 5, 5, 1), SQUARE)]
    detections = [boxes(), boxes(), boxes((*SQUARE, 0.5))]
    matches = match(truth, detections, 2)
    assert matches.hit[0].tolist() == [2]
    assert matches.truth_image.tolist() == [0, 2, 2]
    assert matches.image.tolist() == [2]
    assert matches.boxes_per_class().tolist() == [2, 1]
    assert matches.images_per_class().tolist() == [2, 1]


def test_a_box_without_area_hits_nothing() -> None:
    flat = (3, 3, 3, 9, 0)
    assert hits_at_half(boxes(flat), boxes((*flat, 0.5))) == [-1]


@pytest.mark.parametrize(
    "bad",
    [
        Boxes(np.zeros((1, 4)), np.array([1]), np.ones(1)),
        Boxes(np.zeros((1, 4)), np.array([-1]), np.ones(1)),
        Boxes(np.zeros((1, 4)), np.zeros(1, np.int64), np.full(1, 1.5)),
    ],
)
def test_malformed_detections_are_refused(bad: Boxes) -> None:
    with pytest.raises(ValueError):
        match([Boxes.empty()], [bad], 1)


def test_malformed_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="1 images of truth, 2 of detections"):
        match([Boxes.empty()], [Boxes.empty()] * 2, 1)
    with pytest.raises(ValueError, match="truth: labels"):
        match([boxes((0, 0, 1, 1, 1))], [Boxes.empty()], 1)
    with pytest.raises(ValueError, match="at least one class"):
        match([], [], 0)
