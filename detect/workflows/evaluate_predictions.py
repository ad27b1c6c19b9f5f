"""Score detections from elsewhere on a split of a dataset, as a model's are."""

from pathlib import Path

from converters.core.errors import InputError
from converters.dataset.folder import open_dataset
from converters.dataset.split import check_sides, load_split
from detect.detectors.card import OperatingPoint
from detect.detectors.operating_rule import parse_rule
from detect.evaluation.score_split import choose_point
from detect.external.predictions import read_predictions
from detect.workflows.write_evaluation import EvaluateResult, check_out, write_evaluation


def evaluate_predictions(
    predictions: Path,
    data: Path,
    *,
    split: str = "test",
    name: str | None = None,
    out: Path | None = None,
    labels: str | None = None,
    score: str | None = None,
    confidence: float | None = None,
    val_predictions: Path | None = None,
    operating_point: str | None = None,
    pictures: int = 12,
    overwrite: bool = False,
) -> EvaluateResult:
    """Score detections from elsewhere.

    The frozen operating point is `confidence`; or is chosen on `val_predictions`; or, for
    segmentations without either, takes in all that was segmented. Otherwise there is none.

    Args:
        predictions: COCO results, a folder of YOLO labels, or one with a label volume a case.
        data: dataset folder.
        split: train, val or test, which the predictions are of.
        name: of what made them; the name of the file or folder if not given.
        out: folder to make; `runs/NAME/evaluation-SPLIT` if not given.
        labels, score: see `read_predictions`.
        confidence: boxes from here on count, chosen on other data.
        val_predictions: of the same tool on val, in the same form.
        operating_point: how to choose the confidence on them, see `parse_rule`; None: best F1.
        pictures: how many slices with lesions to draw, spread over the cases.
        overwrite: replace what lies at `out`.

    Raises:
        InputError: the predictions are not of this dataset, or cannot be read.
    """
    if confidence is not None:
        if not 0 <= confidence <= 1:
            raise InputError("--confidence", f"{confidence} is no score", "use 0 to 1")
        if val_predictions is not None or operating_point is not None:
            raise InputError("--confidence", "is given, and so is how to choose one", "give one")
    if operating_point is not None and val_predictions is None:
        raise InputError(
            "--operating-point",
            "is chosen on val",
            "give the predictions for val, --val-predictions",
        )
    rule = parse_rule(operating_point or "f1")
    name = name or predictions.resolve().name.split(".")[0]
    out = out or Path("runs") / name / f"evaluation-{split}"
    check_out(out, overwrite)
    dataset = open_dataset(data)
    check_sides(dataset)
    classes = dataset.manifest.class_names
    part = load_split(dataset, split)
    found = read_predictions(predictions, dataset, part, labels=labels, score=score)
    notes = found.notes
    point: OperatingPoint | None = None
    if confidence is not None:
        point = OperatingPoint(confidence=confidence, rule="as given")
    elif val_predictions is not None:
        val = load_split(dataset, "val")
        of_val = read_predictions(val_predictions, dataset, val, labels=labels, score=score)
        point, note = choose_point(classes, val, of_val.detections, rule)
        notes += (note,) if note else ()
    elif found.score is not None:
        point = OperatingPoint(confidence=0, rule="all that was segmented")
    facts: dict[str, object] = {
        "fold": None,
        "predictions": {"name": name, "form": found.form, "score": found.score},
    }
    return write_evaluation(
        out,
        part,
        found.detections,
        classes,
        point,
        name=name,
        window=dataset.manifest.request.recipe.representation.shown_window,
        facts=facts,
        pictures=pictures,
        notes=notes,
    )
