"""Decoding of a DETR's queries to boxes."""

import numpy as np
import pytest

from detect.detectors.detr import to_boxes
from detect.detectors.protocol import MAX_DETECTIONS


def test_pairs_of_query_and_class_by_falling_score() -> None:
    logits = np.array([[[2.0, -1.0], [-20.0, 1.0]]], np.float32)
    boxes = np.array([[[0.5, 0.5, 0.5, 0.2], [0.9, 0.5, 0.4, 0.2]]], np.float32)
    (detections,) = to_boxes(logits, boxes, [(100, 200)])
    assert detections.label.tolist() == [0, 1, 1]  # the fourth is below the floor
    np.testing.assert_allclose(detections.score, 1 / (1 + np.exp([-2.0, -1.0, 1.0])), rtol=1e-6)
    expected = [[50, 40, 150, 60], [140, 40, 200, 60], [50, 40, 150, 60]]  # cut at the edge
    assert abs(detections.xyxy - expected).max() < 1e-4


def test_what_ends_before_it_begins_is_no_box() -> None:
    logits = np.zeros((1, 4, 1), np.float32)
    boxes = np.full((1, 4, 4), 0.5, np.float32)
    boxes[0, 0, 2], boxes[0, 1, 3], boxes[0, 2] = -0.1, -0.1, np.nan
    (detections,) = to_boxes(logits, boxes, [(10, 10)])
    assert detections.xyxy.tolist() == [[2.5, 2.5, 7.5, 7.5]]


def test_the_limit_counts_boxes_only() -> None:
    logits = np.linspace(1, 0, MAX_DETECTIONS + 50, dtype=np.float32).reshape(1, -1, 1)
    boxes = np.full((1, MAX_DETECTIONS + 50, 4), 0.5, np.float32)
    boxes[0, :20, 2] = -1
    (detections,) = to_boxes(logits, boxes, [(10, 10)])
    assert len(detections) == MAX_DETECTIONS
    assert detections.score[0] == pytest.approx(1 / (1 + np.exp(-logits[0, 20, 0])), rel=1e-6)
