"""Verbs on new scans, and the walk through all of it: predict, demo."""

from pathlib import Path
from typing import Annotated

import typer

from detect.commands.options import (
    Augment,
    Device,
    Out,
    Overwrite,
    Quiet,
    Runtime,
    Scheduler,
    Workers,
)
from detect.commands.printing import list_errors, list_warnings, print_lesions, show


def predict(
    scans: Annotated[list[Path], typer.Argument(help="Scan files, DICOM folders, or folders.")],
    model: Annotated[
        list[Path], typer.Option(help="Model folder of `detect train`; several are an ensemble.")
    ],
    out: Out,
    confidence: Annotated[
        float | None, typer.Option(help="Report boxes from here [the model's operating point].")
    ] = None,
    dicom_sr: Annotated[
        bool, typer.Option("--dicom-sr", help="Write a DICOM SR of a series; it names the patient.")
    ] = False,
    dicom_seg: Annotated[
        bool, typer.Option("--dicom-seg", help="And a DICOM SEG of the boxes; so does it.")
    ] = False,
    keep_identifiers: Annotated[
        bool,
        typer.Option("--keep-identifiers", help="Name DICOM cases by their folders, not a hash."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse scans unlike those the model was trained on.")
    ] = False,
    device: Device = "auto",
    runtime: Runtime = "torch",
    augment: Augment = False,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Find lesions in new scans and place them in patient space."""
    from detect.predict import predict as run

    result = run(
        model,
        scans,
        out=out,
        confidence=confidence,
        dicom_sr=dicom_sr,
        dicom_seg=dicom_seg,
        keep_identifiers=keep_identifiers,
        strict=strict,
        device=device,
        runtime=runtime,
        augment=augment,
        workers=workers,
        scheduler=scheduler,
        overwrite=overwrite,
        quiet=quiet,
    )
    print_lesions(result)
    list_warnings(result)
    return list_errors(result.errors)


def demo(
    out: Out = Path("demo"),
    device: Device = "auto",
    workers: Workers = 2,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Walk the whole path on a built-in phantom: convert, train, evaluate, predict."""
    from detect.demo import demo as run
    from detect.evaluation.table import render_table

    result = run(out, device=device, workers=workers, overwrite=overwrite, quiet=quiet)
    show("Phantom patients that were not trained on:")
    show(render_table(result.evaluation.metrics))
    show("Pictures (truth green, predictions with class and score):")
    for picture in result.evaluation.pictures:
        show(f"  {picture}")
    print_lesions(result.prediction)
    return 0
