"""AP of the evaluator equals COCOeval's to 1e-9, whatever the boxes."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from pycocotools.cocoeval import Params

from detect.evaluation import matching, overlaps
from detect.evaluation.average_precision import average_precision
from detect.evaluation.matching import match
from detect.evaluation.metrics import evaluate
from tests.helpers.references import coco_reference
from tests.helpers.samples import Images, adversarial_sets, boxes, realistic_set

CLASSES = 3
NAMES = ["a", "b", "c"]


def assert_equal_to_pycocotools(truth: Images, detections: Images, num_classes: int) -> None:
    expected = coco_reference(truth, detections, num_classes)
    metrics = evaluate(truth, detections, [str(c) for c in range(num_classes)])
    ap = average_precision(match(truth, detections, num_classes))
    np.testing.assert_allclose(ap, expected.ap, rtol=0, atol=1e-9)
    np.testing.assert_allclose(metrics.map50, expected.map50, rtol=0, atol=1e-9)
    np.testing.assert_allclose(metrics.map50_95, expected.map50_95, rtol=0, atol=1e-9)
    for label, row in enumerate(metrics.per_class):
        np.testing.assert_allclose(row.ap50, expected.ap[label, 0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(row.ap50_95, expected.ap[label].mean(), rtol=0, atol=1e-9)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(adversarial_sets(CLASSES))
def test_adversarial(images: tuple[Images, Images]) -> None:
    assert_equal_to_pycocotools(*images, CLASSES)


@pytest.mark.parametrize("seed", range(4))
def test_realistic(seed: int) -> None:
    assert_equal_to_pycocotools(*realistic_set(seed, absent=[2]), 4)


@pytest.mark.parametrize("seed", range(2))
def test_more_than_100_detections_of_a_class_in_an_image(seed: int) -> None:
    truth, detections = realistic_set(seed, images=6, num_classes=2, per_image=600)
    assert max(np.bincount(d.label).max() for d in detections if len(d)) > 100
    assert_equal_to_pycocotools(truth, detections, 2)


def test_the_hit_ranked_101st_does_not_count() -> None:
    truth = [boxes((0, 0, 10, 10, 0))]
    misses = [(50, 50, 60, 60, 0, 0.9)] * 100
    detections = [boxes(*misses, (0, 0, 10, 10, 0, 0.1))]
    assert evaluate(truth, detections, ["a"]).map50 == 0
    assert_equal_to_pycocotools(truth, detections, 1)


def test_ties_in_score_are_kept_in_order_of_images() -> None:
    truth = [boxes((0, 0, 10, 10, 0))] * 3
    hit, miss = (0, 0, 10, 10, 0, 0.5), (50, 50, 60, 60, 0, 0.5)
    for detections in ([boxes(hit), boxes(miss, hit)], [boxes(miss, hit), boxes(hit)]):
        assert_equal_to_pycocotools(truth, [*detections, boxes(miss)], 1)


@pytest.mark.parametrize("width", range(10, 21))
def test_iou_exactly_on_a_threshold(width: int) -> None:
    """IoU = width / 20; 0.90 of numpy's linspace is not the literal 0.90."""
    truth = [boxes((0, 0, 20, 1, 0))]
    detections = [boxes((0, 0, width, 1, 0, 0.5))]
    assert_equal_to_pycocotools(truth, detections, 1)


def test_corners_that_do_not_survive_a_round_trip_through_width() -> None:
    """x + (x2 - x) is not x2: the arithmetic must follow x, y, width, height, or else rounding puts
    some of these IoUs of one half on the other side of the threshold."""
    rng = np.random.default_rng(0)
    x1, x2 = rng.uniform(-300, -200, 500), rng.uniform(0, 1, 500)
    truth = [boxes((a, 0, b, 1, 0)) for a, b in zip(x1, x2, strict=True)]
    detections = [boxes((a + (b - a) / 2, 0, b, 1, 0, 0.5)) for a, b in zip(x1, x2, strict=True)]
    assert_equal_to_pycocotools(truth, detections, 1)


def test_thresholds_are_pycocotools_own_to_the_last_bit() -> None:
    np.testing.assert_array_equal(matching.IOU_THRESHOLDS, Params(iouType="bbox").iouThrs)


def test_no_boxes_at_all() -> None:
    nothing = [boxes(), boxes()]
    assert_equal_to_pycocotools(nothing, nothing, CLASSES)
    assert_equal_to_pycocotools(nothing, [boxes((0, 0, 1, 1, 0, 0.5)), boxes()], CLASSES)
    assert_equal_to_pycocotools([boxes((0, 0, 1, 1, 0)), boxes()], nothing, CLASSES)


def test_pairs_in_many_small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, detections = realistic_set(7, images=12)
    whole = match(truth, detections, 4)
    for portion in (1, 2, 7):
        monkeypatch.setattr(overlaps, "_PAIRS_AT_ONCE", portion)
        np.testing.assert_array_equal(match(truth, detections, 4).hit, whole.hit)
