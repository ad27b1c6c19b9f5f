"""Write the folder of an evaluation: numbers, pictures and report."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.core.boxes import Boxes
from converters.core.drawing import draw
from converters.core.files import write_json, write_text
from converters.core.images import write_png
from converters.core.output_folder import atomic_folder, check_output
from converters.dataset.coco import detections_to_coco
from converters.dataset.folder import read_png
from converters.dataset.split import split_to_coco
from detect.detectors.card import OperatingPoint
from detect.evaluation.detected import Detected
from detect.evaluation.findings.score import LinkedLevel, linked_level
from detect.evaluation.levels import Levels, measure_levels
from detect.evaluation.matching import Matches
from detect.evaluation.metrics import Metrics, measure
from detect.report.evaluation_report import evaluation_report


@dataclass(frozen=True)
class EvaluateResult:
    """The numbers of an evaluation, and the folder that holds them.

    Attributes:
        matches: the detections, and the true box that each one hits.
        metrics: the numbers of boxes.
        levels: the numbers of sizes, lesions and cases, and intervals.
        linked: how well the boxes linked through slices are lesions; None without a point.
        folder: holds `metrics.json`, `predictions.json` (COCO results), `annotations.json` (the
            truth that they were scored on), `report.html` and `pictures/`.
        pictures: paths of the pictures.
        point: the frozen operating point; None if there is none.
        notes: what a reader of the numbers has to know, a line each.
    """

    matches: Matches
    metrics: Metrics
    levels: Levels
    linked: LinkedLevel | None
    folder: Path
    pictures: list[Path]
    point: OperatingPoint | None = None
    notes: tuple[str, ...] = ()


def check_out(out: Path, overwrite: bool) -> None:
    """Refuse to write where something lies that is not to be overwritten."""
    check_output(out, overwrite, "an evaluation", (out / "metrics.json").is_file())


def write_evaluation(out: Path, detected: Detected, pictures: int) -> EvaluateResult:
    """Score detections and write the folder of an evaluation as a whole.

    Args:
        out: folder to make.
        detected: detections on a split.
        pictures: how many slices with lesions to draw, spread over the cases.
    """
    split, point, matches = detected.split, detected.point, detected.matches
    metrics = measure(matches, detected.classes, detected.frozen_confidence)
    levels = measure_levels(matches, metrics, split.origins)
    linked = None
    if point:
        linked = linked_level(split, detected.boxes, point.confidence, detected.linking)
    summary = {
        "split": split.name,
        **detected.facts,
        "operating_point": point and point.model_dump(mode="json"),
        "notes": list(detected.notes),
        **metrics.to_json(),
        **levels.to_json(),
        "linked": linked and linked.to_json(),
    }
    results = detections_to_coco(detected.boxes, split.image_ids)
    with atomic_folder(out) as work:
        write_json(work / "metrics.json", summary)
        write_text(work / "predictions.json", json.dumps(results, allow_nan=False))
        # a fold's image ids are not those of the dataset
        truth = split_to_coco(split, detected.classes)
        write_text(work / "annotations.json", json.dumps(truth))
        write_text(work / "report.html", evaluation_report(summary, detected))
        names = _draw(work / "pictures", detected, pictures)
    shown = [out / "pictures" / name for name in names]
    return EvaluateResult(matches, metrics, levels, linked, out, shown, point, detected.notes)


def _draw(folder: Path, detected: Detected, limit: int) -> list[str]:
    """Draw the slice with the largest truth of each case first, then the next ones."""
    folder.mkdir(parents=True, exist_ok=True)
    split = detected.split
    by_case: dict[str, list[int]] = {}
    for k, truth in enumerate(split.truth):
        if len(truth):
            by_case.setdefault(split.case_ids[k], []).append(k)
    ranked = [
        (rank, case, k)
        for case, slices in by_case.items()
        for rank, k in enumerate(sorted(slices, key=lambda k: -_area(split.truth[k])))
    ]
    names = []
    for _, _, k in sorted(ranked)[:limit]:
        boxes, path = detected.boxes[k], split.paths[k]
        shown = boxes[boxes.score >= detected.shown_confidence]
        image = draw(read_png(path), shown, list(detected.classes), split.truth[k])
        write_png(folder / path.name, image)
        names.append(path.name)
    return names


def _area(boxes: Boxes) -> float:
    return float(np.prod(boxes.xyxy[:, 2:] - boxes.xyxy[:, :2], axis=1).sum())
