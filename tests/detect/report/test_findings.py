"""Matches by picture, and the order of the worst findings."""

import numpy as np
import pytest

from converters.core.boxes import Boxes
from converters.dataset.split import Split
from detect.evaluation.matching import match
from detect.report.findings import by_picture, find_worst
from tests.helpers.report_data import (
    CASES,
    CLASSES,
    CONFIDENCE,
    boxes,
    make_detections,
    make_split,
    truth_of,
)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return make_split(tmp_path_factory.mktemp("split"))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = np.prod(np.clip(high - low, 0, None))
    return float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common))


def test_matches_are_dealt_to_their_pictures(split: Split) -> None:
    """Matches by picture equal a greedy matching of one picture at a time."""
    rng = np.random.default_rng(3)

    def some(n: int, scored: bool) -> Boxes:
        corner = rng.uniform(0, 7, (n, 2))
        xyxy = np.concatenate([corner, corner + rng.uniform(8, 14, (n, 2))], axis=1)
        score = rng.integers(1, 100, n) / 100 if scored else np.ones(n)
        return Boxes(xyxy, rng.integers(0, 2, n).astype(np.int64), score)

    truth = [some(int(rng.integers(0, 5)), False) for _ in split.truth]
    given = [some(int(rng.integers(0, 12)), True) for _ in split.truth]
    small_split = Split(**{**vars(split), **truth_of(truth)})
    dealt = by_picture("d", match(small_split.truth, given, 2), 0.5)
    hits = 0
    for k, before in enumerate(given):
        after, hit = dealt.boxes[k], dealt.hit[k]
        assert sorted(map(tuple, after.xyxy)) == sorted(map(tuple, before.xyxy))
        assert (np.diff(after.score) <= 0).all()
        taken: set[int] = set()
        for b in np.argsort(-after.score, kind="stable"):
            near = [
                (iou(after.xyxy[b], truth[k].xyxy[t]), t)
                for t in range(len(truth[k]))
                if t not in taken and truth[k].label[t] == after.label[b]
            ]
            best = max(near, default=(0.0, -1))
            assert hit[b] == (best[1] if best[0] >= 0.5 else -1)
            taken.add(int(hit[b]))
            hits += hit[b] >= 0
    assert hits > 5


def test_worst_first(split: Split) -> None:
    """Missed lesions come first, the largest first, then false positives."""
    matches = by_picture("d", match(split.truth, make_detections(split), 2), CONFIDENCE)
    split.diameters_mm[10][0] = 45.6
    worst = find_worst(split, CLASSES, [matches])
    rows = [
        (row.kind, split.case_ids[row.picture], split.slice_indices[row.picture], row.label)
        for row in worst
    ]
    assert rows == [
        ("missed", CASES[1], 2, 1),
        ("missed", CASES[0], 4, 1),
        ("false positive", CASES[0], 5, 1),  # with the one on the slice above it
        ("false positive", CASES[0], 4, 0),  # the duplicate
    ]
    assert worst[0].text.endswith("30 × 30 px, 46 mm, on 1 slice")
    assert worst[2].text.endswith("0.90, 10 × 10 px, on 2 slices")


def test_a_lesion_is_missed_only_where_none_of_its_boxes_is_hit(split: Split) -> None:
    given = make_detections(split)
    given[3] = Boxes.empty()
    matches = by_picture("d", match(split.truth, given, 2), CONFIDENCE)
    unknown = Split(**{**vars(split), **truth_of(split.truth)})
    alone = [
        finding.picture
        for finding in find_worst(unknown, CLASSES, [matches])
        if finding.kind == "missed"
    ]
    lesions = find_worst(split, CLASSES, [matches])
    assert alone == [10, 3, 4]
    assert [finding.picture for finding in lesions if finding.kind == "missed"] == [10, 4]


def test_what_most_detectors_miss_comes_first(split: Split) -> None:
    """The small lesion is missed by both, the large one by the first alone."""
    better = make_detections(split)
    better[10] = boxes((5, 5, 35, 35, 1, 0.95))
    detectors = [
        by_picture("one", match(split.truth, make_detections(split), 2), CONFIDENCE),
        by_picture("two", match(split.truth, better, 2), CONFIDENCE),
    ]
    first, second, *_ = find_worst(split, CLASSES, detectors)
    assert (first.picture, second.picture) == (4, 10)
    assert first.text.endswith("missed by 2 of 2") and second.text.endswith("missed by 1 of 2")
    assert second.detector == 0
