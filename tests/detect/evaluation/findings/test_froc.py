"""Lesions found against false findings a scan, worked by hand and against scans linked anew."""

import numpy as np
import pytest

from converters.core.boxes import Boxes
from detect.evaluation.findings.froc import linked_froc
from detect.evaluation.findings.tubes import scans_of
from detect.linking.linking import Linking, link
from tests.helpers.linked import ELSEWHERE, LESION, SEEN, SQUARE, boxes, detected, split_of

SURE = (ELSEWHERE, 0.9)


def test_a_vessel_on_many_slices_is_one_false_finding() -> None:
    split = split_of([[LESION] * 4])
    froc = linked_froc(split, detected(*[[SURE, *SEEN]] * 4), Linking())
    assert dict(zip(froc.false_positives, froc.sensitivity, strict=True)) == {
        0.125: 0, 0.25: 0, 0.5: 0, 1: 1, 2: 1, 4: 1, 8: 1,
    }  # fmt: skip
    assert froc.confidence[:3] == [np.inf] * 3 and froc.confidence[3] == 0.8
    assert froc.at_one == 1 and froc.mean == pytest.approx(4 / 7)


def test_a_flash_is_none_where_findings_need_two_boxes() -> None:
    split = split_of([[LESION] * 4])
    detections = detected([SURE, *SEEN], SEEN, SEEN, SEEN)
    assert linked_froc(split, detections, Linking(min_boxes=2)).sensitivity[0] == 1
    assert linked_froc(split, detections, Linking()).sensitivity[0] == 0


def test_rates_count_scans_without_a_lesion_too() -> None:
    """One false finding in four scans is a rate of 0.25."""
    split = split_of([[LESION] * 2, [[]] * 2, [[]] * 2, [[]] * 2])
    detections = [*detected(SEEN, SEEN, [SURE], [SURE]), *[Boxes.empty()] * 4]
    froc = linked_froc(split, detections, Linking())
    assert list(froc.sensitivity[:2]) == [0, 1]


def test_sizes_at_one_false_finding() -> None:
    """A large lesion that is surer than the two false findings, a small one that is not."""
    two = [(SQUARE, 1), ((80, 80, 90, 90), 2)]
    split = split_of([[two] * 3])
    split.diameters_mm[:] = [np.array([25.0, 12.0]), np.array([30.0, np.nan]), np.array([22.0, 9])]
    slices = [(SQUARE, 0.95), SURE, ((30, 60, 40, 70), 0.85), ((80, 80, 90, 90), 0.3)]
    froc = linked_froc(split, detected(*[slices] * 3), Linking())
    rows = froc.to_json()["by_diameter_mm"]
    assert [(row["from"], row["to"], row["found"], row["total"]) for row in rows] == [
        (0, 5, 0, 0), (5, 10, 0, 0), (10, 20, 0, 1), (20, None, 1, 1),
    ]  # fmt: skip
    assert froc.at_one == 0.5 and froc.sensitivity[-1] == 1


def test_nothing_to_find_and_nothing_found() -> None:
    nothing = [Boxes.empty()] * 2
    none = linked_froc(split_of([[[]] * 2]), detected([SURE], [SURE]), Linking()).to_json()
    assert none["sensitivity"] == [None] * 7 and none["mean"] is None
    missed = linked_froc(split_of([[LESION] * 2]), nothing, Linking()).to_json()
    assert missed["sensitivity"] == [0] * 7 and missed["confidence"] == [None] * 7


@pytest.mark.parametrize("seed", range(3))
def test_against_scans_linked_anew_at_every_confidence(seed: int) -> None:
    rng = np.random.default_rng(seed)
    split = split_of([[LESION] * 4, [[(ELSEWHERE, 1), (SQUARE, 2)]] * 3, [[]] * 5])

    def noisy(around: tuple[float, ...]) -> tuple[tuple[float, ...], int, float]:
        moved = np.array(around) + rng.integers(-3, 4, 4)
        return tuple(moved.tolist()), 0, float(rng.integers(1, 40)) / 40

    detections = [
        boxes(*(noisy(place) for place in (SQUARE, ELSEWHERE, SQUARE, (40, 5, 52, 17))))
        for _ in range(12)
    ]
    linking = Linking()
    froc = linked_froc(split, detections, linking)
    assert list(froc.sensitivity) == sorted(froc.sensitivity)
    every = sorted({score for image_boxes in detections for score in image_boxes.score.tolist()})
    reached = {np.inf: (0.0, 0.0)}
    for confidence in every:
        false = hits = 0
        for scan in scans_of(split, detections, confidence):
            for finding in link(scan.stack, linking):
                ious = [_iou(finding, lesion.boxes, scan.stack) for lesion in scan.lesions]
                assert sum(value > 0.02 for value in ious) < 2  # so that no choice is to be made
                false += max(ious, default=0.0) < 0.1
            hits += sum(
                any(
                    _iou(finding, lesion.boxes, scan.stack) >= 0.1
                    for finding in link(scan.stack, linking)
                )
                for lesion in scan.lesions
            )
        reached[confidence] = false / 3, hits / 3
    for rate, confidence, sensitivity in zip(
        froc.false_positives, froc.confidence, froc.sensitivity, strict=True
    ):
        false_rate, share = reached[confidence]
        assert false_rate <= rate
        assert sensitivity == pytest.approx(share)
        assert sensitivity <= max(s for f, s in reached.values() if f <= rate) + 1e-9


def _iou(finding: object, lesion: object, stack: list[Boxes]) -> float:
    """3D IoU by painting voxels."""
    canvas = np.zeros((2, len(stack), 110, 110), bool)
    painted = [
        (0, {z: stack[z].xyxy[b] for z, b in finding.members}),  # type: ignore[attr-defined]
        (1, lesion),
    ]
    for k, by_slice in painted:
        for z, (x1, y1, x2, y2) in by_slice.items():  # type: ignore[attr-defined]
            canvas[k, z, int(y1) + 5 : int(y2) + 5, int(x1) + 5 : int(x2) + 5] = True
    return float(canvas.all(0).sum() / canvas.any(0).sum())
