"""Real tumour masks as truth and, whole or moved, as detections."""

from pathlib import Path

import numpy as np
import pytest

from converters.core.boxes import Boxes
from converters.dataset.folder import open_dataset
from converters.dataset.folds import Fold, fold_splits
from converters.dataset.split import Split
from detect.evaluation.levels import Levels, measure_levels
from detect.evaluation.matching import match
from detect.evaluation.metrics import measure

# 2D boxes and 3D lesions of each volume, counted by others
COUNTS = {
    0: (14, 10), 3: (9, 1), 4: (289, 5), 5: (5, 1), 7: (52, 6), 8: (49, 6), 9: (45, 6),
    10: (48, 6), 11: (35, 5), 12: (5, 1), 14: (10, 1), 15: (9, 3), 23: (23, 1), 29: (11, 1),
    32: (0, 0), 34: (0, 0), 35: (21, 3), 36: (15, 1), 40: (101, 15), 41: (0, 0), 42: (5, 2),
    47: (0, 0), 48: (14, 4), 50: (4, 1),
}  # fmt: skip


@pytest.fixture(scope="module")
def split(lits_dataset: Path) -> Split:
    """Half of all patients, every slice."""
    return fold_splits(open_dataset(lits_dataset), Fold(number=1, of=2, seed=0))["test"]


def levels(split: Split, moved_by: float) -> Levels:
    detections = [Boxes(boxes.xyxy + moved_by, boxes.label, boxes.score) for boxes in split.truth]
    matches = match(split.truth, detections, 1)
    return measure_levels(matches, measure(matches, ["tumour"], 0.5), split.origins)


@pytest.mark.realdata
def test_the_truth_itself_is_perfect_and_counts_are_those_of_others(split: Split) -> None:
    result = levels(split, 0)
    counts = [COUNTS[int(name.removeprefix("lits-"))] for name in set(split.case_ids)]
    assert result.lesions.all.total == result.lesions.all.found == sum(n for _, n in counts)
    assert result.cases.total == len(counts) > result.cases.with_lesions > 0
    assert result.cases.with_lesions == sum(n > 0 for _, n in counts)
    assert sum(row.boxes for row in result.by_diameter) == sum(n for n, _ in counts)
    assert result.froc.image.mean == result.cases.auroc == result.cases.macro.f1 == 1
    assert all(row.ap50 == 1 for row in result.by_diameter if row.boxes)


@pytest.mark.realdata
def test_moved_by_two_pixels_the_small_lesions_are_lost_first(split: Split) -> None:
    result = levels(split, 2)
    assert 0 < result.froc.image.mean < 1
    recall = [row.recall_frozen for row in result.by_diameter if row.boxes]
    assert recall[0] < recall[-1] and recall == sorted(recall)
    assert result.lesions.all.found <= result.secondary[0].lesions.found  # IoU 0.1 asks for less
    assert (
        result.errors["localisation"].count > 0 and result.errors["background"].count < split.boxes
    )
    assert not np.isnan(result.intervals["lesion_sensitivity"]).any()
