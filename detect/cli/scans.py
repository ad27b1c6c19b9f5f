"""Verbs on new scans, `predict` and `watch`, and the walk through all steps, `demo`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from converters.core.errors import InputError
from detect.cli.options import (
    Augment,
    Device,
    Models,
    Out,
    Overwrite,
    Quiet,
    Runtime,
    Scheduler,
    Workers,
)
from detect.cli.printing import (
    describe_error,
    list_errors,
    list_warnings,
    print_lesions,
    print_study,
    show,
)

Confidence = Annotated[
    float | None,
    typer.Option(help="Report boxes with this score or more [the model's operating point]."),
]
DicomSr = Annotated[
    bool,
    typer.Option("--dicom-sr", help="Write a DICOM SR for each series; it names the patient."),
]
DicomSeg = Annotated[
    bool,
    typer.Option("--dicom-seg", help="Write a DICOM SEG for each series; it names the patient."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse scans unlike those the model was trained on.")
]
KeepIdentifiers = Annotated[
    bool,
    typer.Option("--keep-identifiers", help="Name DICOM cases by their folders, not by a hash."),
]


def predict(
    model: Models,
    out: Out,
    scans: Annotated[
        list[Path] | None,
        typer.Argument(help="Scan files, DICOM folders, or folders that hold many."),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URL",
            help="Take the scans of a DICOMweb study: dicomweb+https://HOST:PORT/…/studies/UID.",
        ),
    ] = None,
    store: Annotated[
        bool,
        typer.Option("--store", help="Store the SR, and with --dicom-seg the SEG, in that study."),
    ] = False,
    confidence: Confidence = None,
    dicom_sr: DicomSr = False,
    dicom_seg: DicomSeg = False,
    keep_identifiers: KeepIdentifiers = False,
    strict: Strict = False,
    device: Device = "auto",
    runtime: Runtime = "torch",
    augment: Augment = False,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Find lesions in new scans and place them in patient space."""
    from detect.inference.job import PredictSettings

    if bool(scans) == (study is not None):
        raise InputError("detect predict", "needs scans or --from", "give one of the two")
    if store and study is None:
        raise InputError("--store", "stores in the study of --from", "give that, too")
    settings = PredictSettings(
        models=model,
        out=out,
        confidence=confidence,
        dicom_sr=dicom_sr,
        dicom_seg=dicom_seg,
        keep_identifiers=keep_identifiers,
        device=device,
        runtime=runtime,
        augment=augment,
        strict=strict,
        overwrite=overwrite,
    )
    if study is not None:
        from detect.workflows.predict_study import predict_study

        of_study = predict_study(settings, study, store=store, workers=workers, scheduler=scheduler)
        print_study(of_study, store)
        return list_errors(of_study.prediction.errors)
    from detect.workflows.predict import predict_scans

    result = predict_scans(settings, scans or [], workers=workers, scheduler=scheduler)
    print_lesions(result)
    list_warnings(result)
    return list_errors(result.errors)


def watch(
    inbox: Annotated[Path, typer.Argument(help="Watch this folder, which scans are copied into.")],
    model: Models,
    out: Out,
    settle: Annotated[
        float,
        typer.Option(
            min=0, help="Take a scan as complete after this many seconds without a change."
        ),
    ] = 10,
    once: Annotated[
        bool, typer.Option("--once", help="Process the scans that are complete, and end.")
    ] = False,
    confidence: Confidence = None,
    dicom_sr: DicomSr = False,
    dicom_seg: DicomSeg = False,
    keep_identifiers: KeepIdentifiers = False,
    strict: Strict = False,
    device: Device = "auto",
    runtime: Runtime = "torch",
    augment: Augment = False,
    overwrite: Overwrite = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> int:
    """Find lesions in scans as they arrive in a folder, each once, until Ctrl-C."""
    from detect.inference.job import PredictSettings
    from detect.workflows.watch import Listener
    from detect.workflows.watch import watch as run

    def print_outcome(outcome: Any) -> None:
        note = f"; {outcome.note}" if outcome.note else ""
        lesions = " (there already)" if outcome.existing else f": {len(outcome.rows)} lesions"
        show(f"{out / outcome.case}{lesions}{note}")
        for warning in outcome.warnings:
            show(f"  warning: {warning}")

    def print_error(error: InputError) -> None:
        list_errors([error])

    def print_skipped(reason: InputError) -> None:
        show(f"skipped: {describe_error(reason)}")

    silent = Listener(lambda _: None, print_error, lambda _: None)
    settings = PredictSettings(
        models=model,
        out=out,
        confidence=confidence,
        dicom_sr=dicom_sr,
        dicom_seg=dicom_seg,
        keep_identifiers=keep_identifiers,
        device=device,
        runtime=runtime,
        augment=augment,
        strict=strict,
        overwrite=overwrite,
    )
    listener = silent if quiet else Listener(print_outcome, print_error, print_skipped)
    result = run(inbox, settings, listener=listener, settle=settle, once=once)
    if not quiet:
        show(
            f"{result.done} scans processed, {result.again} there already,"
            f" {len(result.failed)} failed, {result.changing} still arriving"
        )
    return 1 if result.failed else 0


def demo(
    out: Out = Path("demo"),
    device: Device = "auto",
    workers: Workers = 2,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Walk the whole path on a built-in phantom: convert, train, evaluate, predict."""
    from detect.cli.metrics_table import render_table
    from detect.workflows.demo import demo as run

    result = run(out, device=device, workers=workers, overwrite=overwrite)
    show("Phantom patients that were not trained on:")
    show(render_table(result.evaluation.metrics))
    show("Pictures (truth green, predictions with class and score):")
    for picture in result.evaluation.pictures:
        show(f"  {picture}")
    print_lesions(result.prediction)
    return 0
