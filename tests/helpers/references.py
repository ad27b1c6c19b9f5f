"""The same detections scored by pycocotools and by ultralytics."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from converters.core.boxes import Boxes


class CocoReference(NamedTuple):
    ap: NDArray[np.float64]  # (num_classes, 10), NaN without truth
    map50: float
    map50_95: float


def coco_dataset(truth: Sequence[Boxes], num_classes: int) -> dict[str, Any]:
    """A COCO annotation file; image ids from 1. Written apart from the code under test."""
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(truth, start=1):
        for (x1, y1, x2, y2), label in zip(image.xyxy.tolist(), image.label.tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": label + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    return {
        "images": [{"id": image_id} for image_id in range(1, len(truth) + 1)],
        "categories": [{"id": c, "name": f"class {c}"} for c in range(1, num_classes + 1)],
        "annotations": annotations,
    }


def run_cocoeval(ground_truth: COCO, results: COCO) -> CocoReference:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(ground_truth, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # area "all", maxDets 100
    ap = np.where(precision < 0, np.nan, precision).mean(axis=1).T
    map50_95, map50 = (np.nan if x == -1 else float(x) for x in evaluation.stats[:2])
    return CocoReference(ap, map50, map50_95)


def coco_reference(
    truth: Sequence[Boxes], detections: Sequence[Boxes], num_classes: int
) -> CocoReference:
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO()
        ground_truth.dataset = coco_dataset(truth, num_classes)
        ground_truth.createIndex()
        annotations = coco_dataset(detections, num_classes)["annotations"]
        for entry, score in zip(
            annotations, np.concatenate([d.score for d in detections]), strict=True
        ):
            entry["score"] = float(score)
        # not loadRes: it fails on an empty list
        results = COCO()
        results.dataset = {**ground_truth.dataset, "annotations": annotations}
        results.createIndex()
    return run_cocoeval(ground_truth, results)


class UltralyticsReference(NamedTuple):
    precision: float
    recall: float
    f1: float
    confidence: float
    map50: float
    per_class: dict[int, tuple[float, float, float]]  # precision, recall, F1


def ultralytics_reference(
    truth: Sequence[Boxes], detections: Sequence[Boxes], num_classes: int
) -> UltralyticsReference:
    """Score with the matching and the metrics of ultralytics' validator.

    Import happens here: the fixture ``ultralytics_offline`` must come first.
    """
    import torch
    from ultralytics.models.yolo.detect import DetectionValidator
    from ultralytics.utils.metrics import DetMetrics, smooth

    validator = DetectionValidator.__new__(DetectionValidator)  # only its matching is wanted
    validator.iouv = torch.linspace(0.5, 0.95, 10)
    validator.niou = 10
    metrics = DetMetrics(names={c: str(c) for c in range(num_classes)})
    for true, detected in zip(truth, detections, strict=True):
        detected = detected[
            np.argsort(-detected.score)
        ]  # non-maximum suppression hands them over so
        true_classes, classes = torch.from_numpy(true.label), torch.from_numpy(detected.label)
        prediction = {"cls": classes, "bboxes": torch.from_numpy(detected.xyxy).float()}
        batch = {"cls": true_classes, "bboxes": torch.from_numpy(true.xyxy).float()}
        metrics.update_stats(
            {
                **validator._process_batch(prediction, batch),
                "target_cls": true.label,
                "target_img": np.unique(true.label),
                "conf": detected.score.astype(np.float32),
                "pred_cls": detected.label,
                "im_name": "",
            }
        )
    metrics.process()
    box = metrics.box
    rates = zip(box.ap_class_index.tolist(), box.p, box.r, box.f1, strict=True)
    return UltralyticsReference(
        precision=float(box.mp),
        recall=float(box.mr),
        f1=float(np.mean(box.f1)),
        confidence=float(box.px[smooth(box.f1_curve.mean(0), 0.1).argmax()]),
        map50=float(box.map50),
        per_class={label: (float(p), float(r), float(f)) for label, p, r, f in rates},
    )


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def average_precision(entries: list[tuple[float, int, bool]], total: int) -> float:
    hits = [hit for _, rank, hit in entries if rank < 100]
    # recall and precision after each detection
    points = [(sum(hits[:n]) / total, sum(hits[:n]) / n) for n in range(1, len(hits) + 1)]
    # COCO's recalls as doubles: 70 * 0.01 lies above 0.7, so a recall of 7/10 does not reach it
    recalls = [step * 0.01 for step in range(101)]
    at_recall = [max((p for r, p in points if r >= recall), default=0.0) for recall in recalls]
    return sum(at_recall) / 101
