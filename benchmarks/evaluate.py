"""Time the evaluator against pycocotools on one synthetic set: 3,000 images, 160,000 detections.

Run: ``python benchmarks/evaluate.py``. Prints the times, their ratio, the largest difference of the
average precisions, and what each part of a whole evaluation takes: 150 patients, 1,000 draws.
pycocotools is timed twice: cut down to the one area range and maxDets that give mAP, against our
box table; and as it comes (four area ranges, three maxDets), against the box table with the area
ranges. Its index is built outside the clock; ours starts from the boxes and includes precision,
recall and F1, which pycocotools has not.
"""

import argparse
import contextlib
import io
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from converters.core.boxes import Boxes
from converters.dataset.coco import detections_to_coco
from converters.dataset.provenance import Origins
from detect.evaluation.bootstrap import bootstrap_patients
from detect.evaluation.bootstrap_levels import bootstrap_levels
from detect.evaluation.cases import case_level, case_table
from detect.evaluation.confusion import confusion
from detect.evaluation.curves import curves
from detect.evaluation.error_split import error_split
from detect.evaluation.froc import hit_rules
from detect.evaluation.lesion_table import find_lesions
from detect.evaluation.lesions import lesion_level
from detect.evaluation.levels import measure_levels
from detect.evaluation.matching import match
from detect.evaluation.metrics import Metrics, evaluate, measure
from detect.evaluation.operating_point import IOU
from detect.evaluation.overlaps import ANY_OVERLAP, find_overlaps
from detect.evaluation.sizes import AreaRow, area_of, by_coco_area, by_diameter

IMAGES, DETECTIONS, SIDE, PATIENTS = 3_000, 160_000, 512, 150
CONFIDENCE = 0.5
CLASSES = ("hcc", "metastasis", "cyst", "hemangioma")
REPEATS = 3
T = TypeVar("T")


def synthetic(seed: int) -> tuple[list[Boxes], list[Boxes]]:
    """Draw 0 to 6 true boxes an image, a few detections near each of them, and others anywhere."""
    rng = np.random.default_rng(seed)

    def anywhere(n: int) -> tuple[np.ndarray, np.ndarray]:
        corner = rng.uniform(0, SIDE - 100, (n, 2))
        return np.hstack([corner, corner + rng.uniform(6, 90, (n, 2))]), rng.integers(0, 4, n)

    truth, detections = [], []
    for count in np.bincount(rng.integers(0, IMAGES, DETECTIONS), minlength=IMAGES).tolist():
        xyxy, label = anywhere(int(rng.integers(0, 7)))
        truth.append(Boxes(xyxy.round(), label, np.ones(len(label))))
        near = rng.integers(0, len(label), count // 4) if len(label) else np.zeros(0, np.int64)
        shifted = xyxy[near] + rng.normal(0, 4, (len(near), 4))
        other, other_label = anywhere(count - len(near))
        score = np.concatenate([rng.beta(3, 2, len(near)), rng.beta(1, 4, len(other))])
        boxes = np.concatenate([shifted, other])
        ordered = np.hstack([boxes[:, :2], np.maximum(boxes[:, :2] + 1, boxes[:, 2:])])
        detections.append(Boxes(ordered, np.concatenate([label[near], other_label]), score))
    return truth, detections


def coco_pair(truth: list[Boxes], detections: list[Boxes]) -> tuple[COCO, COCO]:
    """Return the same boxes as two COCO objects of pycocotools."""
    ids = list(range(1, len(truth) + 1))
    annotations: list[dict[str, Any]] = [
        {
            "id": index,
            "image_id": entry["image_id"],
            "category_id": entry["category_id"],
            "bbox": entry["bbox"],
            "area": entry["bbox"][2] * entry["bbox"][3],
            "iscrowd": 0,
        }
        for index, entry in enumerate(detections_to_coco(truth, ids), start=1)
    ]
    ground_truth = COCO()
    ground_truth.dataset = {
        "images": [{"id": image_id} for image_id in ids],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)],
        "annotations": annotations,
    }
    ground_truth.createIndex()
    return ground_truth, ground_truth.loadRes(detections_to_coco(detections, ids))


def coco_precision(ground_truth: COCO, results: COCO, all_settings: bool) -> np.ndarray:
    """Return pycocotools' precision at maxDets 100: (T, 101, classes, area ranges)."""
    evaluation = COCOeval(ground_truth, results, "bbox")
    if not all_settings:
        evaluation.params.areaRng = evaluation.params.areaRng[:1]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.maxDets = [100]
    evaluation.evaluate()
    evaluation.accumulate()
    precision: np.ndarray = evaluation.eval["precision"][:, :, :, :, -1]
    return precision


def timed(function: Callable[[], T], repeats: int) -> tuple[float, T]:
    """Return the shortest of some runs, in seconds, and the last result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def origins_of(truth: list[Boxes]) -> Origins:
    """Make scans of twenty images, one a patient; every tenth has no lesion."""
    scan = [f"scan{k // (IMAGES // PATIENTS):03d}" for k in range(IMAGES)]
    areas = [area_of(boxes.xyxy) for boxes in truth]
    return Origins(scan, scan, [boxes.label for boxes in truth], [a**0.5 / 2 for a in areas], areas)


def coco_numbers(
    truth: list[Boxes], detections: list[Boxes], origins: Origins
) -> tuple[Metrics, dict[str, AreaRow]]:
    """Return pycocotools' mAP of all boxes and of its three area ranges."""
    matches = match(truth, detections, len(CLASSES))
    group, truth_group = (
        image * len(CLASSES) + label
        for image, label in (
            (matches.image, matches.label),
            (matches.truth_image, matches.truth_label),
        )
    )
    pairs = find_overlaps(
        matches.xyxy, group, matches.truth_xyxy, truth_group, IMAGES * len(CLASSES), IOU
    )
    rows = by_coco_area(matches, pairs, np.concatenate(origins.area))
    return measure(matches, CLASSES, CONFIDENCE), dict(rows)


def print_parts(truth: list[Boxes], detections: list[Boxes], origins: Origins) -> None:
    """Time each part of an evaluation by itself, and the whole."""
    matches = match(truth, detections, len(CLASSES))
    metrics = measure(matches, CLASSES, CONFIDENCE)
    pairs = find_overlaps(
        matches.xyxy, matches.image, matches.truth_xyxy, matches.truth_image, IMAGES, ANY_OVERLAP
    )
    lesions, table = find_lesions(matches, origins), case_table(matches, origins)
    hits = hit_rules(matches, pairs)[0]
    false, diameters = matches.score[hits.false], lesions.diameter_mm[lesions.of_box]
    level = (hits, lesions, table, CONFIDENCE)
    parts: dict[str, Callable[[], object]] = {
        "matching": lambda: match(truth, detections, len(CLASSES)),
        "P, R, F1, mAP": lambda: measure(matches, CLASSES, CONFIDENCE),
        "pairs of any overlap": lambda: find_overlaps(
            matches.xyxy, matches.image, matches.truth_xyxy, matches.truth_image, IMAGES,
            ANY_OVERLAP,
        ),
        "by diameter": lambda: by_diameter(matches, diameters, 0.5, CONFIDENCE),
        "curves": lambda: curves(matches, CLASSES),
        "confusion matrix": lambda: confusion(matches, pairs, CONFIDENCE),
        "kinds of error": lambda: error_split(matches, pairs, CONFIDENCE),
        "three hit rules": lambda: hit_rules(matches, pairs),
        "lesions": lambda: lesion_level(lesions, hits, false, PATIENTS, CLASSES, CONFIDENCE),
        "cases": lambda: case_level(table, CLASSES, CONFIDENCE),
        "1,000 draws, boxes": lambda: bootstrap_patients(matches, origins.patient, CONFIDENCE),
        "1,000 draws, levels": lambda: bootstrap_levels(matches, origins.patient, *level),
        "all levels": lambda: measure_levels(matches, metrics, origins),
    }  # fmt: skip
    print(f"parts of a whole evaluation, {PATIENTS} patients:")
    for name, part in parts.items():
        print(f"  {name:29} {timed(part, 1)[0]:8.3f} s")


def main() -> None:
    """Print the comparison."""
    argparse.ArgumentParser(description="Time the evaluator.").parse_args()
    truth, detections = synthetic(seed=0)
    for k in range(0, IMAGES, 10 * IMAGES // PATIENTS):
        for j in range(k, k + IMAGES // PATIENTS):
            truth[j] = Boxes.empty()
    origins = origins_of(truth)
    ours, metrics = timed(lambda: evaluate(truth, detections, CLASSES, CONFIDENCE), REPEATS)
    ours_all, (_, rows) = timed(lambda: coco_numbers(truth, detections, origins), REPEATS)
    with contextlib.redirect_stdout(io.StringIO()):
        pair = coco_pair(truth, detections)
        cut, precision = timed(lambda: coco_precision(*pair, all_settings=False), 1)
        default, by_area = timed(lambda: coco_precision(*pair, all_settings=True), 1)

    by_class = precision[..., 0].mean(axis=1)  # (T, classes)
    reference = [precision.mean(), by_class[0].mean(), *by_class.mean(axis=0), *by_class[0]]
    values = [metrics.map50_95, metrics.map50]
    values += [scores.ap50_95 for scores in metrics.per_class] + [
        scores.ap50 for scores in metrics.per_class
    ]
    for k, row in enumerate(rows.values(), start=1):
        if row.boxes:
            values += [row.ap50_95, row.ap50]
            reference += [by_area[..., k].mean(), by_area[0, ..., k].mean()]
    difference = np.abs(np.array(values) - np.array(reference)).max()

    print(f"{metrics.images} images, {metrics.boxes} boxes, {metrics.detections} detections")
    print(f"ours, box table                 {ours:8.3f} s   mAP50 {metrics.map50:.6f}")
    print(f"pycocotools, one area, maxDets  {cut:8.3f} s   ratio {cut / ours:.1f}")
    print(f"ours, with the area ranges      {ours_all:8.3f} s")
    print(f"pycocotools as it comes         {default:8.3f} s   ratio {default / ours_all:.1f}")
    print(f"largest difference of mAP50, mAP50-95, by class and by area: {difference:.1e}")
    print_parts(truth, detections, origins)


if __name__ == "__main__":
    main()
