"""Scores of linked and stacked findings on a split, and the fit of the linking."""

import pytest

from converters.core.boxes import Boxes
from detect.evaluation.findings.score import fit_linking, linked_level
from detect.linking.linking import Linking
from tests.helpers.linked import ELSEWHERE, LESION, SEEN, SQUARE, detected, split_of


def test_three_ways_to_make_findings_worked_by_hand() -> None:
    """One lesion on six slices, missed on the third; one false box; one below the confidence."""
    split = split_of([[LESION] * 6])
    detections = detected(SEEN, SEEN, [(SQUARE, 0.05)], SEEN, [*SEEN, (ELSEWHERE, 0.9)], SEEN)
    level = linked_level(split, detections, 0.1, Linking())
    linked = level.linked
    assert (linked.lesions, linked.findings, linked.hits, linked.splits) == (1, 2, 1, 0)
    stacked = level.stacked  # the gap parts it
    assert (stacked.findings, stacked.hits, stacked.splits, stacked.merges) == (3, 1, 1, 0)
    single = level.one_per_box  # each box is a sixth of the lesion
    assert (single.findings, single.hits, single.splits) == (6, 1, 4)
    written = level.to_json()
    assert written["f1"] == pytest.approx(2 / 3) and written["confidence"] == 0.1
    assert written["greedy_stacking"]["f1"] == 0.5
    assert written["linking"] == Linking().model_dump()


def test_stacking_goes_on_through_any_overlap() -> None:
    """Two lesions that a grazing box joins: one finding when stacked, two when linked."""
    left, right, graze = (0, 0, 10, 10), (18, 0, 28, 10), (9, 0, 19, 10)
    split = split_of([[[(left, 1), (right, 2)]] * 2 + [[]]])
    detections = detected([(left, 0.9), (right, 0.8)], [(left, 0.9), (right, 0.8)], [(graze, 0.3)])
    level = linked_level(split, detections, 0.1, Linking())
    assert (level.linked.findings, level.linked.hits, level.linked.merges) == (3, 2, 0)
    assert (level.stacked.findings, level.stacked.hits, level.stacked.merges) == (1, 1, 1)


def test_a_slice_that_is_not_in_the_split_is_a_gap() -> None:
    split = split_of([[LESION] * 5], skip=2)
    detections = detected(SEEN, SEEN, SEEN, SEEN)
    assert linked_level(split, detections, 0.1, Linking()).linked.findings == 1
    assert linked_level(split, detections, 0.1, Linking(max_gap=0)).linked.findings == 2


def test_a_box_of_no_known_lesion_is_one_of_its_own() -> None:
    split = split_of([[[(SQUARE, -1)]] * 3])
    assert linked_level(split, detected(SEEN, SEEN, SEEN), 0.1, Linking()).linked.lesions == 3


def test_scans_are_kept_apart() -> None:
    split = split_of([[LESION] * 2, [LESION] * 2])
    level = linked_level(split, detected(SEEN, SEEN, SEEN, SEEN), 0.1, Linking())
    assert (level.linked.lesions, level.linked.findings, level.linked.hits) == (2, 2, 2)


def test_the_default_stays_where_nothing_is_better() -> None:
    split = split_of([[LESION] * 4])
    assert fit_linking(split, detected(SEEN, SEEN, SEEN, SEEN), 0.1) == Linking()
    assert fit_linking(split, [Boxes.empty()] * 4, 0.1) == Linking()


def test_what_helps_on_val_is_chosen() -> None:
    two_missed = split_of([[LESION] * 6])
    detections = detected(SEEN, SEEN, [], [], SEEN, SEEN)
    assert fit_linking(two_missed, detections, 0.1) == Linking(max_gap=2)

    noisy = split_of([[LESION] * 4])
    false = [*SEEN, (ELSEWHERE, 0.9)]
    assert fit_linking(noisy, detected(false, SEEN, SEEN, SEEN), 0.1) == Linking(min_boxes=2)


def test_a_single_better_box_on_many_lesions_is_chance() -> None:
    """A gain of F1 from 80/81 to 1 by one box is chance."""
    split = split_of([[LESION] * 2] * 40)
    detections = detected(*[SEEN] * 79, [*SEEN, (ELSEWHERE, 0.9)])
    assert linked_level(split, detections, 0.1, Linking(min_boxes=2)).linked.f1 == 1
    assert fit_linking(split, detections, 0.1) == Linking()


def test_the_score_rule_is_chosen_by_ranking() -> None:
    """A false pair with one sure box ranks above a lesion that is sure on every slice."""
    split = split_of([[LESION] * 3])
    detections = detected(
        [*SEEN, (ELSEWHERE, 0.9)], [*SEEN, (ELSEWHERE, 0.2)], [*SEEN, (ELSEWHERE, 0.2)]
    )
    assert fit_linking(split, detections, 0.1) == Linking(score="top")
