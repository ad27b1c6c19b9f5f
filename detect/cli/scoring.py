"""Verbs that score: evaluate, compare."""

from pathlib import Path
from typing import Annotated, Any

import typer

from converters.core.errors import InputError
from detect.cli.options import RULES, Augment, Data, Device, Overwrite, Quiet, Runtime, Seed
from detect.cli.printing import print_metrics, show
from detect.detectors.operating_rule import parse_rule


def evaluate(
    data: Data,
    model: Annotated[
        list[Path] | None,
        typer.Option(help="Score this model of `detect train`; several as an ensemble."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Score COCO results, or a folder of YOLO labels or label volumes."),
    ] = None,
    split: Annotated[str, typer.Option(help="Score this split: train, val or test.")] = "test",
    out: Annotated[
        Path | None,
        typer.Option(help="Write to this folder [evaluation-SPLIT in MODEL or runs/NAME]."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name the tool that made --predictions [the file's name].")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Read label volumes as CLASS=NUMBER,… [as in the dataset]."),
    ] = None,
    box_score: Annotated[
        str | None,
        typer.Option(
            "--score",
            help="Score boxes of label volumes by mean or max probability, volume or constant"
            " [mean with probabilities, else constant].",
        ),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Count boxes of --predictions with this score or more.")
    ] = None,
    val_predictions: Annotated[
        Path | None, typer.Option(help="Choose the confidence on these predictions for val.")
    ] = None,
    operating_point: Annotated[
        str | None, typer.Option(help=f"Rule for the choice on --val-predictions: {RULES} [f1].")
    ] = None,
    pictures: Annotated[int, typer.Option(min=0, help="Draw this many slices with lesions.")] = 12,
    device: Device = "auto",
    runtime: Runtime = "torch",
    augment: Augment = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Score models or detections from elsewhere: boxes, FROC, lesions, scans, with intervals."""
    from detect.cli.levels_table import render_levels
    from detect.workflows.evaluate import evaluate as run
    from detect.workflows.evaluate_predictions import ExternalPredictions, evaluate_predictions

    rule = None if operating_point is None else parse_rule(operating_point)
    common: dict[str, Any] = {
        "split": split, "out": out, "pictures": pictures, "overwrite": overwrite,
    }  # fmt: skip
    of_predictions: dict[str, Any] = {
        "name": name, "labels": labels, "score": box_score, "confidence": confidence,
        "val_predictions": val_predictions, "operating_point": rule,
    }  # fmt: skip
    if predictions is not None and not model:
        result = evaluate_predictions(
            ExternalPredictions(predictions, **of_predictions), data, **common
        )
    elif model and predictions is None:
        for option, value in of_predictions.items():
            if value is not None:
                given = "--" + option.replace("_", "-")
                raise InputError(given, "is for --predictions", "leave it out")
        result = run(model, data, device=device, runtime=runtime, augment=augment, **common)
    else:
        raise InputError("--model, --predictions", "are alternatives", "give one of them")
    print_metrics(result.metrics, result.point, result.notes)
    level = result.linked
    numbers = (level.linked, level.froc) if level else ()
    show(render_levels(result.metrics, result.levels, *numbers))
    show(f"{result.folder}: report.html, metrics.json, {len(result.pictures)} pictures")
    return 0


def compare(
    first: Annotated[Path, typer.Argument(help="Folder of `detect evaluate`.")],
    second: Annotated[Path, typer.Argument(help="Another folder, scored on the same pictures.")],
    out: Annotated[
        Path | None, typer.Option(help="Write the comparison to this JSON file.")
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> int:
    """Compare two detectors on the same patients: difference, 95 % interval and p."""
    from detect.cli.comparison_table import render_comparison
    from detect.workflows.compare import compare as run

    show(render_comparison(run(first, second, out=out, seed=seed, overwrite=overwrite)))
    return 0
