"""Numbers by size: COCO's ranges against pycocotools, diameters worked out by hand."""

import contextlib
import io
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detect.evaluation.matching import IOU_THRESHOLDS, match
from detect.evaluation.metrics import measure
from detect.evaluation.overlaps import find_overlaps
from detect.evaluation.sizes import COCO_AREAS, by_coco_area, by_diameter
from tests.helpers.references import coco_dataset
from tests.helpers.samples import Images, adversarial_sets, boxes, realistic_set

CLASSES = 3


def by_pycocotools(
    truth: Images, detections: Images, areas: NDArray[np.float64], num_classes: int
) -> dict[str, tuple[int, float, float]]:
    """Boxes, AP50 and AP50-95 of each area range, from pycocotools' own three ranges."""
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth, results = COCO(), COCO()
        ground_truth.dataset = coco_dataset(truth, num_classes)
        for entry, area in zip(ground_truth.dataset["annotations"], areas, strict=True):
            entry["area"] = float(area)
        ground_truth.createIndex()
        annotations = coco_dataset(detections, num_classes)["annotations"]
        for entry, score in zip(
            annotations, np.concatenate([d.score for d in detections]), strict=True
        ):
            entry["score"] = float(score)
        results.dataset = {**ground_truth.dataset, "annotations": annotations}
        results.createIndex()
        evaluation = COCOeval(ground_truth, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    params, answer = evaluation.params, {}
    for k, name in enumerate(params.areaRngLbl):
        precision = evaluation.eval["precision"][:, :, :, k, -1]
        ap = np.where(precision < 0, np.nan, precision).mean(axis=1)  # (T, classes)
        low, high = params.areaRng[k]
        present = ~np.isnan(ap[0])
        means = (ap[0][present].mean(), ap[:, present].mean()) if present.any() else (np.nan,) * 2
        answer[name] = (int(np.sum((areas >= low) & (areas <= high))), *map(float, means))
    return answer


def assert_equal_to_pycocotools(
    truth: Images, detections: Images, areas: NDArray[np.float64], num_classes: int
) -> None:
    expected = by_pycocotools(truth, detections, areas, num_classes)
    matches = match(truth, detections, num_classes)
    group = matches.image * num_classes + matches.label
    truth_group = matches.truth_image * num_classes + matches.truth_label
    pairs = find_overlaps(
        matches.xyxy, group, matches.truth_xyxy, truth_group, len(truth) * num_classes,
        floor=IOU_THRESHOLDS[0],
    )  # fmt: skip
    for name, row in by_coco_area(matches, pairs, areas).items():
        np.testing.assert_allclose(
            (row.boxes, row.ap50, row.ap50_95), expected[name], rtol=0, atol=1e-9, err_msg=name
        )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(adversarial_sets(CLASSES), st.data())
def test_adversarial(images: tuple[Images, Images], data: st.DataObject) -> None:
    """Boxes as they are drawn, so large that they fall into all three ranges and on their ends."""
    scale = data.draw(st.sampled_from([1, 8, 16, 32]))
    truth, detections = (
        [
            type(image_boxes)(image_boxes.xyxy * scale, image_boxes.label, image_boxes.score)
            for image_boxes in side
        ]
        for side in images
    )
    ends = st.sampled_from([0.0, 32.0**2, 96.0**2, 500.0, 2e4])
    count = sum(map(len, truth))
    areas = np.array(data.draw(st.lists(ends, min_size=count, max_size=count)), np.float64)
    assert_equal_to_pycocotools(truth, detections, areas, CLASSES)


@pytest.mark.parametrize("seed", range(3))
def test_realistic(seed: int) -> None:
    truth, detections = realistic_set(seed, absent=[2])
    size = np.concatenate(
        [image_boxes.xyxy[:, 2:] - image_boxes.xyxy[:, :2] for image_boxes in truth]
    )
    assert_equal_to_pycocotools(truth, detections, size.prod(axis=1), 4)
    components = size.prod(axis=1) * np.random.default_rng(seed).uniform(0.3, 1, len(size))
    assert_equal_to_pycocotools(truth, detections, components, 4)


def test_more_than_100_detections_of_a_class_in_an_image() -> None:
    truth, detections = realistic_set(0, images=6, num_classes=2, per_image=600)
    size = np.concatenate(
        [image_boxes.xyxy[:, 2:] - image_boxes.xyxy[:, :2] for image_boxes in truth]
    )
    assert_equal_to_pycocotools(truth, detections, size.prod(axis=1), 2)


def test_the_ranges_are_pycocotools_own() -> None:
    params = COCOeval(iouType="bbox").params
    ours = {name: tuple(map(float, ends)) for name, ends in COCO_AREAS.items()}
    theirs = zip(params.areaRngLbl, params.areaRng, strict=True)
    assert ours == {name: tuple(map(float, e)) for name, e in theirs if name != "all"}


def test_diameters_by_hand() -> None:
    """Lesions of 4, 4, 12 and 25 mm; one of 4 mm and the one of 12 mm are found."""
    truth = [
        boxes((0, 0, 10, 10, 0), (20, 0, 30, 10, 0)),
        boxes((0, 0, 10, 10, 0), (50, 0, 60, 10, 0)),
    ]
    detections = [
        boxes((0, 0, 10, 10, 0, 0.4), (80, 0, 90, 10, 0, 0.6)),  # hit of 4 mm, nothing
        boxes((0, 0, 10, 10, 0, 0.9)),  # hit of 12 mm
    ]
    matches = match(truth, detections, 1)
    diameters = np.array([4.0, 4.0, 12.0, 25.0])
    rows = by_diameter(matches, diameters, best_confidence=0.3, frozen_confidence=0.5)
    small, five, ten, large = rows
    assert [(row.low, row.high) for row in rows] == [(0, 5), (5, 10), (10, 20), (20, math.inf)]
    assert [row.boxes for row in rows] == [2, 0, 1, 1]
    # the hit of 12 mm is left out, the detection of nothing is not: miss at 0.6, hit at 0.4
    assert small.ap50 == pytest.approx(51 * 0.5 / 101)
    assert (small.recall_best, small.recall_frozen) == (0.5, 0)
    assert math.isnan(five.ap50) and math.isnan(five.recall_best)
    assert (ten.ap50, ten.recall_best, ten.recall_frozen) == (1, 1, 1)
    assert (large.ap50, large.recall_best, large.recall_frozen) == (0, 0, 0)
    without = by_diameter(matches, diameters, float("nan"), None)
    assert all(math.isnan(row.recall_best) and math.isnan(row.recall_frozen) for row in without)


def test_a_bound_belongs_to_the_larger_range_and_an_unknown_diameter_to_none() -> None:
    truth = [boxes((0, 0, 9, 9, 0), (20, 0, 29, 9, 0), (40, 0, 49, 9, 0))]
    rows = by_diameter(match(truth, truth, 1), np.array([5.0, 20.0, np.nan]), 0.5, 0.5)
    assert [row.boxes for row in rows] == [0, 1, 0, 1]


def test_one_range_of_all_diameters_has_the_ap_of_all() -> None:
    truth, detections = realistic_set(2)
    matches = match(truth, detections, 4)
    everything = np.full(len(matches.truth_label), 30.0)
    row = by_diameter(matches, everything, 0.2, 0.3)[3]
    metrics = measure(matches, list("abcd"), 0.3)
    assert row.ap50 == pytest.approx(metrics.map50, abs=1e-12)
    assert metrics.frozen is not None
    assert row.recall_frozen == metrics.frozen.pooled.rates().recall
