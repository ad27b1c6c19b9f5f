"""Matching of detections to truth, worked by hand."""

import numpy as np
import pytest

from converters.core.boxes import Boxes
from detect.evaluation import overlaps as overlaps_module
from detect.evaluation.matching import IOU_THRESHOLDS, match
from detect.evaluation.overlaps import ANY_OVERLAP, Overlaps, by_preference, claim, find_overlaps
from tests.helpers.samples import boxes, realistic_set

PAIR = ("detection", "target", "iou")

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


def test_images_and_boxes_are_counted_by_class() -> None:
    corners = SQUARE[:4]
    truth = [boxes((*corners, 2), (*corners, 2), (*corners, 0)), boxes(), boxes((*corners, 2))]
    detections = boxes((*corners, 2, 0.3), (*corners, 0, 0.2), (*corners, 2, 0.9))
    matches = match(truth, [boxes(), detections, boxes((*corners, 1, 1.0))], 5)
    assert (matches.num_images, matches.num_classes) == (3, 5)
    assert matches.boxes_per_class().tolist() == [1, 0, 3, 0, 0]
    assert matches.images_per_class().tolist() == [1, 0, 2, 0, 0]
    assert matches.label.tolist() == [0, 1, 2, 2] and matches.rank.tolist() == [0, 0, 0, 1]
    assert matches.score.tolist() == [0.2, 1.0, 0.9, 0.3]
    assert matches.image.tolist() == [1, 2, 1, 1]
    assert [matches.of_class(k) for k in range(4)] == [
        slice(0, 1), slice(1, 2), slice(2, 4), slice(4, 4),
    ]  # fmt: skip


def test_every_class_of_every_image_hits_its_box() -> None:
    """In one place lie a box of each class; each image has two more of class 2 than the last."""
    corners, elsewhere = SQUARE[:4], (50, 50, 60, 60)
    truth = [boxes(*[(*corners, k) for k in (2, 0, 1)], *[(*elsewhere, 2)] * n) for n in (0, 2, 4)]
    detections = [boxes(*[(*corners, k, 0.9 - n / 10) for k in range(3)]) for n in range(3)]
    matches = match(truth, detections, 3)
    # the first box of each image is number 0, 3 and 8; then come by class and score
    assert matches.hit[9].tolist() == [1, 4, 9, 2, 5, 10, 0, 3, 8]
    assert matches.rank.tolist() == [0] * 9 and matches.image.tolist() == [0, 1, 2] * 3
    assert matches.truth_label[[0, 3, 8]].tolist() == [2, 2, 2]


def test_thresholds_by_hand() -> None:
    """A detection of 10 x n in a box of 10 x 20 has an IoU of n / 20."""
    truth = boxes((0, 0, 10, 20, 0))
    for n, reached in ((9, 0), (10, 1), (11, 2), (15, 6), (19, 10), (20, 10)):
        matches = match([truth], [boxes((0, 0, 10, n, 0, 0.5))], 1)
        assert matches.hit[:, 0].tolist() == [0] * reached + [-1] * (10 - reached)


def test_pairs_by_hand() -> None:
    detections = np.array([[0, 0, 10, 4], [0, 0, 10, 4], [8, 1, 12, 5]], float)
    true = np.array([[0, 0, 10, 4], [10, 0, 20, 4], [8, 1, 12, 5], [0, 0, 10, 4]], float)
    groups, true_groups = np.array([1, 0, 1]), np.array([1, 1, 1, 0])
    pairs = find_overlaps(detections, groups, true, true_groups, 3, ANY_OVERLAP)
    # 2 x 3 px in common, of 40 + 16 - 6; and 2 x 3 of 16 + 40 - 6
    assert list(zip(*(getattr(pairs, name).tolist() for name in PAIR), strict=True)) == [
        (0, 0, 1.0), (0, 2, 6 / 50), (1, 3, 1.0), (2, 0, 6 / 50), (2, 1, 6 / 50), (2, 2, 1.0),
    ]  # fmt: skip
    pairs = find_overlaps(detections, groups, true, true_groups, 3, floor=6 / 50)
    assert len(pairs) == 6
    assert len(find_overlaps(detections, groups, true, true_groups, 3, floor=0.121)) == 3


def test_a_touch_is_no_overlap_and_a_sliver_is_one() -> None:
    box = np.array([[0, 0, 10, 10]], float)
    group = np.zeros(1, np.int64)
    for other, count in (((10, 0, 20, 10), 0), ((0, 10, 10, 20), 0), ((12, 12, 20, 20), 0),
                         ((10 - 1e-9, 0, 20, 10), 1), ((5, 5, 5, 9), 0)):  # fmt: skip
        for a, b in ((box, np.array([other], float)), (np.array([other], float), box)):
            assert len(find_overlaps(a, group, b, group, 1, ANY_OVERLAP)) == count


@pytest.mark.parametrize("at_once", [1, 3, 7, 1000])
def test_pairs_computed_in_parts_are_the_same(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, detections = realistic_set(3, images=6)
    whole = match(truth, detections, 4)
    sizes = []
    monkeypatch.setattr(overlaps_module, "_PAIRS_AT_ONCE", at_once)
    measure = overlaps_module._iou
    monkeypatch.setattr(
        overlaps_module, "_iou", lambda a, b: (sizes.append(a.shape[1]), measure(a, b))[1]
    )
    assert (match(truth, detections, 4).hit == whole.hit).all()
    partners = max(map(len, truth))
    assert max(sizes) <= max(at_once, partners)  # one detection's pairs are never divided
    assert at_once < 1000 or len(sizes) == 1


def test_late_boxes_are_taken_only_where_no_other_is_to_be_had() -> None:
    pairs = Overlaps(np.array([1, 0, 0, 0]), np.array([0, 0, 2, 1]), np.array([0.9, 0.9, 0.6, 0.6]))
    ordered = by_preference(pairs)
    assert ordered.detection.tolist() == [0, 0, 0, 1] and ordered.target.tolist() == [0, 2, 1, 0]
    ordered = by_preference(pairs, np.array([True, False, False]))
    assert ordered.target.tolist() == [2, 1, 0, 0]
    assert claim(ordered, 3, 3).tolist() == [2, 0, -1]
    assert len(by_preference(pairs[:0])) == 0


def test_a_detection_waits_for_an_earlier_one_that_may_take_its_box() -> None:
    """0 takes box 0; 1 loses that, takes box 1; 2 loses both; 3 has box 2 for itself."""
    detection = np.array([0, 0, 1, 1, 2, 2, 3])
    target = np.array([0, 1, 0, 1, 1, 0, 2])
    assert claim(Overlaps(detection, target, np.ones(7)), 5, 4).tolist() == [0, 1, -1, 2, -1]


def test_a_box_without_area_hits_nothing() -> None:
    flat = (3, 3, 3, 9, 0)
    with np.errstate(all="raise"):
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
    assert match([], [], 1).hit.shape == (10, 0)
    for score in (0.0, 1.0):
        assert match([boxes()], [boxes((*SQUARE, score))], 1).score.tolist() == [score]
    for score in (-0.01, 1.01):
        with pytest.raises(ValueError, match="scores outside"):
            match([boxes()], [boxes((*SQUARE, score))], 1)
