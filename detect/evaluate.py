"""Score a trained model on a split of a dataset."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.atomic import write_json, write_text
from converters.case import write_png
from converters.dataset import Dataset, open_dataset, read_png
from converters.errors import InputError
from converters.manifest import FILE_NAME as MANIFEST
from converters.split import SPLITS
from converters.windowing import AnyWindow
from detect.boxes import Boxes
from detect.dataset import Split, check_sides, load_split
from detect.evaluation.coco_results import detections_to_coco
from detect.evaluation.metrics import Metrics
from detect.evaluation.study import Study
from detect.exports import load_predictor
from detect.folds import fold_splits, split_to_coco
from detect.inference.linking import DEFAULT, Linking
from detect.linked_level import LinkedLevel, linked_level
from detect.model_card import FILE_NAME as MODEL_CARD
from detect.model_card import ModelCard, ModelSpec, OperatingPoint, read_model_card, sha256
from detect.pictures import draw
from detect.report.evaluation_report import evaluation_report
from detect.scoring import detect_split, score_levels

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


def evaluate(
    model: Path,
    data: Path,
    *,
    split: str = "test",
    out: Path | None = None,
    device: str = "auto",
    runtime: str = "torch",
    pictures: int = 12,
    overwrite: bool = False,
    quiet: bool = False,
) -> EvaluateResult:
    """Score a model on a split.

    A model of a cross-validation is scored on its own fold's split, and on no other dataset: which
    patients it was trained on is known there only.

    Args:
        model: bundle of `detect train`.
        data: dataset folder, of the same classes and input representation as the model's.
        split: train, val or test.
        out: folder to make; `MODEL/evaluation-SPLIT` if not given, or for a runtime other than
            torch `MODEL/evaluation-SPLIT-RUNTIME`.
        device: `auto`, `cpu`, or a GPU's number.
        runtime: torch, or an export of `detect export`.
        pictures: how many slices with lesions to draw, spread over the cases.
        overwrite: replace what lies at `out`.
        quiet: no progress bar.

    Raises:
        InputError: the model does not suit the dataset, one of them cannot be read, or a patient
            is in two splits.
    """
    card = read_model_card(model)
    dataset = open_dataset(data)
    check_suits(card.spec, dataset, model)
    check_sides(dataset)
    part = part_of(card, dataset, split, model)
    out = out or model / f"evaluation-{split}{'' if runtime == 'torch' else f'-{runtime}'}"
    check_out(out, overwrite)

    detector = load_predictor(model, device, runtime)
    detections = detect_split(detector, part, quiet)
    facts = {
        "fold": str(card.fold) if card.fold else None,
        "runtime": runtime,
        "model": json.loads((model / MODEL_CARD).read_bytes()),
    }
    return write_evaluation(
        out,
        part,
        detections,
        card.spec.classes,
        card.operating_point,
        name=card.spec.model,
        window=card.spec.shown_window,
        facts=facts,
        pictures=pictures,
        linking=card.linking,
    )


def check_out(out: Path, overwrite: bool) -> None:
    """Refuse to write where something lies that is not to be overwritten."""
    if out.exists() and not (overwrite and (out / "metrics.json").is_file()):
        raise InputError(out, "exists", "give another --out, or --overwrite an evaluation")


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
    work = out.with_name(f"{out.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    try:
        write_json(work / "metrics.json", summary)
        write_text(work / "predictions.json", json.dumps(results, allow_nan=False))
        truth = split_to_coco(part, classes)  # a fold's image ids are not those of the dataset
        write_text(work / "annotations.json", json.dumps(truth))
        report = evaluation_report(
            summary, part, detections, classes, confidence, name=name, window=window
        )
        write_text(work / "report.html", report)
        names = _draw(work / "pictures", part, detections, classes, confidence, pictures)
        if out.exists():
            shutil.rmtree(out)
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    shown = [out / "pictures" / name for name in names]
    return EvaluateResult(metrics, study, linked, out, shown, point, notes)


def part_of(card: ModelCard, dataset: Dataset, split: str, model: Path) -> Split:
    """Read a split of a dataset, of a model's own fold where it was trained on one.

    Raises:
        InputError: no such split, or a dataset whose patients the model may have been trained on.
    """
    if card.fold is None:
        return load_split(dataset, split)
    if sha256(dataset.folder / MANIFEST) != card.dataset_sha256:
        raise InputError(
            dataset.folder,
            f"is not the dataset that {model.name} was trained on a fold of, so it may hold"
            " patients that it was trained on",
            "score it on its own dataset, or train without folds",
        )
    if split not in SPLITS:
        raise InputError("--split", f"`{split}` is no split", f"use {', '.join(SPLITS)}")
    return fold_splits(dataset, card.fold)[split]


def check_suits(spec: ModelSpec, dataset: Dataset, model: Path) -> None:
    """Refuse a dataset that a model cannot be scored on.

    Raises:
        InputError: other classes, or pictures that were made in another way.
    """
    recipe = dataset.manifest.request.recipe
    made = [(name, value, getattr(recipe, name)) for name, value in spec.representation]
    for what, own, theirs in (("classes", spec.classes, recipe.class_names), *made):
        if own != theirs:
            raise InputError(
                dataset.folder,
                f"has {what} {theirs}, but the model {model.name} was trained with {own}",
                "convert the scans with the model's recipe, or train on this dataset",
            )


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
