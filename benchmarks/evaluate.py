"""Time the evaluator against pycocotools on one synthetic set: 3,000 images, 160,000 detections.

Run: ``python benchmarks/evaluate.py``. Prints both times, their ratio and the largest difference of
the average precisions. pycocotools is timed twice: as it comes (four area ranges, three maxDets),
and cut down to the one area range and maxDets that give mAP. Its index is built outside the clock;
ours starts from the boxes and includes precision, recall and F1, which pycocotools has not.
"""

import contextlib
import io
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detect.boxes import Boxes
from detect.evaluation.coco_results import detections_to_coco
from detect.evaluation.metrics import evaluate

IMAGES, DETECTIONS, SIDE = 3_000, 160_000, 512
CLASSES = ("hcc", "metastasis", "cyst", "hemangioma")
REPEATS = 3
T = TypeVar("T")


def synthetic(seed: int) -> tuple[list[Boxes], list[Boxes]]:
    """True boxes, 0 to 6 an image, and detections: a few near each of them, the rest anywhere."""
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
    """The same boxes as pycocotools holds them."""
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
    """pycocotools' precision at area "all" and maxDets 100: (T, 101, classes)."""
    evaluation = COCOeval(ground_truth, results, "bbox")
    if not all_settings:
        evaluation.params.areaRng = evaluation.params.areaRng[:1]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.maxDets = [100]
    evaluation.evaluate()
    evaluation.accumulate()
    precision: np.ndarray = evaluation.eval["precision"][:, :, :, 0, -1]
    return precision


def timed(function: Callable[[], T], repeats: int) -> tuple[float, T]:
    """Best of some runs, in seconds, and the last result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def main() -> None:
    """Print the comparison."""
    truth, detections = synthetic(seed=0)
    ours, metrics = timed(lambda: evaluate(truth, detections, CLASSES, 0.5), REPEATS)
    with contextlib.redirect_stdout(io.StringIO()):
        pair = coco_pair(truth, detections)
        cut, precision = timed(lambda: coco_precision(*pair, all_settings=False), 1)
        default, _ = timed(lambda: coco_precision(*pair, all_settings=True), 1)

    by_class = precision.mean(axis=1)  # (T, classes)
    reference = [precision.mean(), by_class[0].mean(), *by_class.mean(axis=0), *by_class[0]]
    values = [metrics.map50_95, metrics.map50]
    values += [one.ap50_95 for one in metrics.per_class] + [one.ap50 for one in metrics.per_class]
    difference = np.abs(np.array(values) - np.array(reference)).max()

    print(f"{metrics.images} images, {metrics.boxes} boxes, {metrics.detections} detections")
    print(f"ours                            {ours:8.3f} s   mAP50 {metrics.map50:.6f}")
    print(f"pycocotools, one area, maxDets  {cut:8.3f} s   ratio {cut / ours:.1f}")
    print(f"pycocotools as it comes         {default:8.3f} s   ratio {default / ours:.1f}")
    print(f"largest difference of mAP50, mAP50-95 and the APs of each class: {difference:.1e}")


if __name__ == "__main__":
    main()
