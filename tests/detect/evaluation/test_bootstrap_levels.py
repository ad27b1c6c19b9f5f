"""Draws of patients for FROC, lesions and cases, against counting every drawn set anew."""

import math

import numpy as np
import pytest

from converters.dataset.provenance import Origins
from detect.evaluation.bootstrap import bootstrap_patients
from detect.evaluation.bootstrap_levels import LevelDraws, bootstrap_levels
from detect.evaluation.cases import case_table
from detect.evaluation.froc import hit_rules
from detect.evaluation.lesion_table import find_lesions
from detect.evaluation.levels import measure_levels
from detect.evaluation.matching import match
from detect.evaluation.metrics import measure
from tests.helpers.samples import Images, drawn_sets, in_image, sample

CLASSES, CONFIDENCE = 3, 0.4
IMAGE_RATES, SCAN_RATES = (0.5, 1, 2, 4, 8, 16), (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)


def draws_of(truth: Images, detections: Images, origins: Origins, draws: int) -> LevelDraws:
    matches = match(truth, detections, CLASSES)
    return bootstrap_levels(
        matches, origins.patient, hit_rules(matches, in_image(matches))[0],
        find_lesions(matches, origins), case_table(matches, origins), CONFIDENCE, draws, seed=4,
    )  # fmt: skip


def mean_sensitivity(
    score: list[float], false: list[float], units: int, rates: tuple[float, ...]
) -> float:
    values = []
    for rate in rates:
        allowed = [
            t
            for t in {*score, math.inf} - {-math.inf}
            if sum(s >= t for s in false) <= rate * units
        ]
        values.append(sum(s >= min(allowed) for s in score) / len(score))
    return sum(values) / len(values)


def numbers_anew(
    truth: Images, detections: Images, origins: Origins, chosen: list[tuple[int, int]]
) -> list[float]:
    """The numbers of a set of (image, which copy of the patient), in plain Python."""
    matches = match(truth, detections, CLASSES)
    hits = dict(zip(matches.hit[0].tolist(), matches.score.tolist(), strict=True))  # -1: none
    first = np.cumsum([0, *map(len, truth)])
    box, false = [], []
    lesion: dict[tuple[str, int, int], float] = {}
    case_truth: dict[tuple[str, int], set[int]] = {}
    case_score: dict[tuple[str, int], dict[int, float]] = {}
    for image, copy in chosen:
        case = (origins.case[image], copy)
        case_truth.setdefault(case, set()).update(truth[image].label.tolist())
        scores = case_score.setdefault(case, {})
        for label, score in zip(detections[image].label, detections[image].score, strict=True):
            scores[int(label)] = max(scores.get(int(label), -math.inf), float(score))
        for k in range(len(truth[image])):
            score = hits.get(int(first[image]) + k, -math.inf)
            box.append(score)
            key = (*case, int(origins.lesion[image][k]))
            lesion[key] = max(lesion.get(key, -math.inf), score)
        unmatched = (matches.image == image) & (matches.hit[0] < 0)
        false += matches.score[unmatched].tolist()
    scans = len(case_truth)
    highest = {
        case: max(by_class.values(), default=-math.inf) for case, by_class in case_score.items()
    }
    sick = [case for case in case_truth if case_truth[case]]
    normal = [case for case in case_truth if not case_truth[case]]
    order = [
        (highest[s] > highest[n]) + 0.5 * (highest[s] == highest[n]) for s in sick for n in normal
    ]
    macro = []
    for c in range(CLASSES):
        has = {case for case in case_truth if c in case_truth[case]}
        called = {case for case in case_truth if case_score[case].get(c, -1) >= CONFIDENCE}
        if has:
            both = len(has & called)
            macro.append(
                (
                    1 - len(has ^ called) / scans,
                    both / len(called) if called else math.nan,
                    both / len(has),
                    2 * both / (len(has) + len(called)),
                )
            )
    return [
        mean_sensitivity(box, false, len(chosen), IMAGE_RATES),
        mean_sensitivity(box, false, scans, SCAN_RATES),
        float(np.mean([s >= CONFIDENCE for s in lesion.values()])),
        mean_sensitivity(list(lesion.values()), false, scans, SCAN_RATES),
        float(np.mean([highest[case] >= CONFIDENCE for case in sick])),
        float(np.mean([highest[case] < CONFIDENCE for case in normal])) if normal else math.nan,
        float(np.mean(order)) if order else math.nan,
        *np.nanmean(macro, axis=0).tolist(),
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_draw_is_the_duplicated_set_counted_anew(seed: int) -> None:
    truth, detections, origins = sample(seed)
    result = draws_of(truth, detections, origins, draws=12)
    for k, images in enumerate(drawn_sets(list(origins.patient), 12, seed=4)):
        copies: dict[int, int] = {}
        chosen = []
        for image in images:
            copies[image] = copies.get(image, -1) + 1
            chosen.append((image, copies[image]))
        expected = numbers_anew(truth, detections, origins, chosen)
        drawn = [values[k] for values in vars(result).values()]
        assert drawn == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_the_whole_set_once_is_what_the_study_says() -> None:
    truth, detections, origins = sample(2)
    matches = match(truth, detections, CLASSES)
    result = measure_levels(
        matches, measure(matches, ["a", "b", "c"], CONFIDENCE), origins, draws=10
    )
    expected = numbers_anew(truth, detections, origins, [(k, 0) for k in range(len(truth))])
    reported = [
        result.froc.image.mean, result.froc.scan.mean,
        result.lesions.all.sensitivity, result.lesions.froc_scan.mean,
        result.cases.sensitivity, result.cases.specificity, result.cases.auroc,
        result.cases.macro.accuracy, result.cases.macro.precision, result.cases.macro.recall,
        result.cases.macro.f1,
    ]  # fmt: skip
    assert reported == pytest.approx(expected, abs=1e-12)


def test_the_intervals_are_percentiles_of_the_same_patients() -> None:
    truth, detections, origins = sample(2)
    matches = match(truth, detections, CLASSES)
    result = measure_levels(
        matches, measure(matches, ["a", "b", "c"], CONFIDENCE), origins, 200, seed=4
    )
    boxes = bootstrap_patients(matches, origins.patient, CONFIDENCE, 200, seed=4)
    levels = draws_of(truth, detections, origins, draws=200)
    for name, values in (vars(boxes) | vars(levels)).items():
        ends = np.nanquantile(values, [0.025, 0.975])
        assert result.intervals[name] == pytest.approx(ends, abs=1e-12)


def test_one_patient_has_no_interval() -> None:
    truth, detections, origins = sample(0)
    alone = Origins(
        origins.case, ["p"] * len(truth), origins.lesion, origins.diameter_mm, origins.area
    )
    result = draws_of(truth, detections, alone, draws=5)
    assert all(np.isnan(values).all() for values in vars(result).values())
