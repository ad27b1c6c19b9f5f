"""All levels: invariance to order and names, and its form in `metrics.json`."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converters.core.boxes import Boxes
from converters.dataset.provenance import Origins
from detect.evaluation.levels import Levels, measure_levels
from detect.evaluation.matching import match
from detect.evaluation.metrics import measure
from tests.helpers.samples import Images, adversarial_sets, boxes, sample

NAMES = ["a", "b", "c"]


def study_of(
    truth: Images, detections: Images, origins: Origins, confidence: float | None = 0.4
) -> Levels:
    matches = match(truth, detections, len(NAMES))
    return measure_levels(matches, measure(matches, NAMES, confidence), origins, draws=40)


def content(result: Levels) -> dict[str, object]:
    """Return the levels as JSON, rounded: sums in another order may differ in the last bit."""

    def rounded(value: object) -> object:
        if isinstance(value, dict):
            return {key: rounded(item) for key, item in value.items()}
        if isinstance(value, list):
            return [rounded(item) for item in value]
        return round(value, 9) if isinstance(value, float) else value

    return {key: rounded(value) for key, value in result.to_json().items()}


def distinct(detections: Images, seed: int) -> Images:
    """The same boxes with scores of which no two are equal."""
    score = np.random.default_rng(seed).permutation(sum(map(len, detections)))
    parts = np.split((score + 0.5) / max(1, len(score)), np.cumsum([*map(len, detections)])[:-1])
    return [Boxes(d.xyxy, d.label, s) for d, s in zip(detections, parts, strict=True)]


def drawn_set(images: tuple[Images, Images], seed: int) -> tuple[Images, Images, Origins]:
    truth, detections = images
    rng = np.random.default_rng(seed)
    scan = rng.integers(0, 3, len(truth))
    origins = Origins(
        case=[f"s{k}" for k in scan],
        patient=[f"p{k // 2}" for k in scan],
        lesion=[rng.integers(1, 3, len(t)) for t in truth],
        diameter_mm=[rng.choice([3.0, 5.0, 15.0, 40.0], len(t)) for t in truth],
        area=[rng.choice([900.0, 1024.0, 5000.0], len(t)) for t in truth],
    )
    # a lesion has one class
    origins = replace(
        origins, lesion=[i + 10 * t.label for i, t in zip(origins.lesion, truth, strict=True)]
    )
    return truth, distinct(detections, seed), origins


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(adversarial_sets(3), st.integers(0, 1000))
def test_order_and_names_of_cases_do_not_matter(images: tuple[Images, Images], seed: int) -> None:
    truth, detections, origins = drawn_set(images, seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(truth))
    new_name = dict(zip(["s0", "s1", "s2"], rng.permutation(["x", "y", "z"]), strict=True))
    permutations = [rng.permutation(len(detections[k])) for k in order]
    shuffled = Origins(
        case=[str(new_name[origins.case[k]]) for k in order],
        patient=[origins.patient[k] for k in order],
        lesion=[origins.lesion[k] for k in order],
        diameter_mm=[origins.diameter_mm[k] for k in order],
        area=[origins.area[k] for k in order],
    )
    before = study_of(truth, detections, origins)
    after = study_of(
        [truth[k] for k in order],
        [detections[k][permutation] for k, permutation in zip(order, permutations, strict=True)],
        shuffled,
    )
    assert content(before) == content(after)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(adversarial_sets(3), st.integers(0, 1000), st.floats(0.41, 1))
def test_a_perfect_detection_more_never_finds_less(
    images: tuple[Images, Images], seed: int, score: float
) -> None:
    truth, detections, origins = drawn_set(images, seed)
    true = [k for k, image_boxes in enumerate(truth) if len(image_boxes)]
    if not true:
        return
    k = true[seed % len(true)]
    lesion = truth[k][:1]
    more = Boxes(
        np.vstack([detections[k].xyxy, lesion.xyxy]),
        np.append(detections[k].label, lesion.label),
        np.append(detections[k].score, score),
    )
    before = study_of(truth, detections, origins)
    after = study_of(truth, [*detections[:k], more, *detections[k + 1 :]], origins)
    assert after.lesions.all.found >= before.lesions.all.found
    assert after.cases.true_positives >= before.cases.true_positives
    for name in NAMES:
        assert after.lesions.by_class[name].found >= before.lesions.by_class[name].found
    for old, new in zip(before.by_diameter, after.by_diameter, strict=True):
        assert not new.recall_frozen < old.recall_frozen  # NaN where there is no box


def test_perfect_detections_are_perfect_at_every_level() -> None:
    truth, _, origins = sample(0)
    result = study_of(truth, truth, origins)
    curves = result.froc.image, result.froc.scan, result.lesions.froc_scan
    assert all(curve.mean == 1 for curve in curves)
    assert (
        result.lesions.all.sensitivity == result.cases.sensitivity == result.cases.specificity == 1
    )
    assert result.cases.auroc == result.cases.exact_match == result.cases.macro.f1 == 1
    assert result.curves.reliability["ece"] == 0
    assert all(ends == (1, 1) for ends in result.intervals.values())
    assert all(row.ap50 == 1 for row in result.by_diameter if row.boxes)
    assert result.confusion is not None
    assert (
        np.trace(result.confusion.matrix) == result.confusion.matrix.sum() == sum(map(len, truth))
    )


def test_the_form_of_the_json() -> None:
    truth, detections, origins = sample(1)
    written = study_of(truth, detections, origins).to_json()
    text = json.dumps(written, allow_nan=False)
    assert json.loads(text) == written and len(text) < 60_000
    assert set(written) == {
        "read_at", "bootstrap", "intervals", "by_diameter_mm", "by_coco_area", "curves",
        "confusion", "errors", "froc", "lesions", "cases", "conventions",
    }  # fmt: skip
    assert written["read_at"] == {"confidence": 0.4, "chosen": "frozen"}
    assert set(written["by_diameter_mm"][0]) == {
        "from", "to", "boxes", "recall_best", "recall_frozen", "ap50",
    }  # fmt: skip
    assert [row["to"] for row in written["by_diameter_mm"]] == [5, 10, 20, None]
    assert list(written["by_coco_area"]) == ["small", "medium", "large"]
    assert set(written["errors"]["missed"]) == {"count", "count_at_point", "ap50_gain"}
    froc = written["froc"]
    assert {"hit_rule", "second_hits", "interpolation"} <= set(froc)
    assert froc["image"]["false_positives"] == [0.5, 1, 2, 4, 8, 16]
    assert froc["scan"]["false_positives"] == [0.125, 0.25, 0.5, 1, 2, 4, 8]
    assert set(froc["image"]["by_class"]["a"]) == {"sensitivity", "mean"}
    assert len(froc["secondary"]) == 2
    assert written["confusion"]["labels"] == ["a", "b", "c", "background"]
    assert set(written["cases"]["diagnosis"]) == {"per_class", "macro", "exact_match"}
    assert set(written["cases"]["diagnosis"]["per_class"]["a"]) == {
        "cases", "accuracy", "precision", "recall", "f1", "auroc",
    }  # fmt: skip
    assert len(written["intervals"]["lesion_sensitivity"]) == 2


def test_without_a_frozen_confidence_the_best_one_of_this_set_is_named() -> None:
    truth, detections, origins = sample(1)
    result = study_of(truth, detections, origins, confidence=None)
    assert result.to_json()["read_at"] == {"confidence": result.confidence, "chosen": "best_f1"}
    assert result.to_json()["intervals"]["f1"] is None
    assert result.to_json()["by_diameter_mm"][0]["recall_frozen"] is None


@pytest.mark.parametrize("images", [0, 2])
def test_nothing_to_score(images: int) -> None:
    nothing = [boxes()] * images
    names = [f"s{k}" for k in range(images)]
    origins = Origins(names, names, [np.zeros(0, np.int64)] * images, [np.zeros(0)] * images, [])
    written = study_of(nothing, nothing, origins, None).to_json()
    json.dumps(written, allow_nan=False)
    assert written["read_at"] == {"confidence": None, "chosen": None}
    assert written["confusion"] is None and written["cases"]["sensitivity"] is None
    assert written["lesions"]["total"] == 0 and written["froc"]["image"]["mean"] is None
    frozen = study_of(nothing, nothing, origins, 0.5).to_json()
    assert frozen["cases"]["specificity"] == (1 if images else None)
