"""Average precision and counts against the definitions, one box at a time, in plain Python."""

from hypothesis import given, settings

from detect.evaluation.metrics import evaluate
from detect.evaluation.operating_point import Counts
from tests.helpers.references import average_precision, iou
from tests.helpers.samples import Images, adversarial_sets, boxes

CLASSES = 2

# the doubles that COCO uses, spelled out; the ninth is not 0.9
THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.8999999999999999, 0.95]


def scored_hits(
    truth: Images, detections: Images, label: int, threshold: float
) -> tuple[list[tuple[float, int, bool]], int]:
    """Return (score, rank in its image, hit) by falling score, and the number of true boxes."""
    entries, total = [], 0
    for true, predicted in zip(truth, detections, strict=True):
        free = [b for b, c in zip(true.xyxy.tolist(), true.label, strict=True) if c == label]
        total += len(free)
        mine = [i for i in range(len(predicted)) if predicted.label[i] == label]
        mine.sort(key=lambda i: -predicted.score[i])  # Python's sort is stable
        for rank, i in enumerate(mine):
            best, best_iou = -1, threshold
            for g, box in enumerate(free):
                overlap = iou(predicted.xyxy[i].tolist(), box)
                if overlap >= best_iou:
                    best, best_iou = g, overlap
            if best >= 0:
                del free[best]
            entries.append((float(predicted.score[i]), rank, best >= 0))
    entries.sort(key=lambda entry: -entry[0])
    return entries, total


@settings(max_examples=100, deadline=None)
@given(adversarial_sets(CLASSES))
def test_average_precision_and_counts(images: tuple[Images, Images]) -> None:
    truth, detections = images
    metrics = evaluate(truth, detections, ["a", "b"], frozen_confidence=0.25)
    assert metrics.frozen is not None
    pooled = [0, 0, 0]
    for label, row in enumerate(metrics.per_class):
        entries, total = scored_hits(truth, detections, label, 0.5)
        kept = [hit for score, _, hit in entries if score >= 0.25]
        counts = [sum(kept), len(kept) - sum(kept), total - sum(kept)]
        assert row.frozen == Counts(*counts)
        pooled = [a + b for a, b in zip(pooled, counts, strict=True)]
        if total:
            each = [
                average_precision(scored_hits(truth, detections, label, t)[0], total)
                for t in THRESHOLDS
            ]
            assert abs(row.ap50 - each[0]) < 1e-9
            assert abs(row.ap50_95 - sum(each) / 10) < 1e-9
        else:
            assert row.ap50 != row.ap50 and row.ap50_95 != row.ap50_95  # NaN
    assert metrics.frozen.pooled == Counts(*pooled)


def test_the_oracle_itself_on_a_pencil_case() -> None:
    truth = [boxes((0, 0, 10, 10, 0), (20, 0, 30, 10, 0))]
    detections = [boxes((0, 0, 10, 10, 0, 0.9), (50, 0, 60, 10, 0, 0.8), (20, 0, 30, 10, 0, 0.7))]
    entries, total = scored_hits(truth, detections, 0, 0.5)
    assert [hit for *_, hit in entries] == [True, False, True] and total == 2
    assert abs(average_precision(entries, total) - (51 + 50 * 2 / 3) / 101) < 1e-12
