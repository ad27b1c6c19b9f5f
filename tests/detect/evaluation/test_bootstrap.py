"""Intervals over patients, against scoring every drawn set of patients anew."""

import time

import numpy as np
import pytest

from converters.core.boxes import Boxes
from detect.evaluation.bootstrap import bootstrap_patients, interval
from detect.evaluation.matching import match
from detect.evaluation.metrics import evaluate
from tests.helpers.references import coco_reference
from tests.helpers.samples import drawn_sets, patients_of, realistic_set

CLASSES = 3
CONFIDENCE = 0.4


@pytest.mark.parametrize("absent", [(), (1,)])
def test_a_draw_is_the_duplicated_set_scored_anew(absent: tuple[int, ...]) -> None:
    truth, detections = realistic_set(3, images=24, num_classes=CLASSES, absent=absent)
    patients = patients_of(len(truth), 5)
    result = bootstrap_patients(
        match(truth, detections, CLASSES), patients, CONFIDENCE, draws=25, seed=4
    )
    for k, chosen in enumerate(drawn_sets(patients, 25, seed=4)):
        again = evaluate(
            [truth[i] for i in chosen], [detections[i] for i in chosen],
            [str(c) for c in range(CLASSES)], CONFIDENCE,
        )  # fmt: skip
        expected = [again.map50, again.map50_95]
        expected += [again.frozen.mean.precision, again.frozen.mean.recall, again.frozen.mean.f1]
        drawn = [result.map50[k], result.map50_95[k]]
        drawn += [result.precision[k], result.recall[k], result.f1[k]]
        assert drawn == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_a_draw_is_what_pycocotools_says_of_the_duplicated_set() -> None:
    truth, detections = realistic_set(8, images=20, num_classes=CLASSES)
    patients = patients_of(len(truth), 4)
    result = bootstrap_patients(match(truth, detections, CLASSES), patients, draws=3, seed=0)
    for k, chosen in enumerate(drawn_sets(patients, 3, seed=0)):
        reference = coco_reference(
            [truth[i] for i in chosen], [detections[i] for i in chosen], CLASSES
        )
        assert (result.map50[k], result.map50_95[k]) == pytest.approx(
            (reference.map50, reference.map50_95), abs=1e-9
        )
    assert np.isnan(result.precision).all()  # no confidence given


def test_a_class_that_a_draw_lacks_is_left_out_of_its_mean() -> None:
    box = np.array([[0.0, 0.0, 9.0, 9.0]])
    truth = [Boxes(box, np.array([c]), np.ones(1)) for c in (0, 1)]
    detections = [
        truth[0],
        Boxes(box + 100, np.array([1]), np.ones(1)),
    ]  # class 0 right, class 1 wrong
    result = bootstrap_patients(match(truth, detections, 2), ["a", "b"], 0.5, draws=200)
    assert set(result.map50) == {0.0, 0.5, 1.0}  # b twice, one of each, a twice
    assert interval(result.map50) == (0.0, 1.0)


def test_nothing_to_draw() -> None:
    truth, detections = realistic_set(0, images=6)
    single_patient = bootstrap_patients(match(truth, detections, 4), ["a"] * 6, 0.5, draws=10)
    none = bootstrap_patients(
        match([Boxes.empty()] * 2, [Boxes.empty()] * 2, 4), ["a", "b"], 0.5, 10
    )
    for draws in (single_patient, none):
        assert np.isnan(draws.map50).all() and np.isnan(interval(draws.map50)).all()
        assert np.isnan(draws.recall).all() and set(draws.to_json()["map50"]) == {None}


def test_the_interval_of_a_share_is_the_binomial_one() -> None:
    """Sixty independent patients with a lesion each: recall is a share, whose law is known."""
    box = np.array([[0.0, 0.0, 9.0, 9.0]])
    hit, miss = Boxes(box, np.zeros(1, np.int64), np.ones(1)), Boxes.empty()
    matches = match([hit] * 60, [hit] * 42 + [miss] * 18, 1)
    recall = bootstrap_patients(matches, [str(k) for k in range(60)], 0.5, draws=2000).recall
    assert recall.mean() == pytest.approx(0.7, abs=0.005)
    assert recall.std() == pytest.approx(np.sqrt(0.7 * 0.3 / 60), rel=0.05)
    assert interval(recall) == pytest.approx((35 / 60, 49 / 60), abs=1.01 / 60)  # quantiles


def test_it_is_fast() -> None:
    truth, detections = realistic_set(1, images=1200, per_image=34)
    matches = match(truth, detections, 4)
    assert len(matches.score) > 15_000
    start = time.perf_counter()
    bootstrap_patients(matches, patients_of(1200, 150), 0.3)
    assert time.perf_counter() - start < 30  # about 3 s on an idle core
