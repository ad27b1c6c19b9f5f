"""Lesion level and case level, worked by hand.

Two patients: p has the scans s1 and s2, q has s3 (normal) and s4. Classes a and b.

    image  scan  truth (lesion, class, diameter)         detections (class, score)
    0      s1    1 a 8 mm                                hit a 0.9; nothing there, b 0.3
    1      s1    1 a 12 mm, 2 b 4 mm                     nothing
    2      s2    1 a 6 mm (another one: another scan)    hit a 0.4
    3      s3    none                                    nothing there, a 0.6
    4      s4    7 b 25 mm                               hit b 0.5 and again b 0.45
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.dataset.provenance import Origins
from detect.evaluation.cases import CaseLevel, auroc, case_level, case_table
from detect.evaluation.froc import hit_rules
from detect.evaluation.lesion_table import find_lesions
from detect.evaluation.lesions import LesionLevel, lesion_level
from detect.evaluation.matching import match
from tests.helpers.samples import boxes, in_image

A, B, C = (0, 0, 10, 10), (40, 0, 50, 10), (80, 0, 90, 10)
TRUTH = [
    boxes((*A, 0)), boxes((*A, 0), (*B, 1)), boxes((*A, 0)), boxes(), boxes((*B, 1)),
]  # fmt: skip
DETECTIONS = [
    boxes((*A, 0, 0.9), (*C, 1, 0.3)), boxes(), boxes((*A, 0, 0.4)), boxes((*C, 0, 0.6)),
    boxes((*B, 1, 0.5), (*B, 1, 0.45)),
]  # fmt: skip
ORIGINS = Origins(
    case=["s1", "s1", "s2", "s3", "s4"],
    patient=["p", "p", "p", "q", "q"],
    lesion=[np.array(ids, np.int64) for ids in ([1], [1, 2], [1], [], [7])],
    diameter_mm=[np.array(mm, np.float64) for mm in ([8], [12, 4], [6], [], [25])],
    area=[np.full(n, 100.0) for n in (1, 2, 1, 0, 1)],
)
MATCHES = match(TRUTH, DETECTIONS, 2)


def lesions_at(confidence: float | None) -> LesionLevel:
    hits = hit_rules(MATCHES, in_image(MATCHES))[0]
    false = MATCHES.score[hits.false]
    return lesion_level(find_lesions(MATCHES, ORIGINS), hits, false, 4, ["a", "b"], confidence)


def cases_at(confidence: float | None) -> CaseLevel:
    return case_level(case_table(MATCHES, ORIGINS), ["a", "b"], confidence)


def test_lesions_by_hand() -> None:
    """s1 has a of 12 mm (0.9) and b of 4 mm (never), s2 a of 6 mm (0.4), s4 b of 25 mm (0.5)."""
    level = lesions_at(0.5)
    assert (level.all.total, level.all.found, level.all.sensitivity) == (4, 2, 0.5)
    assert [(row.total, row.found) for row in level.by_class.values()] == [(2, 1), (2, 1)]
    assert [(row.low, row.high, row.total, row.found) for row in level.by_diameter] == [
        (0, 5, 1, 0), (5, 10, 1, 0), (10, 20, 1, 1), (20, math.inf, 1, 1),
    ]  # fmt: skip
    assert lesions_at(0.4).all.found == 3
    # false boxes at 0.6, 0.45 (the second hit) and 0.3, four scans: below one a scan half a box is
    # allowed, and above 0.6 one lesion is found; one allowed: 0.9 and 0.5; two: 0.4 too
    assert level.froc_scan.sensitivity.tolist() == [0.25, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75]


def test_lesions_without_an_operating_point() -> None:
    row = lesions_at(None).all
    assert row.total == 4 and math.isnan(row.found) and math.isnan(row.sensitivity)


def test_boxes_of_unknown_lesions_are_lesions_of_their_own() -> None:
    unknown = Origins(
        ORIGINS.case, ORIGINS.patient,
        [np.full(len(image_boxes), -1) for image_boxes in TRUTH],
        [np.full(len(image_boxes), np.nan) for image_boxes in TRUTH],
        ORIGINS.area,
    )  # fmt: skip
    lesions = find_lesions(MATCHES, unknown)
    assert len(lesions) == 5 and np.isnan(lesions.diameter_mm).all()
    assert sorted(lesions.label.tolist()) == [0, 0, 0, 1, 1]


def test_cases_by_hand() -> None:
    level = cases_at(0.5)
    assert (level.total, level.with_lesions) == (4, 3)
    # s1 0.9 and s4 0.5 are called, s2 0.4 is not, and the normal s3 is called by its 0.6
    counts = (
        level.true_positives,
        level.false_positives,
        level.true_negatives,
        level.false_negatives,
    )
    assert counts == (2, 1, 0, 1)
    assert (level.sensitivity, level.specificity) == (2 / 3, 0)
    assert level.auroc == 1 / 3  # of 0.9, 0.4 and 0.5 one is above 0.6
    assert cases_at(0.7).specificity == 1


def test_the_diagnosis_by_hand() -> None:
    """Class a: in s1 and s2, called in s1 and s3. Class b: in s1 and s4, called in s4."""
    level = cases_at(0.5)
    a, b = level.diagnosis["a"], level.diagnosis["b"]
    assert level.cases_per_class == {"a": 2, "b": 2}
    assert (a.accuracy, a.precision, a.recall, a.f1) == (0.5, 0.5, 0.5, 0.5)
    assert (b.accuracy, b.precision, b.recall, b.f1) == (0.75, 1, 0.5, pytest.approx(2 / 3))
    # scores of a: 0.9, 0.4 against 0.6, none; of b: 0.3, 0.5 against none, none
    assert (a.auroc, b.auroc) == (0.75, 1)
    assert level.macro.accuracy == 0.625 and level.macro.precision == 0.75
    assert level.macro.recall == 0.5 and level.macro.f1 == pytest.approx((0.5 + 2 / 3) / 2)
    assert level.exact_match == 0.25  # s4 alone


def test_a_class_that_no_case_has_is_left_out_of_the_mean() -> None:
    level = case_level(case_table(match(TRUTH, DETECTIONS, 3), ORIGINS), ["a", "b", "c"], 0.5)
    assert level.diagnosis["c"].accuracy == 1 and math.isnan(level.diagnosis["c"].f1)
    assert level.macro == cases_at(0.5).macro


def test_a_class_never_called_has_no_precision() -> None:
    level = cases_at(0.55)
    assert math.isnan(level.diagnosis["b"].precision) and level.diagnosis["b"].f1 == 0
    assert level.macro.precision == level.diagnosis["a"].precision == 0.5


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([-math.inf, 0.0, 0.3, 0.5, 1.0]))))
def test_auroc_is_the_share_of_pairs_in_the_right_order(cases: list[tuple[bool, float]]) -> None:
    pairs = [
        1.0 if sick > normal else 0.5 if sick == normal else 0.0
        for is_sick, sick in cases if is_sick
        for is_normal, normal in cases if not is_normal
    ]  # fmt: skip
    truth, score = np.array([c[0] for c in cases], bool), np.array([c[1] for c in cases])
    expected = sum(pairs) / len(pairs) if pairs else math.nan
    assert auroc(truth, score) == pytest.approx(expected, nan_ok=True)


def test_origins_that_do_not_belong_are_refused() -> None:
    wrong = Origins(ORIGINS.case, ORIGINS.patient, ORIGINS.lesion[::-1], ORIGINS.diameter_mm, [])
    with pytest.raises(ValueError, match="each true box"):
        find_lesions(MATCHES, wrong)
    with pytest.raises(ValueError, match="each image"):
        find_lesions(MATCHES, Origins(["s"], ["p"], ORIGINS.lesion, ORIGINS.diameter_mm, []))
    torn = Origins(["s"] * 5, ORIGINS.patient, ORIGINS.lesion, ORIGINS.diameter_mm, [])
    with pytest.raises(ValueError, match="two patients"):
        case_table(MATCHES, torn)
