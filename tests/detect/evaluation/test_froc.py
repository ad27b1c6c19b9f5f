"""FROC: by hand, and against going through every threshold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detect.evaluation.froc import PER_IMAGE, PER_SCAN, RuleHits, froc, hit_rules
from detect.evaluation.matching import match
from tests.helpers.references import iou
from tests.helpers.samples import Images, adversarial_sets, boxes, in_image, realistic_set


def rules(truth: Images, detections: Images, classes: int) -> tuple[RuleHits, RuleHits, RuleHits]:
    matches = match(truth, detections, classes)
    return hit_rules(matches, in_image(matches))


def by_thresholds(
    score: list[float], false: list[float], units: int, rates: tuple[float, ...]
) -> list[float]:
    """Count anew at every threshold; for each rate return the best sensitivity within it."""
    points = [(0, 0.0)]  # above every score
    for threshold in {*score, *false} - {-math.inf}:
        wrong = sum(s >= threshold for s in false)
        points.append((wrong, sum(s >= threshold for s in score) / len(score)))
    return [max(r for wrong, r in points if wrong <= rate * units) for rate in rates]


def test_by_hand() -> None:
    """Two images. Hits at 0.9 and 0.5, a box never found; false positives at 0.8, 0.5 and 0.3."""
    score, false = np.array([0.9, 0.5, -np.inf]), np.array([0.8, 0.5, 0.3])
    curve = froc(score, false, 2, (0.25, 0.5, 1.0, 16.0))
    # none allowed: 0.9; one: still 0.9, for at 0.5 a second false positive comes along; two: both
    assert curve.sensitivity.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert curve.mean == pytest.approx(0.5)
    assert len(curve.curve["sensitivity"]) == 161 and curve.curve["false_positives"][-1] == 16
    assert np.isnan(froc(np.zeros(0), false, 2, PER_IMAGE).mean)
    assert froc(score, np.zeros(0), 2, PER_IMAGE).sensitivity.tolist() == [2 / 3] * 6


scores = st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(scores, scores, st.integers(0, 3), st.integers(1, 9))
def test_against_every_threshold(
    hits: list[float], false: list[float], never: int, units: int
) -> None:
    score = [*hits, *[-math.inf] * never]
    if score:
        for rates in (PER_IMAGE, PER_SCAN):
            result = froc(np.array(score), np.array(false), units, rates)
            assert result.sensitivity.tolist() == by_thresholds(score, false, units, rates)
            assert (np.diff(result.curve["sensitivity"]) >= 0).all()


def test_negatives_are_in_the_denominator() -> None:
    score, false = np.array([0.9, 0.4]), np.array([0.6] * 4)
    assert froc(score, false, 2, (1.0,)).mean == 0.5
    assert froc(score, false, 4, (1.0,)).mean == 1


def test_the_hit_rules_by_hand() -> None:
    """A box of 20x20. IoU 0.25 with its centre inside; 0.2 with its centre outside; the same box
    of another class; the box itself, twice."""
    truth = [boxes((0, 0, 20, 20, 0))]
    inner, beside = (0, 0, 10, 10), (15, 0, 35, 20)  # IoU 100/400; 100/700
    for corners, label, expected in (
        (inner, 0, (False, True, True)),
        (beside, 0, (False, True, False)),
        ((0, 0, 4, 4), 0, (False, False, True)),
        ((0, 0, 20, 20), 1, (False, False, False)),
        ((0, 0, 20, 20), 0, (True, True, True)),
    ):
        results = rules(truth, [boxes((*corners, label, 0.5))], 2)
        assert tuple(bool(rule.score[0] == 0.5) for rule in results) == expected
        assert tuple(bool(rule.false[0]) for rule in results) == tuple(not hit for hit in expected)
    twice = rules(truth, [boxes((0, 0, 20, 20, 0, 0.5), (0, 0, 20, 20, 0, 0.7))], 2)
    for rule in twice:
        assert rule.score.tolist() == [0.7] and rule.false.tolist() == [False, True]  # by score


@settings(max_examples=60, deadline=None)
@given(adversarial_sets(2))
def test_the_hit_rules_one_box_at_a_time(images: tuple[Images, Images]) -> None:
    truth, detections = images
    tests = (
        lambda box, true: iou(box, true) >= 0.5,
        lambda box, true: iou(box, true) >= 0.1,
        lambda box, true: (
            iou(box, true) > 0
            and true[0] <= (box[0] + box[2]) / 2 <= true[2]
            and true[1] <= (box[1] + box[3]) / 2 <= true[3]
        ),
    )
    for result, allowed in zip(rules(truth, detections, 2), tests, strict=True):
        expected, wrong = [], []
        for true, predicted in zip(truth, detections, strict=True):
            score = [-math.inf] * len(true)
            for j in sorted(range(len(predicted)), key=lambda j: -predicted.score[j]):
                box = predicted.xyxy[j].tolist()
                free = [
                    (iou(box, other), g)
                    for g, other in enumerate(true.xyxy.tolist())
                    if true.label[g] == predicted.label[j]
                    and score[g] == -math.inf
                    and allowed(box, other)
                ]
                if free:
                    score[max(free)[1]] = predicted.score[j]
                else:
                    wrong.append(predicted.score[j])
            expected += score
        assert result.score.tolist() == expected
        kept = match(truth, detections, 2).score[result.false]
        assert sorted(kept.tolist()) == sorted(wrong)


def test_sensitivity_is_recall_where_the_threshold_lies() -> None:
    truth, detections = realistic_set(3)
    matches = match(truth, detections, 4)
    hits = hit_rules(matches, in_image(matches))[0]
    everything = froc(hits.score, matches.score[hits.false], len(truth), (1e6,))
    assert everything.mean == np.sum(matches.hit[0] >= 0) / len(matches.truth_label)
