"""Score a trained model on a split of a dataset."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.conversion.case import write_png
from converters.core.boxes import Boxes
from converters.core.drawing import draw
from converters.core.errors import InputError
from converters.core.files import write_json, write_text
from converters.dataset.coco import detections_to_coco
from converters.dataset.folder import Dataset, open_dataset, read_png
from converters.dataset.folds import fold_splits, split_to_coco
from converters.dataset.manifest import FILE_NAME as MANIFEST
from converters.dataset.split import Split, check_sides, load_split
from converters.dataset.stratify import SPLITS
from converters.preprocessing.windowing import AnyWindow
from detect.detectors.card import ModelCard, ModelSpec, OperatingPoint, sha256
from detect.evaluation.findings.score import LinkedLevel, linked_level
from detect.evaluation.metrics import Metrics
from detect.evaluation.score_split import detect_split, score_levels
from detect.evaluation.study import Study
from detect.inference.model_set import FUSION, MEAN_RULE, UsedModels, load_models, use_models
from detect.inference.tta import VIEWS
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


def evaluate(
    model: Path | Sequence[Path],
    data: Path,
    *,
    split: str = "test",
    out: Path | None = None,
    device: str = "auto",
    runtime: str = "torch",
    augment: bool = False,
    pictures: int = 12,
    overwrite: bool = False,
    quiet: bool = False,
) -> EvaluateResult:
    """Score a model, or several whose boxes are fused as `predict` does, on a split.

    A model of a cross-validation is scored on its own fold's split, and on no other dataset: which
    patients it was trained on is known there only.

    Args:
        model: bundle of `detect train`, or several.
        data: dataset folder, of the same classes and input representation as the model's.
        split: train, val or test.
        out: folder to make; `MODEL/evaluation-SPLIT` if not given, or for a runtime other than
            torch `MODEL/evaluation-SPLIT-RUNTIME`. An ensemble has `runs/NAMES-HASH` for MODEL.
            With `augment`, `-augment` stands at the end.
        device: `auto`, `cpu`, or a GPU's number.
        runtime: torch, or an export of `detect export`.
        augment: fuse what is found on each picture, on its mirror image and with a margin.
        pictures: how many slices with lesions to draw, spread over the cases.
        overwrite: replace what lies at `out`.
        quiet: no progress bar.

    Raises:
        InputError: the model does not suit the dataset, one of them cannot be read, or a patient
            is in two splits.
    """
    used = use_models(
        [model] if isinstance(model, Path) else model, runtime=runtime, augment=augment
    )
    dataset = open_dataset(data)
    part = common_part(used, dataset, split)
    home = used.bundles[0] if len(used.bundles) == 1 else Path("runs") / used.folder_name
    how = ("" if runtime == "torch" else f"-{runtime}") + ("-augment" if augment else "")
    out = out or home / f"evaluation-{split}{how}"
    check_out(out, overwrite)

    detections = detect_split(load_models(used, device), part, quiet)
    card = used.card
    facts: dict[str, object] = {
        "fold": str(card.fold) if card.fold else None,
        "runtime": runtime,
        **({"augment": VIEWS} if augment else {}),
        "model": card.model_dump(mode="json", by_alias=True),
    }
    if len(used.cards) > 1:
        facts["fusion"] = FUSION
        facts["members"] = [one.model_dump(mode="json", by_alias=True) for one in used.cards]
    return write_evaluation(
        out,
        part,
        detections,
        card.spec.classes,
        used.point,
        name=card.spec.model,
        window=card.spec.shown_window,
        facts=facts,
        pictures=pictures,
        linking=used.linking,
        notes=_notes(used, dataset),
    )


def _notes(used: UsedModels, dataset: Dataset) -> tuple[str, ...]:
    """What a reader of an ensemble's numbers has to know."""
    if len(used.cards) == 1:
        return ()
    notes = []
    if used.point is None or used.point.rule == MEAN_RULE:
        notes.append(
            "no confidence was chosen for these models as one: `detect operating-point RULE` with"
            " the same --model options does, on val"
        )
    known = sha256(dataset.folder / MANIFEST)
    for bundle, card in zip(used.bundles, used.cards, strict=True):
        if card.dataset_sha256 != known:
            notes.append(
                f"{bundle.name} was trained on another dataset; these patients may be in it"
            )
    return tuple(notes)


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


def common_part(used: UsedModels, dataset: Dataset, split: str) -> Split:
    """Read a split that suits all of the models; see `part_of`.

    Raises:
        InputError: a model does not suit the dataset, its patients are on two sides, or members of
            an ensemble were trained on other parts of it: what one is tested on, another may know.
    """
    first = used.cards[0]
    for bundle, card in zip(used.bundles, used.cards, strict=True):
        check_suits(card.spec, dataset, bundle)
        if card.fold != first.fold:
            folds = (f"fold {one.fold}" if one.fold else "no fold" for one in (card, first))
            raise InputError(
                bundle,
                f"was trained on {next(folds)}, but {used.bundles[0].name} on {next(folds)}, so one"
                " may know the patients that the other is scored on",
                "take models of the same fold",
            )
        if card.fold:
            _check_own_dataset(card, dataset, bundle)
    check_sides(dataset)
    return part_of(first, dataset, split, used.bundles[0])


def part_of(card: ModelCard, dataset: Dataset, split: str, model: Path) -> Split:
    """Read a split of a dataset, of a model's own fold where it was trained on one.

    Raises:
        InputError: no such split, or a dataset whose patients the model may have been trained on.
    """
    if card.fold is None:
        return load_split(dataset, split)
    _check_own_dataset(card, dataset, model)
    if split not in SPLITS:
        raise InputError("--split", f"`{split}` is no split", f"use {', '.join(SPLITS)}")
    return fold_splits(dataset, card.fold)[split]


def _check_own_dataset(card: ModelCard, dataset: Dataset, model: Path) -> None:
    if sha256(dataset.folder / MANIFEST) != card.dataset_sha256:
        raise InputError(
            dataset.folder,
            f"is not the dataset that {model.name} was trained on a fold of, so it may hold"
            " patients that it was trained on",
            "score it on its own dataset, or train without folds",
        )


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
