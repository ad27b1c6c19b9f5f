"""A split made by hand: pictures of noise, truth and detections whose matches are known."""

from pathlib import Path
from typing import Any

import numpy as np

from converters.core.boxes import Boxes
from converters.core.images import write_png
from converters.dataset.split import Split
from converters.preprocessing.windowing import Window

HOSTILE = "</script><script>document.title='owned'</script>"
CLASSES = ["cyst", HOSTILE]
WINDOW = Window(level=60, width=200)
CASES = ["a-case", f"<img src=x onerror=alert(1)> & {HOSTILE}"]
SIZE = (48, 64)  # rows, columns


def boxes(*rows: tuple[float, float, float, float, int, float]) -> Boxes:
    """Rows of x1, y1, x2, y2, class, score."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4].astype(np.int64), table[:, 5])


TRUTH = {
    # case, slice: true boxes
    (0, 3): boxes((10, 10, 20, 20, 0, 1)),
    (0, 4): boxes((10, 10, 22, 22, 0, 1), (40, 30, 44, 34, 1, 1)),
    (1, 2): boxes((5, 5, 35, 35, 1, 1)),
}
FOUND = {
    (0, 3): boxes((10, 10, 20, 20, 0, 0.4)),  # a hit
    (0, 4): boxes((11, 10, 22, 22, 0, 0.8), (11, 11, 21, 22, 0, 0.6)),  # a hit and a duplicate
    (0, 5): boxes((30, 5, 40, 15, 1, 0.9)),  # nothing there
    (0, 6): boxes((30, 6, 40, 15, 1, 0.7)),  # the same on the next slice
    (1, 2): boxes((5, 5, 35, 35, 1, 0.2)),  # a hit below the operating point
}
CONFIDENCE = 0.3
LESIONS = {(0, 3): [1], (0, 4): [1, 2], (1, 2): [1]}


def make_split(folder: Path, cases: list[str] = CASES, slices: int = 8) -> Split:
    """So many slices of each case, by case; the truth is `TRUTH`."""
    rng = np.random.default_rng(0)
    keys = [(case, z) for case in range(len(cases)) for z in range(slices)]
    paths = []
    for case, z in keys:
        path = folder / f"{case}_z{z:04d}.png"
        write_png(path, rng.integers(0, 256, SIZE, dtype=np.uint8))
        paths.append(path)
    return Split(
        name="test",
        paths=paths,
        image_ids=list(range(1, len(keys) + 1)),
        case_ids=[cases[case] for case, _ in keys],
        patient_ids=[cases[case] for case, _ in keys],
        slice_indices=[z for _, z in keys],
        sizes=[SIZE] * len(keys),
        planes=[1] * len(keys),
        synthetic=[False] * len(keys),
        **truth_of([TRUTH.get(key, Boxes.empty()) for key in keys], keys),
    )


def truth_of(truth: list[Boxes], keys: list[tuple[int, int]] | None = None) -> dict[str, Any]:
    """Fields of a split: lesions as in `LESIONS` for the keys, else not known."""
    lesions = [LESIONS.get(key, []) for key in keys] if keys else [[-1] * len(t) for t in truth]
    return {
        "truth": truth,
        "lesion_ids": [np.array(ids, np.int64) for ids in lesions],
        "diameters_mm": [np.full(len(t), np.nan) for t in truth],
        "areas": [np.full(len(t), np.nan) for t in truth],
    }


def make_detections(split: Split, cases: list[str] = CASES) -> list[Boxes]:
    keys = zip(split.case_ids, split.slice_indices, strict=True)
    return [FOUND.get((cases.index(case), z), Boxes.empty()) for case, z in keys]


LEVELS = {
    "operating_point": {"confidence": 0.3, "chosen": "frozen"},
    "bootstrap": {
        "unit": "patient", "patients": 2, "draws": 1000, "seed": 0, "level": 0.95,
        "kind": "percentile",
    },
    "intervals": {"map50": [0.123, 0.987], "f1": None},
    "by_diameter_mm": [
        {"from": 0, "to": 5, "boxes": 0, "recall_best": None, "recall_frozen": None, "ap50": None},
        {"from": 20, "to": None, "boxes": 3, "recall_best": 0.5, "recall_frozen": 0.4, "ap50": 0.3},
    ],
    "by_coco_area": {"small": {"boxes": 4, "ap50": 0.25, "ap50_95": 0.125}},
    "curves": {
        "pr": {"cyst": {"recall": [0, 0.5, 1], "precision": [1, 0.75, 0.25]}},
        "f1": {"cyst": {"confidence": [0, 0.5, 1], "f1": [0.25, 0.75, 0]}},
        "reliability": {
            "bins": [
                {"from": 0, "to": 0.5, "count": 4, "mean_confidence": 0.25, "precision": 0.5},
                {"from": 0.5, "to": 1, "count": 0, "mean_confidence": None, "precision": None},
            ],
            "ece": 0.08,
        },
    },
    "confusion": {
        "confidence": 0.3, "iou": 0.5, "labels": [*CLASSES, "background"],
        "matrix": [[2, 0, 0], [0, 0, 2], [1, 2, 0]],
    },
    "errors": {
        kind: {"count": 7, "count_at_point": 3, "ap50_gain": gain}
        for kind, gain in zip(
            ("classification", "localisation", "both", "duplicate", "background", "missed"),
            (0.0, 0.05, 0.1, 0.0, 0.2, 0.4), strict=True,
        )
    },
    "froc": {
        "hit_rule": "IoU >= 0.5", "second_hits": "false positive", "interpolation": "none",
        "image": {
            "false_positives": [0.5, 1, 2], "sensitivity": [0.2, 0.4, 0.6], "mean": 0.4,
            "curve": {"false_positives": [0, 0.5, 1, 2], "sensitivity": [0, 0.2, 0.4, 0.6]},
        },
        "scan": {
            "false_positives": [1, 2], "sensitivity": [0.2, 0.4], "mean": 0.3,
            "curve": {"false_positives": [], "sensitivity": []},
        },
    },
    "lesions": {
        "total": 3, "found": None, "sensitivity": None,
        "by_class": {"cyst": {"total": 1, "found": 1, "sensitivity": 1.0}},
        "by_diameter_mm": [{"from": 20, "to": None, "total": 3, "found": 1, "sensitivity": 0.33}],
        "froc_scan": {"false_positives": [1, 2], "sensitivity": [0.5, 0.75], "mean": 0.625},
    },
    "linked": {
        "rule": "3D IoU <of tubes>", "confidence": 0.3, "linking": {},
        "lesions": 3, "findings": 4, "hits": 2, "splits": 1, "merges": 0,
        "precision": 0.5, "recall": 2 / 3, "f1": 4 / 7, "average_precision": 0.611,
        "one_finding_per_box": {
            "lesions": 3, "findings": 0, "hits": 0, "splits": 0, "merges": 0,
            "precision": None, "recall": 0.0, "f1": 0.0, "average_precision": 0.0,
        },
        "greedy_stacking": {
            "lesions": 3, "findings": 1200, "hits": 1, "splits": 0, "merges": 2,
            "precision": 1 / 1200, "recall": 1 / 3, "f1": 0.002, "average_precision": 0.25,
        },
        "froc": {
            "false_positives": [1, 2], "sensitivity": [0.25, 0.5], "confidence": [0.6, 0.2],
            "mean": 0.375,
            "by_diameter_mm": [
                {"from": 0, "to": 20, "total": 0, "found": 0, "sensitivity": None},
                {"from": 20, "to": None, "total": 4, "found": 1, "sensitivity": 0.25},
            ],
        },
    },
    "cases": {
        "total": 2, "with_lesions": 2, "true_positives": 1, "false_positives": 0,
        "true_negatives": 0, "false_negatives": 1, "sensitivity": 0.5, "specificity": None,
        "auroc": None,
        "diagnosis": {
            "per_class": {
                "cyst": {"cases": 1, "accuracy": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0,
                         "auroc": None},
            },
            "macro": {"accuracy": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0, "auroc": None},
            "exact_match": 0.5,
        },
    },
    "conventions": {"errors": "as in TIDE <i>", "cases": "a case is a scan"},
}  # fmt: skip
