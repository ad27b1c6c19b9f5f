"""Suppression and fusion of boxes, worked by hand and against the rules restated plainly."""

import numpy as np
import pytest
from hypothesis import given, settings

from converters.core.boxes import Boxes, nms
from detect.inference.fusion import Ensemble, weighted_box_fusion
from tests.helpers.linked import boxes, stacks


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def test_nms_is_within_a_class() -> None:
    kept = nms(
        boxes(
            ((0, 0, 10, 10), 0, 0.5),
            ((0, 0, 10, 9), 1, 0.9),  # the same place, another class
            ((0, 0, 10, 8), 0, 0.3),  # 0.8 of the first
            ((0, 0, 10, 5), 0, 0.2),  # half of the first: not more than the limit
        ),
        0.5,
    )
    assert kept.score.tolist() == [0.9, 0.5, 0.2] and kept.label.tolist() == [1, 0, 0]
    assert len(nms(Boxes.empty(), 0.5)) == 0


@settings(deadline=None)
@given(stacks())
def test_nms_by_brute_force(slices: list[Boxes]) -> None:
    for image_boxes in slices:
        kept: list[int] = []
        for k in np.argsort(-image_boxes.score):
            rivals = [j for j in kept if image_boxes.label[j] == image_boxes.label[k]]
            if all(overlap(image_boxes.xyxy[j], image_boxes.xyxy[k]) <= 0.45 for j in rivals):
                kept.append(int(k))
        assert nms(image_boxes, 0.45).score.tolist() == image_boxes.score[kept].tolist()


def test_fusion_of_two_detectors_worked_by_hand() -> None:
    first = boxes(((0, 0, 10, 10), 0, 0.9), ((50, 50, 60, 60), 0, 0.6))
    second = boxes(((0, 0, 10, 8), 0, 0.3), ((50, 50, 60, 60), 1, 0.4))
    fused = weighted_box_fusion([first, second])
    # both saw the first lesion, IoU 0.8: corners 3 : 1, mean score; the others stand alone, halved
    assert fused.label.tolist() == [0, 0, 1]
    np.testing.assert_allclose(fused.score, [0.6, 0.3, 0.2])
    np.testing.assert_allclose(fused.xyxy[0], [0, 0, 10, (10 * 0.9 + 8 * 0.3) / 1.2])
    assert fused.xyxy[1].tolist() == fused.xyxy[2].tolist() == [50, 50, 60, 60]


def test_one_detector_with_boxes_apart_is_left_as_it_is() -> None:
    detections = boxes(
        ((0, 0, 10, 10), 0, 0.9), ((20, 0, 30, 10), 0, 0.6), ((0, 0, 10, 10), 1, 0.5)
    )
    fused = weighted_box_fusion([detections])
    assert (
        fused.xyxy.tolist() == detections.xyxy.tolist()
        and fused.score.tolist() == detections.score.tolist()
    )
    assert len(weighted_box_fusion([Boxes.empty(), Boxes.empty()])) == 0
    assert weighted_box_fusion([detections, Boxes.empty()]).score.tolist() == [0.45, 0.3, 0.25]


def test_boxes_of_no_score_are_fused_all_the_same() -> None:
    nothing = boxes(((0, 0, 10, 10), 0, 0.0))
    fused = weighted_box_fusion([nothing, boxes(((0, 0, 10, 8), 0, 0.0))])
    assert fused.xyxy.tolist() == [[0, 0, 10, 9]] and fused.score.tolist() == [0]


@settings(deadline=None)
@given(stacks())
def test_fusion_by_the_steps_of_the_paper(members: list[Boxes]) -> None:
    """Section 3 of the paper, one list after the other; each slice stands for a detector."""
    if not members:
        return
    rows = [
        (float(s), int(c), tuple(b))
        for member in members
        for b, c, s in zip(member.xyxy, member.label, member.score, strict=True)
    ]
    lists: list[list[tuple]] = []  # L
    fused: list[np.ndarray] = []  # F
    for row in sorted(rows, reverse=True):
        near = [
            (overlap(np.array(row[2]), box), -k)
            for k, box in enumerate(fused)
            if lists[k][0][1] == row[1]
        ]
        best, place = max(near, default=(0.0, 0))
        if best > 0.55:
            cluster = lists[-place]
            cluster.append(row)
            weights = np.array([r[0] for r in cluster])
            corners = np.array([r[2] for r in cluster])
            fused[-place] = (weights[:, None] * corners).sum(axis=0) / weights.sum()
        else:
            lists.append([row])
            fused.append(np.array(row[2]))
    n = len(members)
    expected = sorted(
        (-np.mean([r[0] for r in cluster]) * min(len(cluster), n) / n, cluster[0][1], *box)
        for cluster, box in zip(lists, fused, strict=True)
    )
    got = weighted_box_fusion(members)
    assert (np.diff(got.score) <= 0).all()
    table = sorted(
        (-s, c, *b) for s, c, b in zip(got.score, got.label, got.xyxy.tolist(), strict=True)
    )
    assert len(table) == len(expected)
    by_place = [
        sorted(rows, key=lambda r: np.round(r[1:], 6).tolist()) for rows in (table, expected)
    ]
    np.testing.assert_allclose(*by_place, atol=1e-9)


class Says:
    """A detector that returns the same boxes for every picture."""

    def __init__(self, detections: Boxes) -> None:
        self.detections = detections
        self.spec = None

    def predict(self, images):
        return [self.detections] * len(images)


def test_a_member_of_an_ensemble_speaks_once_for_a_place() -> None:
    sure = boxes(((0, 0, 10, 10), 0, 0.8), ((0, 0, 10, 7), 0, 0.02))
    both = Ensemble([Says(sure), Says(boxes(((0, 0, 10, 10), 0, 0.6)))])
    first, second = both.predict([np.zeros((20, 20), np.uint8)] * 2)
    assert first.score.tolist() == second.score.tolist() == pytest.approx([0.7])
    assert first.xyxy[0].tolist() == pytest.approx([0, 0, 10, 10])
