"""Confusion matrix against ultralytics' own; curves against the numbers they must agree with."""

import numpy as np
import pytest

from detect.evaluation.confusion import Confusion, confusion
from detect.evaluation.curves import curves, reliability
from detect.evaluation.matching import match
from detect.evaluation.metrics import measure
from tests.helpers.samples import Images, boxes, in_image, realistic_set

NAMES = ["a", "b", "c", "d"]


def matrix_of(truth: Images, detections: Images, classes: int, confidence: float) -> Confusion:
    matches = match(truth, detections, classes)
    return confusion(matches, in_image(matches), confidence)


def mixed_up(seed: int) -> tuple[Images, Images]:
    """A realistic set in which a third of the detections change their class."""
    truth, detections = realistic_set(seed, absent=[3])
    rng = np.random.default_rng(seed)
    changed = [
        type(d)(
            d.xyxy, np.where(rng.random(len(d)) < 0.3, rng.integers(0, 4, len(d)), d.label), d.score
        )
        for d in detections
    ]
    return truth, changed


@pytest.mark.usefixtures("ultralytics_offline")
@pytest.mark.parametrize("seed", range(3))
def test_the_matrix_is_ultralytics_own_turned_over(seed: int) -> None:
    import torch
    from ultralytics.utils.metrics import ConfusionMatrix

    truth, detections = mixed_up(seed)
    reference = ConfusionMatrix(names=dict(enumerate(NAMES)))
    for true, predicted in zip(truth, detections, strict=True):
        reference.process_batch(
            {
                "cls": torch.from_numpy(predicted.label),
                "conf": torch.from_numpy(predicted.score),
                "bboxes": torch.from_numpy(predicted.xyxy),
            },
            {"cls": torch.from_numpy(true.label), "bboxes": torch.from_numpy(true.xyxy)},
            conf=0.2,
            iou_thres=0.5,
        )
    ours = matrix_of(truth, detections, 4, 0.2)
    np.testing.assert_array_equal(ours.matrix, reference.matrix.T)
    assert ours.matrix[:4, :4].sum() > np.trace(ours.matrix) > 0


def test_the_matrix_by_hand() -> None:
    truth = [boxes((0, 0, 10, 10, 0), (50, 0, 60, 10, 1)), boxes((0, 0, 10, 10, 1))]
    detections = [
        boxes((0, 0, 10, 10, 1, 0.9), (0, 0, 10, 10, 0, 0.8), (0, 80, 9, 90, 0, 0.5)),
        boxes((0, 0, 10, 10, 1, 0.4)),
    ]
    result = matrix_of(truth, detections, 2, 0.5)
    # the box of class 0 is taken for 1 by the surer one; 0.5 counts, 0.4 does not
    assert result.matrix.tolist() == [[0, 1, 0], [0, 0, 2], [2, 0, 0]]
    assert (result.confidence, result.iou) == (0.5, 0.5)


@pytest.mark.parametrize("seed", range(2))
def test_rows_are_true_boxes_and_columns_detections(seed: int) -> None:
    truth, detections = mixed_up(seed)
    matrix = matrix_of(truth, detections, 4, 0.3).matrix
    true, predicted = (
        np.concatenate([image_boxes.label for image_boxes in side]) for side in (truth, detections)
    )
    score = np.concatenate([image_boxes.score for image_boxes in detections])
    assert matrix[:4].sum(axis=1).tolist() == np.bincount(true, minlength=4).tolist()
    assert matrix[:, :4].sum(axis=0).tolist() == np.bincount(predicted[score >= 0.3]).tolist()


def test_the_mean_of_the_precision_curve_is_ap50_and_the_top_of_f1_is_near_the_best() -> None:
    truth, detections = realistic_set(1, absent=[2])
    matches = match(truth, detections, 4)
    drawn, metrics = curves(matches, NAMES), measure(matches, NAMES)
    assert list(drawn.pr) == list(drawn.f1) == ["a", "b", "d"]
    for row in metrics.per_class:
        if row.boxes:
            assert drawn.pr[row.name]["precision"].mean() == pytest.approx(row.ap50, abs=1e-6)
            assert len(drawn.pr[row.name]["recall"]) == 101
    confidence = drawn.f1["a"]["confidence"]
    assert confidence[0] == 0 and confidence[-1] == 1 and len(confidence) == 112
    mean = np.mean([curve["f1"] for curve in drawn.f1.values()], axis=0)
    k = int(np.abs(confidence - metrics.best_f1.confidence).argmin())
    assert mean[k] == pytest.approx(metrics.best_f1.mean.f1, abs=0.02)


def test_reliability_by_hand() -> None:
    truth = [boxes((0, 0, 10, 10, 0), (20, 0, 30, 10, 0))]
    detections = [
        boxes(
            (0, 0, 10, 10, 0, 0.95),
            (20, 0, 30, 10, 0, 0.25),
            (60, 0, 70, 10, 0, 0.21),
            (80, 0, 90, 10, 0, 1.0),
        )
    ]
    drawn = reliability(match(truth, detections, 1))
    bins = drawn["bins"]
    assert [entry["count"] for entry in bins] == [0, 0, 2, 0, 0, 0, 0, 0, 0, 2]
    assert bins[2]["mean_confidence"] == pytest.approx(0.23) and bins[2]["precision"] == 0.5
    assert bins[9]["mean_confidence"] == pytest.approx(0.975) and bins[9]["precision"] == 0.5
    assert np.isnan(bins[0]["precision"])
    assert drawn["ece"] == pytest.approx((2 * 0.27 + 2 * 0.475) / 4)
    assert np.isnan(reliability(match([boxes()], [boxes()], 1))["ece"])


def test_confidences_that_come_true_are_calibrated() -> None:
    """Of boxes with confidence c a share of c is right: ECE falls to the noise of the sample."""
    rng = np.random.default_rng(0)
    score = rng.uniform(0, 1, 4000)
    right = rng.random(4000) < score
    truth = [boxes((0, 0, 10, 10, 0)) for _ in score]
    detections = [
        boxes((0 if ok else 50, 0, 10 if ok else 60, 10, 0, s))
        for ok, s in zip(right, score, strict=True)
    ]
    assert reliability(match(truth, detections, 1))["ece"] < 0.03
    shy = [boxes((*f.xyxy[0], 0, f.score[0] / 2)) for f in detections]
    assert reliability(match(truth, shy, 1))["ece"] == pytest.approx(0.25, abs=0.03)
