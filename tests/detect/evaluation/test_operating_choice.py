"""The chosen confidence, against trying every confidence and counting box by box."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from detect.detectors.operating_rule import Rule, parse_rule
from detect.evaluation.matching import match
from detect.evaluation.operating_choice import Choice, choose
from detect.evaluation.operating_point import best_f1
from tests.helpers.samples import Images, boxes, realistic_set

CLASSES = 3
SCANS = 7


def counted(truth: Images, detections: Images, confidence: float) -> tuple[float, int]:
    """Class-mean recall and false positives at a confidence, one box after the other."""
    hits, wrong = [0] * CLASSES, 0
    for true, predicted in zip(truth, detections, strict=True):
        taken: set[int] = set()
        for k in sorted(range(len(predicted)), key=lambda k: -predicted.score[k]):
            if predicted.score[k] < confidence:
                continue
            best, target = 0.5, None
            for j in range(len(true)):
                if true.label[j] == predicted.label[k] and j not in taken:
                    a, b = predicted.xyxy[k], true.xyxy[j]
                    w, h = (min(a[2 + i], b[2 + i]) - max(a[i], b[i]) for i in (0, 1))
                    common = max(w, 0) * max(h, 0)
                    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
                    if common / (sum(areas) - common) >= best:
                        best, target = common / (sum(areas) - common), j
            if target is None:
                wrong += 1
            else:
                taken.add(target)
                hits[predicted.label[k]] += 1
    boxes_of = np.bincount(np.concatenate([t.label for t in truth]), minlength=CLASSES)
    return float(np.mean([hits[c] / boxes_of[c] for c in range(CLASSES) if boxes_of[c]])), wrong


def by_trying(
    truth: Images, detections: Images, good: Callable[[float, int], bool], highest: bool
) -> set[float]:
    """Scores that count at the best confidence for which a condition holds."""
    scores = sorted({float(s) for d in detections for s in d.score})
    allowed = [c for c in [*scores, 1.1] if good(*counted(truth, detections, c))]
    best = (max if highest else min)(allowed)
    return {s for s in scores if s >= best}


def kept(detections: Images, choice: Choice) -> set[float]:
    return {float(s) for d in detections for s in d.score if s >= choice.confidence}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("absent", [(), (1,)])
def test_against_trying_every_confidence(seed: int, absent: tuple[int, ...]) -> None:
    truth, detections = realistic_set(
        seed, images=14, num_classes=CLASSES, per_image=6, absent=absent
    )
    detections = [Boxes(d.xyxy, d.label, np.round(d.score, 2)) for d in detections]  # ties
    matches = match(truth, detections, CLASSES)
    for wanted in (0.05, 0.2, 0.3):
        choice = choose(matches, SCANS, Rule("sensitivity", wanted))
        assert choice is not None and choice.met
        expected = by_trying(truth, detections, lambda r, _, w=wanted: r >= w, highest=True)
        assert kept(detections, choice) == expected
        recall, wrong = counted(truth, detections, choice.confidence)
        assert choice.value == choice.reached.recall == pytest.approx(recall) and recall >= wanted
        assert choice.reached.fp_per_scan == wrong / SCANS
    for wanted in (0.0, 0.3, 1.0, 50.0):
        for kind, count in (("fp-per-image", len(truth)), ("fp-per-scan", SCANS)):
            choice = choose(matches, SCANS, Rule(kind, wanted))
            assert choice is not None and choice.met
            expected = by_trying(
                truth, detections, lambda _, fp, w=wanted, n=count: fp / n <= w, highest=False
            )
            assert kept(detections, choice) == expected
            assert choice.value <= wanted
            assert choice.value == counted(truth, detections, choice.confidence)[1] / count


def test_best_f1_is_the_one_of_the_evaluation() -> None:
    matches = match(*realistic_set(5, images=20, num_classes=CLASSES), CLASSES)
    choice = choose(matches, SCANS, Rule("f1"))
    assert choice is not None and choice.confidence == best_f1(matches).confidence
    assert choice.reached.f1 > 0


def test_what_cannot_be_had_gives_the_nearest() -> None:
    truth = [boxes((0, 0, 9, 9, 0)), boxes((0, 0, 9, 9, 0))]
    detections = [
        boxes((0, 0, 9, 9, 0, 0.8), (50, 50, 60, 60, 0, 1.0)),
        boxes((40, 0, 50, 9, 0, 0.2)),
    ]
    matches = match(truth, detections, 1)
    half = choose(matches, 2, Rule("sensitivity", 0.9))
    assert half is not None and not half.met
    assert (half.value, half.confidence) == (0.5, 0.2)
    none = choose(matches, 2, Rule("fp-per-image", 0.1))  # a false positive of score 1 stays
    assert none is not None and not none.met
    assert none.value == 0.5 and 0.8 < none.confidence <= 1.0


def test_the_middle_between_two_scores() -> None:
    truth = [boxes((0, 0, 9, 9, 0))]
    matches = match(truth, [boxes((0, 0, 9, 9, 0, 0.8), (20, 0, 29, 9, 0, 0.4))], 1)
    choice = choose(matches, 1, Rule("sensitivity", 1.0))
    assert choice is not None and choice.confidence == pytest.approx(0.6)
    above = np.nextafter(0.4, 1)
    near = match(truth, [boxes((0, 0, 9, 9, 0, above), (20, 0, 29, 9, 0, 0.4))], 1)
    choice = choose(near, 1, Rule("fp-per-scan", 0))
    assert choice is not None and choice.confidence == above  # there is no middle


def test_nothing_to_choose_by() -> None:
    detections, empty = [boxes((0, 0, 9, 9, 0, 0.5))], [Boxes.empty()]
    for rule in (Rule("f1"), Rule("sensitivity", 0.5), Rule("fp-per-scan", 1)):
        assert choose(match(detections, empty, 1), 1, rule) is None
    assert choose(match(empty, detections, 1), 1, Rule("f1")) is None
    assert choose(match(empty, detections, 1), 1, Rule("sensitivity", 0.5)) is None
    normal = choose(match(empty, detections, 1), 1, Rule("fp-per-scan", 0))  # needs no lesion
    assert normal is not None and normal.confidence > 0.5 and math.isnan(normal.reached.recall)


@pytest.mark.parametrize("text", ["f1", "sensitivity=0.9", "fp-per-image=1", "fp-per-scan=0.5"])
def test_a_rule_is_read_and_written(text: str) -> None:
    assert str(parse_rule(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "F1", "f1=0.5", "sensitivity", "sensitivity=0", "sensitivity=90", "sensitivity=x",
     "fp-per-image=-1", "fp-per-scan=inf", "fp-per-image=nan", "recall=0.9"],
)  # fmt: skip
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(InputError, match="operating_point"):
        parse_rule(text)
