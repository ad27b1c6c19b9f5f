"""Whole evaluations: worked by hand, and unchanged by the order of boxes."""

import json
import math

import numpy as np
import pytest

from converters.core.boxes import Boxes
from detect.evaluation.metrics import Metrics, evaluate
from detect.evaluation.operating_point import Counts
from tests.helpers.samples import boxes, realistic_set

NAMES = ["a", "b", "c", "d"]


def pencil_case() -> Metrics:
    """Class a: two boxes on two images; b: one box, never found; c: only a false positive."""
    truth = [
        boxes((0, 0, 10, 10, 0), (50, 50, 60, 60, 1)),
        boxes((20, 0, 30, 10, 0)),
        boxes(),
        boxes(),
    ]
    detections = [
        boxes((0, 0, 10, 10, 0, 0.9), (0, 80, 10, 90, 0, 0.5)),
        boxes((20, 0, 30, 10, 0, 0.4)),
        boxes((0, 0, 5, 5, 2, 0.7)),
        boxes(),
    ]
    return evaluate(truth, detections, ["a", "b", "c"], frozen_confidence=0.5)


def test_average_precision_by_hand() -> None:
    metrics = pencil_case()
    a, b, c = metrics.per_class
    # hit, miss, hit of two boxes: precision 1 at recalls 0 … 0.50, 2/3 at 0.51 … 1
    by_hand = (51 * 1 + 50 * 2 / 3) / 101
    assert a.ap50 == pytest.approx(by_hand, abs=1e-12)
    assert a.ap50_95 == pytest.approx(by_hand, abs=1e-12)
    assert b.ap50 == 0
    assert math.isnan(c.ap50)
    assert metrics.map50 == pytest.approx(by_hand / 2, abs=1e-12)


def test_frozen_counts_by_hand() -> None:
    metrics = pencil_case()
    assert metrics.frozen is not None
    a, b, c = metrics.frozen.per_class
    assert a == Counts(1, 1, 1)  # the score of 0.5 counts, the one of 0.4 does not
    assert b == Counts(0, 0, 1)
    assert c == Counts(0, 1, 0)
    assert metrics.frozen.pooled == Counts(1, 2, 2)
    assert metrics.frozen.mean.precision == pytest.approx(1 / 2)  # b has none
    assert metrics.frozen.mean.recall == pytest.approx(1 / 4)
    assert metrics.frozen.mean.f1 == pytest.approx((1 / 2 + 0) / 2)


def test_best_f1_by_hand() -> None:
    """Precision and recall are linear between the scores 0.9 (1, 1/2), 0.5 (1/2, 1/2), 0.4."""
    truth = [boxes((0, 0, 10, 10, 0)), boxes((20, 0, 30, 10, 0))]
    detections = [
        boxes((0, 0, 10, 10, 0, 0.9), (0, 80, 10, 90, 0, 0.5)),
        boxes((20, 0, 30, 10, 0, 0.4)),
    ]
    best = evaluate(truth, detections, ["a"]).best_f1
    # below 0.4 all three count: F1 = 2 · 2/3 · 1 / (5/3) = 0.8, the best, first reached at 0
    assert best.confidence == 0
    assert best.mean.precision == pytest.approx(2 / 3)
    assert best.mean.recall == pytest.approx(1)
    assert best.mean.f1 == pytest.approx(0.8)


def test_perfect_detections_score_exactly_one() -> None:
    truth, _ = realistic_set(0)
    metrics = evaluate(truth, truth, NAMES, 0.5)
    assert metrics.frozen is not None
    assert (metrics.map50, metrics.map50_95) == (1, 1)
    assert metrics.frozen.mean.f1 == metrics.frozen.pooled.rates().f1 == 1
    assert metrics.best_f1.mean.f1 == pytest.approx(1)


def test_counts_of_images_and_boxes() -> None:
    metrics = pencil_case()
    assert (metrics.images, metrics.boxes, metrics.detections) == (4, 3, 4)
    assert [(row.images, row.boxes) for row in metrics.per_class] == [(2, 2), (1, 1), (0, 0)]
    assert (metrics.most_detections, metrics.score_floor) == (2, 0.4)


def flat(values: object) -> dict[str, object]:
    """Nested JSON objects as one level of dotted names."""
    if not isinstance(values, dict):
        return {"": values}
    return {
        f"{name}.{rest}": leaf
        for name, value in values.items()
        for rest, leaf in flat(value).items()
    }


@pytest.mark.parametrize("seed", range(3))
def test_order_of_images_and_of_detections_does_not_matter(seed: int) -> None:
    truth, detections = realistic_set(seed, absent=[3])
    scores = np.concatenate([d.score for d in detections])
    assert len(np.unique(scores)) == len(scores)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(truth))
    shuffled_truth = [truth[i][rng.permutation(len(truth[i]))] for i in order]
    shuffled = [detections[i][rng.permutation(len(detections[i]))] for i in order]
    before = flat(evaluate(truth, detections, NAMES, 0.3).to_json())
    after = flat(evaluate(shuffled_truth, shuffled, NAMES, 0.3).to_json())
    assert before == after


@pytest.mark.parametrize("seed", range(3))
def test_a_perfect_detection_more_never_lowers_recall(seed: int) -> None:
    truth, detections = realistic_set(seed, images=15)
    frozen = evaluate(truth, detections, NAMES, 0.3).frozen
    assert frozen is not None
    rng = np.random.default_rng(seed)
    for image, true in enumerate(truth):
        for k in range(len(true)):
            score, old = float(rng.uniform(0.3, 1)), detections[image]
            more = Boxes(
                np.vstack([old.xyxy, true.xyxy[[k]]]),
                np.append(old.label, true.label[k]),
                np.append(old.score, score),
            )
            changed = [*detections[:image], more, *detections[image + 1 :]]
            after = evaluate(truth, changed, NAMES, 0.3).frozen
            assert after is not None
            for before_row, after_row in zip(frozen.per_class, after.per_class, strict=True):
                assert after_row.true_positives >= before_row.true_positives


def test_images_without_boxes_change_precision_only_through_their_false_positives() -> None:
    truth, detections = realistic_set(5)
    before = evaluate(truth, detections, NAMES, 0.3).to_json()
    after = evaluate([*truth, boxes()], [*detections, boxes()], NAMES, 0.3).to_json()
    assert after == {**before, "images": len(truth) + 1}


def test_json_has_stable_names_and_no_nan() -> None:
    content = pencil_case().to_json()
    text = json.dumps(content, allow_nan=False)
    assert json.loads(text) == content  # nothing rounded, nothing but JSON types
    rates = {"confidence", "precision", "recall", "f1"}
    counts = rates | {"true_positives", "false_positives", "false_negatives"}
    assert set(content) == {
        "map50",
        "map50_95",
        "best_f1",
        "frozen",
        "per_class",
        "images",
        "boxes",
        "detections",
        "protocol",
    }
    parsed = json.loads(text)
    assert set(parsed["best_f1"]) == rates
    assert set(parsed["frozen"]) == rates | {"pooled"}
    assert set(parsed["frozen"]["pooled"]) == counts
    assert list(parsed["per_class"]) == ["a", "b", "c"]
    assert set(parsed["per_class"]["a"]) == {
        "images",
        "boxes",
        "ap50",
        "ap50_95",
        "best_f1",
        "frozen",
    }
    assert set(parsed["per_class"]["a"]["best_f1"]) == rates
    assert set(parsed["per_class"]["a"]["frozen"]) == counts
    assert parsed["per_class"]["c"]["ap50"] is None
    assert parsed["protocol"]["max_detections"] == 100
    assert parsed["protocol"]["operating_point_iou"] == 0.5


def test_json_without_anything_to_score() -> None:
    for images in ([], [boxes()]):
        content = evaluate(images, images, ["a"]).to_json()
        json.dumps(content, allow_nan=False)
        assert content["map50"] is None
        assert content["frozen"] is None
        assert content["best_f1"] == dict.fromkeys(("confidence", "precision", "recall", "f1"))


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="share a name"):
        evaluate([], [], ["a", "a"])
    for confidence in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="outside"):
            evaluate([], [], ["a"], confidence)
