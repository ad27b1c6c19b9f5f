from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from converters.core.boxes import Boxes, iou
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


def test_of_boxes_that_overlap_alike_the_surer_continues_the_lesion() -> None:
    pair = boxes(((9, 10, 19, 20), 0, 0.3), ((11, 10, 21, 20), 0, 0.9))
    assert members(link([one_box(), pair])) == [[(0, 0), (1, 1)], [(1, 0)]]
    equal = boxes(((9, 10, 19, 20), 0, 0.4), ((11, 10, 21, 20), 0, 0.4))
    assert members(link([one_box(), equal])) == [[(0, 0), (1, 0)], [(1, 1)]]


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


@pytest.mark.parametrize(("right", "kept"), [(20, 2), (19, 1), (18, 1), (21, 2)])
def test_boxes_that_overlap_by_more_than_half_are_in_one_place(right: int, kept: int) -> None:
    """A box of 10 x 10 in one of `right` x 10: an IoU of 10 / right."""
    pair = boxes(((0, 0, right, 10), 0, 0.4), ((0, 0, 10, 10), 1, 0.6))
    assert class_agnostic_nms(pair).score.tolist() == [0.6, 0.4][:kept]


def test_of_equally_sure_boxes_in_one_place_the_first_stays() -> None:
    pair = boxes((SQUARE, 2, 0.5), (SQUARE, 1, 0.5), ((40, 40, 50, 50), 0, 0.5))
    assert class_agnostic_nms(pair).label.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("field", "default", "good", "bad"),
    [
        ("iou", 0.2, (0.001, 1), (0, 1.01)),
        ("max_distance", 0, (0, 4), (-0.01, 4.01)),
        ("max_gap", 1, (0, 100), (-1, 101)),
        ("min_boxes", 1, (1, 100), (0, 101)),
    ],
)
def test_limits(
    field: str, default: float, good: tuple[float, ...], bad: tuple[float, ...]
) -> None:
    assert getattr(Linking(), field) == default
    for value in good:
        assert getattr(Linking.model_validate({field: value}), field) == value
    for value in bad:
        with pytest.raises(ValidationError, match=field):
            Linking.model_validate({field: value})


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
    for image_boxes in slices:
        kept = class_agnostic_nms(image_boxes)
        overlaps = iou(kept.xyxy, kept.xyxy)
        np.fill_diagonal(overlaps, 0)
        assert not (overlaps > 0.5).any()
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


def test_distance_is_measured_in_mean_sides_of_the_two() -> None:
    # 4 x 9 px and 10 x 10: sides of 6 and 10, 8 on the mean. Centres (2, 4.5) and (14, 9.5): 13 px
    pair = [one_box(xyxy=(0, 0, 4, 9)), one_box(xyxy=(9, 4.5, 19, 14.5))]
    assert len(link(pair, Linking(max_distance=1.626))) == 1  # 13 / 8 = 1.625
    assert len(link(pair, Linking(max_distance=1.624))) == 2
    assert len(link(pair[::-1], Linking(max_distance=1.626))) == 1
    assert len(link(pair[::-1], Linking(max_distance=1.624))) == 2


def test_of_two_near_boxes_the_nearer_in_sides_continues() -> None:
    """Distances: 16 px over (10 + 10) / 2, and 15 px over (10 + 2) / 2."""
    second = boxes(((26, 10, 36, 20), 0, 0.3), ((29, 14, 31, 16), 0, 0.9))
    lesions = link([one_box(), second], Linking(max_distance=4))
    assert members(lesions) == [[(1, 1)], [(0, 0), (1, 0)]]


def test_sides_below_a_pixel_are_sides() -> None:
    """Distances: 0.6 px over 0.5, and 1 px over (0.5 + 1.5) / 2."""
    first = one_box(xyxy=(10, 10, 10.5, 10.5))
    second = boxes(((10.6, 10, 11.1, 10.5), 0, 0.9), ((10.5, 9.5, 12, 11), 0, 0.3))
    assert members(link([first, second], Linking(max_distance=4))) == [
        [(1, 0)], [(0, 0), (1, 1)],
    ]  # fmt: skip


def test_boxes_without_area_are_as_far_as_pixels() -> None:
    flat = [one_box(xyxy=(5, 5, 5, 9)), one_box(xyxy=(5, 5, 5, 9))]
    with np.errstate(all="raise"):
        assert len(link(flat, Linking(max_distance=4))) == 2
    assert [lesion.members for lesion in link(flat)] == [[(0, 0)], [(1, 0)]]


def test_lesions_come_by_score_and_then_by_slice_and_box() -> None:
    far = (40, 40, 50, 50)
    slices = [
        boxes((SQUARE, 0, 0.5), (far, 0, 0.5)),
        Boxes.empty(),
        Boxes.empty(),
        boxes((far, 0, 0.5), (SQUARE, 0, 0.8)),
    ]
    assert members(link(slices)) == [[(3, 1)], [(0, 0)], [(0, 1)], [(3, 0)]]


def test_a_slice_of_no_boxes_left_is_empty() -> None:
    left, lesions = only_linked([one_box(), one_box(0.4, xyxy=(50, 50, 60, 60))], [])
    assert [len(boxes_left) for boxes_left in left] == [0, 0] and lesions == []
