from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.core.boxes import Boxes
from detect.linking.linking import LinkedLesion, Linking, class_agnostic_nms, link, only_linked
from tests.helpers.linked import SQUARE, boxes, stacks


def one_box(score: float = 0.5, label: int = 0, xyxy: tuple[float, ...] = SQUARE) -> Boxes:
    return boxes((xyxy, label, score))


def members(lesions: list[LinkedLesion]) -> list[list[tuple[int, int]]]:
    return [lesion.members for lesion in lesions]


def test_a_chain_over_three_slices_worked_by_hand() -> None:
    slices = [
        Boxes.empty(),
        one_box(0.4, xyxy=(10, 10, 20, 20)),
        one_box(
            0.9, xyxy=(11, 10, 21, 22)
        ),  # IoU with the one before: 90 / (100 + 120 - 90) = 0.69
        one_box(0.6, xyxy=(12, 12, 20, 20)),
    ]
    (lesion,) = link(slices)
    assert lesion.members == [(1, 0), (2, 0), (3, 0)]
    assert (lesion.label, lesion.score) == (0, 0.9)
    assert lesion.low.tolist() == [10, 10, 1] and lesion.high.tolist() == [21, 22, 4]
    assert lesion.centre.tolist() == [15, 15.5, 2]  # voxel centres: columns 10…20 have 15 between


def test_a_single_box_reaches_over_its_own_slice() -> None:
    (lesion,) = link([Boxes.empty(), one_box()])
    assert lesion.low.tolist() == [10, 10, 1] and lesion.high.tolist() == [20, 20, 2]
    assert lesion.centre.tolist() == [14.5, 14.5, 1]


def test_one_missed_slice_is_bridged_and_two_are_not() -> None:
    assert members(link([one_box(), Boxes.empty(), one_box()])) == [[(0, 0), (2, 0)]]
    assert len(link([one_box(), Boxes.empty(), Boxes.empty(), one_box()])) == 2


def test_overlap_decides_at_the_threshold() -> None:
    # 10 x 10 squares moved by d columns: IoU = (10 - d) / (10 + d); 0.2 at d = 6.67
    assert len(link([one_box(), one_box(xyxy=(16, 10, 26, 20))])) == 1
    assert len(link([one_box(), one_box(xyxy=(17, 10, 27, 20))])) == 2


def test_the_class_with_the_larger_sum_of_scores_wins_and_gives_the_score() -> None:
    (lesion,) = link([one_box(0.5, 1), one_box(0.9, 0), one_box(0.5, 1)])
    assert (lesion.label, lesion.score, len(lesion.members)) == (1, 0.5, 3)


def test_two_lesions_side_by_side_stay_two() -> None:
    left, right = (10, 10, 20, 20), (20, 10, 30, 20)
    pair = boxes((left, 0, 0.8), (right, 0, 0.7))
    swapped = boxes((right, 0, 0.7), (left, 0, 0.8))
    lesions = link([pair, swapped, pair])
    assert members(lesions) == [[(0, 0), (1, 1), (2, 0)], [(0, 1), (1, 0), (2, 1)]]


def test_two_lesions_that_end_in_one_box_are_not_merged() -> None:
    pair = boxes(((10, 10, 20, 20), 0, 0.8), ((20, 10, 30, 20), 0, 0.7))
    lesions = link([pair, one_box(0.6, xyxy=(11, 10, 29, 20))])
    assert len(lesions) == 2
    assert sorted(map(len, members(lesions))) == [1, 2]


def test_the_better_overlap_gets_the_box() -> None:
    first = boxes(((10, 10, 20, 20), 0, 0.9), ((14, 10, 24, 20), 0, 0.8))
    lesions = link([first, one_box(0.5, xyxy=(14, 10, 24, 20))])
    assert members(lesions) == [[(0, 0)], [(0, 1), (1, 0)]]


def test_nothing_gives_nothing() -> None:
    assert link([]) == [] and link([Boxes.empty()] * 3) == []
    assert len(class_agnostic_nms(Boxes.empty())) == 0


def test_class_agnostic_nms() -> None:
    kept = class_agnostic_nms(
        boxes(
            ((10, 10, 20, 20), 0, 0.5),
            ((10, 10, 20, 19), 1, 0.9),  # the same place, surer
            ((17, 10, 27, 20), 0, 0.3),  # overlaps by less than half
            ((50, 50, 60, 60), 0, 0.1),
        )
    )
    assert kept.score.tolist() == [0.9, 0.3, 0.1] and kept.label.tolist() == [1, 0, 0]


@settings(deadline=None)
@given(stacks(), st.randoms(use_true_random=False))
def test_every_box_is_in_one_lesion_whatever_their_order(slices, random) -> None:
    lesions = link(slices)
    everything = [m for lesion in lesions for m in lesion.members]
    assert sorted(everything) == [
        (z, b) for z, image_boxes in enumerate(slices) for b in range(len(image_boxes))
    ]
    for lesion in lesions:
        zs = [z for z, _ in lesion.members]
        assert all(1 <= b - a <= 2 for a, b in pairwise(zs))
        corners = np.array([slices[z].xyxy[b] for z, b in lesion.members])
        assert (lesion.low[:2] == corners[:, :2].min(axis=0)).all()
        assert (lesion.high[:2] == corners[:, 2:].max(axis=0)).all()
        assert lesion.score in [slices[z].score[b] for z, b in lesion.members]

    orders = [random.sample(range(len(image_boxes)), len(image_boxes)) for image_boxes in slices]
    mixed = [
        image_boxes[np.array(o, dtype=np.int64)]
        for image_boxes, o in zip(slices, orders, strict=True)
    ]

    def by_score(stack: list[Boxes]) -> list[list[float]]:
        return [[float(stack[z].score[b]) for z, b in m] for m in members(link(stack))]

    assert by_score(mixed) == by_score(slices)


@settings(deadline=None)
@given(stacks())
def test_findings_left_on_a_slice_do_not_share_a_place(slices) -> None:
    from converters.core.boxes import iou
    from detect.linking.linking import SAME_PLACE_IOU

    for image_boxes in slices:
        kept = class_agnostic_nms(image_boxes)
        overlaps = iou(kept.xyxy, kept.xyxy)
        np.fill_diagonal(overlaps, 0)
        assert not (overlaps > SAME_PLACE_IOU).any()
        assert (np.diff(kept.score) < 0).all()
        if len(image_boxes):
            assert kept.score[0] == image_boxes.score.max()


def test_a_longer_gap_and_a_stricter_overlap() -> None:
    two_missed = [one_box(), Boxes.empty(), Boxes.empty(), one_box()]
    assert len(link(two_missed, Linking(max_gap=2))) == 1
    assert len(link([one_box(), Boxes.empty(), one_box()], Linking(max_gap=0))) == 2
    moved = [one_box(), one_box(xyxy=(15, 10, 25, 20))]  # IoU 5 / 15
    assert len(link(moved, Linking(iou=0.33))) == 1
    assert len(link(moved, Linking(iou=0.34))) == 2


def test_near_boxes_continue_each_other_only_if_asked_for() -> None:
    shrunk = [one_box(), one_box(xyxy=(14, 14, 16, 16))]  # IoU 0.04, the same centre
    assert len(link(shrunk)) == 2
    assert len(link(shrunk, Linking(max_distance=0.1))) == 1
    # centres 12 apart, sides of 10: 1.2
    apart = [one_box(), one_box(xyxy=(22, 10, 32, 20))]
    assert len(link(apart, Linking(max_distance=1.3))) == 1
    assert len(link(apart, Linking(max_distance=1.2))) == 2


def test_overlap_goes_before_nearness() -> None:
    second = boxes(((15, 10, 25, 20), 0, 0.3), ((13, 13, 17, 17), 0, 0.9))  # IoU 1/3, and 0.16
    lesions = link([one_box(), second], Linking(max_distance=1))
    assert members(lesions) == [[(1, 1)], [(0, 0), (1, 0)]]


def test_findings_of_few_boxes_are_dropped_but_not_on_few_slices() -> None:
    slices = [one_box(0.9), Boxes.empty(), Boxes.empty(), one_box(0.5), one_box(0.4)]
    kept = Linking(min_boxes=2)
    lesions = link(slices, kept)
    assert members(lesions) == [[(3, 0), (4, 0)]]
    assert len(link([one_box()], kept)) == 1
    left, lesions = only_linked(slices, lesions)
    assert [len(image_boxes) for image_boxes in left] == [0, 0, 0, 1, 1] and len(lesions) == 1


def test_members_are_numbered_anew_where_boxes_are_left_out() -> None:
    single = ((40, 40, 50, 50), 0, 0.9)
    slices = [boxes(single, (SQUARE, 0, 0.5)), one_box(0.4)]
    left, (lesion,) = only_linked(slices, link(slices, Linking(min_boxes=2)))
    assert lesion.members == [(0, 0), (1, 0)]
    assert left[0].xyxy.tolist() == [list(SQUARE)]


def test_the_mean_of_the_three_highest() -> None:
    slices = [one_box(0.2), one_box(0.9), one_box(0.6), one_box(0.3)]
    (lesion,) = link(slices, Linking(score="top"))
    assert lesion.score == pytest.approx(0.6)
    (lesion,) = link(slices[:2], Linking(score="top"))
    assert lesion.score == pytest.approx(0.55)
    (lesion,) = link([one_box(0.5, 1), one_box(0.9, 0), one_box(0.5, 1)], Linking(score="top"))
    assert (lesion.label, lesion.score) == (1, 0.5)
