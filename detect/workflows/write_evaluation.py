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
from converters.dataset.split import Split, split_to_coco
from converters.preprocessing.windowing import AnyWindow
from detect.detectors.card import OperatingPoint
from detect.evaluation.findings.score import LinkedLevel, linked_level
from detect.evaluation.metrics import Metrics
from detect.evaluation.score_split import score_levels
from detect.evaluation.study import Study
from detect.linking.linking import DEFAULT, Linking
from detect.report.evaluation_report import evaluation_report

PICTURE_CONFIDENCE = 0.25  # where the model has no operating point of its own


@dataclass(frozen=True)
class EvaluateResult:
    """What an evaluation gave.

    Attributes:
        metrics: the numbers of boxes.
        study: the numbers at all other levels, and intervals.
        linked: how well the boxes linked through slices are lesions; None without a point.
        folder: holds `metrics.json`, `predictions.json` (COCO results), `annotations.json` (the
            truth that they were scored on), `report.html` and `pictures/`.
        pictures: paths of the pictures.
        point: the frozen operating point; None if there is none.
        notes: what a reader of the numbers has to know, a line each.
    """

    metrics: Metrics
    study: Study
    linked: LinkedLevel | None
    folder: Path
    pictures: list[Path]
    point: OperatingPoint | None = None
    notes: tuple[str, ...] = ()


def check_out(out: Path, overwrite: bool) -> None:
    """Refuse to write where something lies that is not to be overwritten."""
    check_output(out, overwrite, "an evaluation", (out / "metrics.json").is_file())


def write_evaluation(
    out: Path,
    part: Split,
    detections: list[Boxes],
    classes: list[str],
    point: OperatingPoint | None,
    *,
    name: str,
    window: AnyWindow,
    facts: dict[str, object],
    pictures: int,
    linking: Linking = DEFAULT,
    notes: tuple[str, ...] = (),
) -> EvaluateResult:
    """Score detections, whoever made them, and write the folder of an evaluation as a whole.

    Args:
        out: folder to make.
        part: pictures and truth.
        detections: of each picture.
        classes: their names.
        point: frozen beforehand.
        name: of what made the detections.
        window: of the pictures.
        facts: for `metrics.json`: where the detections come from.
        pictures: how many to draw.
        linking: of boxes through slices.
        notes: what a reader of the numbers has to know, a line each.
    """
    metrics, study = score_levels(classes, part, detections, point)
    linked = linked_level(part, detections, point.confidence, linking) if point else None
    summary = {
        "split": part.name,
        **facts,
        "operating_point": point and point.model_dump(mode="json"),
        "notes": list(notes),
        **metrics.to_json(),
        **study.to_json(),
        "linked": linked and linked.to_json(),
    }
    results = detections_to_coco(detections, part.image_ids)
    confidence = point.confidence if point else PICTURE_CONFIDENCE
    with atomic_folder(out) as work:
        write_json(work / "metrics.json", summary)
        write_text(work / "predictions.json", json.dumps(results, allow_nan=False))
        truth = split_to_coco(part, classes)  # a fold's image ids are not those of the dataset
        write_text(work / "annotations.json", json.dumps(truth))
        report = evaluation_report(
            summary, part, detections, classes, confidence, name=name, window=window
        )
        write_text(work / "report.html", report)
        names = _draw(work / "pictures", part, detections, classes, confidence, pictures)
    shown = [out / "pictures" / name for name in names]
    return EvaluateResult(metrics, study, linked, out, shown, point, notes)


def _draw(
    folder: Path,
    split: Split,
    detections: list[Boxes],
    classes: list[str],
    confidence: float,
    limit: int,
) -> list[str]:
    """Draw the slice with the largest truth of each case first, then the next ones."""
    folder.mkdir(parents=True, exist_ok=True)
    by_case: dict[str, list[int]] = {}
    for k, truth in enumerate(split.truth):
        if len(truth):
            by_case.setdefault(split.case_ids[k], []).append(k)
    ranked = [
        (rank, case, k)
        for case, own in by_case.items()
        for rank, k in enumerate(sorted(own, key=lambda k: -_area(split.truth[k])))
    ]
    names = []
    for _, _, k in sorted(ranked)[:limit]:
        shown = detections[k][detections[k].score >= confidence]
        path = split.paths[k]
        write_png(folder / path.name, draw(read_png(path), shown, classes, split.truth[k]))
        names.append(path.name)
    return names


def _area(boxes: Boxes) -> float:
    return float(np.prod(boxes.xyxy[:, 2:] - boxes.xyxy[:, :2], axis=1).sum())
