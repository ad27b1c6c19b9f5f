"""The paired comparison, against swapping the detections themselves and scoring anew."""

from itertools import product

import numpy as np
import pytest

from converters.core.boxes import Boxes
from detect.evaluation.matching import match
from detect.evaluation.metrics import Metrics, evaluate
from detect.evaluation.paired import NUMBERS, compare_paired
from tests.helpers.samples import Images, drawn_sets, patients_of, realistic_set

CLASSES = 3
NAMES = [str(c) for c in range(CLASSES)]


def other_detector(detections: Images, seed: int, noise: float) -> Images:
    """The same boxes, moved, on another scale of scores."""
    rng = np.random.default_rng(seed)
    moved = []
    for image_boxes in detections:
        xyxy = image_boxes.xyxy + rng.normal(0, noise, image_boxes.xyxy.shape)
        xyxy[:, 2:] = np.maximum(xyxy[:, 2:], xyxy[:, :2])
        moved.append(Boxes(xyxy, image_boxes.label, 0.3 * image_boxes.score**2))
    return moved


def by_place(detections: Images) -> Images:
    """Scores replaced by the place among all detections of the class, equal ones by image."""
    score = [np.zeros(len(d)) for d in detections]
    for label in range(CLASSES):
        rows = [
            (-d.score[k], i, k) for i, d in enumerate(detections)
            for k in np.flatnonzero(d.label == label)
        ]  # fmt: skip
        for place, (_, i, k) in enumerate(sorted(rows)):
            score[i][k] = 1 - place / 10_000
    return [Boxes(d.xyxy, d.label, s) for d, s in zip(detections, score, strict=True)]


def above(detections: Images, confidence: float) -> Images:
    return [d[d.score >= confidence] for d in detections]


def values(ranked: Metrics, cut: Metrics) -> list[float]:
    rates = cut.frozen.mean
    return [ranked.map50, ranked.map50_95, rates.precision, rates.recall, rates.f1]


def swapped(a: Images, b: Images, patients: list[str], chosen: set[str]) -> Images:
    return [y if p in chosen else x for x, y, p in zip(a, b, patients, strict=True)]


def test_p_is_the_share_of_swaps_scored_anew() -> None:
    truth, first = realistic_set(2, images=20, num_classes=CLASSES, per_image=8)
    second = other_detector(first, 1, noise=2.5)
    patients = patients_of(len(truth), 4)
    cut = (0.4, 0.05)
    result = compare_paired(
        match(truth, first, CLASSES), match(truth, second, CLASSES), patients, cut, draws=20
    )
    names = sorted(set(patients))
    ranked = by_place(first), by_place(second)
    counted = above(first, cut[0]), above(second, cut[1])
    apart = []
    for swap in product([False, True], repeat=len(names)):
        chosen = {n for n, s in zip(names, swap, strict=True) if s}
        rest = set(names) - chosen
        a, b = (
            values(
                evaluate(truth, swapped(*ranked, patients, who), NAMES),
                evaluate(truth, swapped(*counted, patients, who), NAMES, 0.0),
            )
            for who in (chosen, rest)
        )
        apart.append(np.subtract(b, a))
    for k, name in enumerate(NUMBERS):
        column = np.array(apart)[:, k]
        assert result[name].difference == pytest.approx(column[0], abs=1e-12)
        expected = np.mean(np.abs(column) >= abs(column[0]) - 1e-9)
        assert result[name].p == pytest.approx(expected)
    assert 0 < result["map50_95"].p < 1  # something to agree on

    # ranking changes neither detector's own numbers
    for detections, side, confidence in ((first, "first", cut[0]), (second, "second", cut[1])):
        alone = evaluate(truth, detections, NAMES, confidence)
        stated = [getattr(result[name], side) for name in NUMBERS]
        assert stated == pytest.approx(values(alone, alone), abs=1e-12)


def test_the_interval_is_that_of_duplicated_sets_scored_anew() -> None:
    truth, first = realistic_set(4, images=18, num_classes=CLASSES, per_image=8)
    second = other_detector(first, 3, noise=3)
    patients = patients_of(len(truth), 6)
    result = compare_paired(
        match(truth, first, CLASSES), match(truth, second, CLASSES), patients, (0.4, 0.05),
        draws=30, seed=9,
    )  # fmt: skip
    apart = []
    for chosen in drawn_sets(patients, 30, seed=9):
        a, b = (
            evaluate([truth[i] for i in chosen], [detections[i] for i in chosen], NAMES, confidence)
            for detections, confidence in ((first, 0.4), (second, 0.05))
        )
        apart.append(np.subtract(values(b, b), values(a, a)))
    for k, name in enumerate(NUMBERS):
        expected = np.percentile(np.array(apart)[:, k], [2.5, 97.5])
        assert (result[name].low, result[name].high) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("patients", [5, 30])
def test_a_detector_equals_itself(patients: int) -> None:
    truth, detections = realistic_set(6, images=60, num_classes=CLASSES, per_image=8)
    matches = match(truth, detections, CLASSES)
    result = compare_paired(matches, matches, patients_of(60, patients), (0.3, 0.3), draws=50)
    for gain in result.values():
        assert (gain.difference, gain.low, gain.high, gain.p) == (0, 0, 0, 1)


@pytest.mark.parametrize("patients", [8, 25])
def test_a_better_detector_is_found_and_a_shuffled_one_is_not(patients: int) -> None:
    truth, detections = realistic_set(7, images=100, num_classes=CLASSES, per_image=8)
    worse = other_detector(detections, 0, noise=6)
    who = patients_of(100, patients)
    good, bad = match(truth, detections, CLASSES), match(truth, worse, CLASSES)
    result = compare_paired(bad, good, who, draws=200)
    for name in ("map50", "map50_95"):
        assert result[name].difference > 0.05 and result[name].low > 0 and result[name].p < 0.05
    assert np.isnan(result["f1"].p) and np.isnan(result["f1"].low)  # no confidence given
    back = compare_paired(good, bad, who, draws=200)
    assert back["map50"].difference == -result["map50"].difference
    assert back["map50"].p == pytest.approx(result["map50"].p, abs=0.02)

    # two detectors that are each better on half of the patients
    names = sorted(set(who))
    half = swapped(detections, worse, who, set(names[::2]))
    rest = swapped(detections, worse, who, set(names[1::2]))
    alike = compare_paired(match(truth, half, CLASSES), match(truth, rest, CLASSES), who, draws=200)
    assert alike["map50_95"].p > 0.1 and alike["map50_95"].low < 0 < alike["map50_95"].high


def test_p_keeps_its_level() -> None:
    """Where both are alike, p is below 0.2 in a fifth of the studies at most."""
    below = 0
    for seed in range(60):
        truth, detections = realistic_set(seed, images=14, num_classes=2, per_image=5)
        a, b = other_detector(detections, seed, 3), other_detector(detections, seed + 500, 3)
        result = compare_paired(match(truth, a, 2), match(truth, b, 2), patients_of(14, 7))
        below += result["map50"].p <= 0.2
    assert below <= 20  # 12 expected at most; more than 20 has a chance below 1 %
