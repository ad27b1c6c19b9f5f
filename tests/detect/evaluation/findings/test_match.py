"""Linked level against cases worked by hand, and against voxels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from detect.evaluation.findings.match import Tube, match_linked, score_linked


def tube(first: int, last: int, x: float = 0, size: float = 10, score=1.0, label=0) -> Tube:
    """A square, `size` px wide from column `x` on, on slices `first` to `last`."""
    box = np.array([x, 0, x + size, size], float)
    return Tube(label, score, {z: box for z in range(first, last + 1)})


def test_a_finding_hits_from_an_iou_of_a_tenth_on() -> None:
    lesion = [tube(0, 9)]
    assert match_linked(lesion, [tube(0, 0)]) == ([0], 0, 0)  # 1 of 10 slices: just 0.1
    # 1 of 11 slices: too little of the lesion, and all of it inside: a part
    assert match_linked([tube(0, 10)], [tube(0, 0)]) == ([-1], 1, 0)
    assert match_linked(lesion, [tube(0, 9, label=1)]) == ([-1], 0, 0)  # another class
    assert match_linked(lesion, [tube(10, 12)]) == ([-1], 0, 0)  # beside it
    assert match_linked(lesion, []) == ([], 0, 0) and match_linked([], lesion) == ([-1], 0, 0)


def test_a_lesion_in_two_parts_is_one_hit_and_one_split() -> None:
    parts = [tube(0, 3, score=0.4), tube(5, 9, score=0.9)]
    assert match_linked([tube(0, 9)], parts) == ([-1, 0], 1, 0)
    counted = score_linked([[tube(0, 9)]], [parts])
    assert (counted.hits, counted.precision, counted.recall) == (1, 0.5, 1)
    assert counted.f1 == pytest.approx(2 / 3)
    assert counted.average_precision == 1  # the surer one hits


def test_two_lesions_in_one_finding_are_one_hit_and_one_merge() -> None:
    lesions = [tube(0, 4), tube(6, 9)]
    whole = tube(0, 9, score=0.8)
    assert match_linked(lesions, [whole]) == ([0], 0, 1)  # 5 of 10 slices beats 4 of 10
    counted = score_linked([lesions], [[whole]])
    assert (counted.precision, counted.recall, counted.merges) == (1, 0.5, 1)


def test_the_surer_finding_chooses_first_and_the_other_takes_what_is_left() -> None:
    lesions = [tube(0, 4), tube(3, 7)]
    surer, other = tube(0, 5, score=0.9), tube(0, 4, score=0.5)
    # IoU with the lesions: surer 5/6 and 3/8, other 1 and 2/8
    assert match_linked(lesions, [other, surer]) == ([1, 0], 0, 1)


def test_ranks_are_those_of_scikit_learn() -> None:
    """With every lesion hit by somebody, the area is sklearn's average precision."""
    rng = np.random.default_rng(5)
    score = rng.integers(0, 8, 40) / 8
    good = rng.random(40) < 0.4
    truth = [[tube(0, 1)] if g else [] for g in good]
    findings = [[tube(0, 1, score=float(s))] for s in score]
    counted = score_linked(truth, findings)
    assert counted.average_precision == pytest.approx(average_precision_score(good, score))
    assert counted.hits == good.sum() and counted.findings == 40


def test_nothing_to_find() -> None:
    empty = score_linked([[], []], [[], []])
    assert empty.to_json() == {
        "precision": None, "recall": None, "f1": None, "lesions": 0, "findings": 0, "hits": 0,
        "splits": 0, "merges": 0, "average_precision": None,
    }  # fmt: skip
    assert score_linked([[]], [[tube(0, 1)]]).f1 == 0
    missed = score_linked([[tube(0, 1)]], [[]])
    assert (missed.f1, missed.average_precision) == (0, 0)


@st.composite
def tubes(draw: st.DrawFn) -> list[Tube]:
    drawn = []
    for k in range(draw(st.integers(0, 3))):
        boxes = {}
        for z in draw(st.sets(st.integers(0, 4), min_size=1)):
            x, y = draw(st.integers(0, 6)), draw(st.integers(0, 6))
            w, h = draw(st.integers(1, 5)), draw(st.integers(1, 5))
            boxes[z] = np.array([x, y, x + w, y + h], float)
        drawn.append(Tube(draw(st.integers(0, 1)), 1 - k / 10, boxes))
    return drawn


def voxels(shape: Tube) -> np.ndarray:
    full = np.zeros((5, 12, 12), bool)
    for z, (x1, y1, x2, y2) in shape.boxes.items():
        full[z, int(y1) : int(y2), int(x1) : int(x2)] = True
    return full


@settings(deadline=None)
@given(tubes(), tubes())
def test_against_voxels(truth: list[Tube], findings: list[Tube]) -> None:
    """The same rule in plain words over filled volumes; the findings come by falling score."""
    solid = [voxels(t) for t in truth]
    free, hit, splits, merges = set(range(len(truth))), [], 0, 0
    for finding in findings:
        solid_finding = voxels(finding)
        ious = {
            k: (solid_finding & solid[k]).sum() / (solid_finding | solid[k]).sum()
            for k in sorted(free)
            if truth[k].label == finding.label
        }
        best = max(ious, key=lambda k: ious[k], default=-1)
        if best >= 0 and ious[best] >= 0.1:
            hit.append(best)
            free.remove(best)
        else:
            hit.append(-1)
            splits += any(
                (solid_finding & s).sum() * 2 >= solid_finding.sum()
                for s, t in zip(solid, truth, strict=True)
                if t.label == finding.label
            )
        merges += sum((solid_finding & s).sum() * 2 >= s.sum() for s in solid) >= 2
    assert match_linked(truth, findings) == (hit, splits, merges)
