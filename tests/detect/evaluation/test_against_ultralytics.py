"""P, R and F1 at the best F1 equal those of the ultralytics validator on the same detections.

Tolerances. P, R, F1 and the confidence: 1e-3, the goal; what is left is far smaller, and stems from
their IoU and scores in single precision. mAP50: their AP is the trapezoid over 101 recalls with a
precision of 1 put before recall 0, COCO's the mean over 101 recalls of a step curve; on these sets
that moves mAP50 by some 1e-3, so it is held to 5e-3 here and to 1e-9 against pycocotools elsewhere.
"""

import numpy as np
import pytest

from converters.core.boxes import Boxes
from detect.evaluation.metrics import evaluate
from tests.helpers.references import ultralytics_reference
from tests.helpers.samples import Images, boxes, realistic_set

pytestmark = pytest.mark.usefixtures("ultralytics_offline")


def assert_equal_to_ultralytics(truth: Images, detections: Images, num_classes: int) -> None:
    expected = ultralytics_reference(truth, detections, num_classes)
    metrics = evaluate(truth, detections, [str(c) for c in range(num_classes)])
    best = metrics.best_f1
    assert best.confidence == pytest.approx(expected.confidence, abs=1e-3)
    assert best.mean.precision == pytest.approx(expected.precision, abs=1e-3)
    assert best.mean.recall == pytest.approx(expected.recall, abs=1e-3)
    assert best.mean.f1 == pytest.approx(expected.f1, abs=1e-3)
    assert metrics.map50 == pytest.approx(expected.map50, abs=5e-3)
    for label, rates in enumerate(best.per_class):
        if label in expected.per_class:
            got = (rates.precision, rates.recall, rates.f1)
            assert got == pytest.approx(expected.per_class[label], abs=1e-3)
        else:
            assert np.isnan([rates.precision, rates.recall, rates.f1]).all()


@pytest.mark.parametrize("seed", range(6))
def test_realistic(seed: int) -> None:
    assert_equal_to_ultralytics(*realistic_set(seed, images=150), 4)


def test_classes_without_truth_and_without_detections() -> None:
    truth, detections = realistic_set(1, images=150, num_classes=4, absent=[1, 3])
    without_class_2: list[Boxes] = [d[d.label != 2] for d in detections]
    assert_equal_to_ultralytics(truth, detections, 4)
    assert_equal_to_ultralytics(truth, without_class_2, 4)


def test_300_detections_in_an_image() -> None:
    """P, R and F1 count all 300 detections of an image."""
    truth, detections = realistic_set(3, images=60, num_classes=1, per_image=300)
    assert max(map(len, detections)) > 200
    expected = ultralytics_reference(truth, detections, 1)
    best = evaluate(truth, detections, ["a"]).best_f1
    got = (best.mean.precision, best.mean.recall, best.mean.f1)
    assert got == pytest.approx(expected[:3], abs=1e-3)


def test_a_class_whose_detections_all_score_below_the_best_confidence() -> None:
    """Above its highest score a class has precision 1 and recall 0."""
    squares = [(20 * k, 0, 20 * k + 10, 10) for k in range(8)]
    truth = [boxes(*[(*xyxy, 0) for xyxy in squares], (0, 50, 10, 60, 1))]
    hits = [(*xyxy, 0, 0.9 + k / 100) for k, xyxy in enumerate(squares)]
    misses = [(20 * k, 80, 20 * k + 10, 90, 0, 0.5 + k / 100) for k in range(8)]
    detections = [boxes(*hits, *misses, (0, 90, 10, 99, 1, 0.2))]
    best = evaluate(truth, detections, ["0", "1"]).best_f1
    assert best.confidence > 0.2
    assert (best.per_class[1].precision, best.per_class[1].recall) == (1, 0)
    expected = ultralytics_reference(truth, detections, 2)
    assert best.mean.precision == pytest.approx(expected.precision, abs=1e-3)
    assert best.mean.recall == pytest.approx(expected.recall, abs=1e-3)


def test_only_false_positives() -> None:
    truth = [boxes((0, 0, 10, 10, 0)), boxes()]
    detections = [boxes((40, 40, 50, 50, 0, 0.9)), boxes((0, 0, 10, 10, 0, 0.8))]
    assert_equal_to_ultralytics(truth, detections, 1)
