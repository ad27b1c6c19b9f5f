"""Find lesions in new scans: any number of them, and a scan that fails never stops the others."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from converters.core.errors import InputError
from converters.core.open_pool import open_pool
from converters.core.output_folder import remove_unfinished
from converters.core.pool import run_all
from converters.core.progress import progress
from converters.core.stages import overlapped
from converters.dataset.manifest import tool_versions
from detect.detectors.card import FILE_NAME as MODEL_CARD
from detect.detectors.exported import FILE_NAME as LIST_OF_EXPORTS
from detect.detectors.exported import FOLDER as EXPORTS
from detect.detectors.runtimes.packages import default_threads
from detect.inference.case_names import name_cases
from detect.inference.find_scans import ScanTask, discover_scans
from detect.inference.job import Job, PredictSettings, prepare_job
from detect.inference.model_set import ModelPaths, model_paths
from detect.inference.process_scan import (
    Outcome,
    as_input_error,
    process_scan,
    read_scan,
    search_scan,
    write_scan,
)
from detect.workflows.prediction_summary import write_summary


@dataclass(frozen=True)
class PredictResult:
    """Lesions and errors of a prediction run.

    Attributes:
        folder: of the outputs.
        rows: lesions of each case, `case` → rows as in `detections.json`.
        errors: one for each scan that could not be processed.
        existing: cases whose results existed already, from the same scan and model.
        notes: what was asked for and could not be written, and why, by case.
        skipped: why a series or an object is no scan to process, such as a localizer, one each.
        warnings: why a scan may not suit the model, by case, where there is a reason.
        unchecked: what of the scans could not be checked, in one line, else empty.
    """

    folder: Path
    rows: dict[str, list[dict[str, Any]]]
    errors: list[InputError]
    existing: list[str]
    notes: dict[str, str] = field(default_factory=dict)
    skipped: list[InputError] = field(default_factory=list)
    warnings: dict[str, Sequence[str]] = field(default_factory=dict)
    unchecked: str = ""


def predict(
    model: ModelPaths,
    scans: Sequence[str | Path],
    *,
    out: str | Path,
    confidence: float | None = None,
    dicom_sr: bool = False,
    dicom_seg: bool = False,
    keep_identifiers: bool = False,
    device: str = "auto",
    runtime: str = "torch",
    augment: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
    strict: bool = False,
    overwrite: bool = False,
) -> PredictResult:
    """Find lesions in scans; `OUT/CASE/` appears whole or not at all, and a second run resumes.

    Args:
        model: bundle of `detect train`, or several, whose boxes are fused.
        scans: scan files, DICOM folders, or folders that hold many of either.
        out: folder for the outputs.
        confidence: report boxes with this score or more, in [0, 1]; None takes the model's
            operating point, or the mean of several models'.
        dicom_sr, dicom_seg: write a DICOM SR or SEG of each DICOM series; they name the patient.
        keep_identifiers: name the cases of DICOM series by their folders.
        device: `auto`, `cpu`, or a GPU's number.
        runtime: torch, or an export of `detect export`.
        augment: fuse the boxes of each slice, of its mirror image and of the slice with a margin.
        workers: processes that share the scans; the outputs do not depend on it.
        scheduler: address of a dask scheduler whose workers take the place of `workers`; they see
            models, scans and `out` under the same paths.
        strict: refuse scans unlike those the models were trained on; else they get a warning.
        overwrite: replace cases that other scans or models left at `out`.

    Raises:
        InputError: the model or the request is wrong as a whole.
    """
    settings = PredictSettings(
        models=model_paths(model),
        out=Path(out),
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
    return predict_scans(
        settings, [Path(scan) for scan in scans], workers=workers, scheduler=scheduler
    )


def predict_scans(
    settings: PredictSettings,
    scans: Sequence[Path],
    *,
    workers: int = 1,
    scheduler: str | None = None,
) -> PredictResult:
    """Find lesions in scans, with the settings as one object; see `predict`."""
    if scheduler is not None:  # workers have another working folder
        models, out = _absolute(settings.models), settings.out.absolute()
        settings, scans = replace(settings, models=models, out=out), _absolute(scans)
    job = prepare_job(settings)
    discovered = discover_scans(scans, job.models.spec.representation.modality, job.out)
    tasks = name_cases(discovered.scans, settings.keep_identifiers)
    outcomes: dict[ScanTask, Outcome | Exception] = {}
    with progress("scans", len(tasks)) as advance:
        for task, outcome in _process(job, tasks, workers, scheduler):
            outcomes[task] = outcome
            advance("")
    done: list[Outcome] = []
    errors = discovered.errors
    for task in tasks:  # in their order, not in that of their completion
        outcome = outcomes[task]
        if isinstance(outcome, Outcome):
            done.append(outcome)
        else:
            errors.append(as_input_error(task, outcome))
    rows = {outcome.case: outcome.rows for outcome in done}
    written = {outcome.case for outcome in done if not outcome.existing}
    result = PredictResult(
        folder=job.out,
        rows=rows,
        errors=errors,
        existing=[case for case in rows if case not in written],
        notes={outcome.case: outcome.note for outcome in done if outcome.note},
        skipped=discovered.skipped,
        warnings={outcome.case: outcome.warnings for outcome in done if outcome.warnings},
        unchecked=job.models.unchecked,
    )
    count = {"failed": len(errors), "skipped": len(discovered.skipped)}
    if error := write_summary(job.out, rows, result.warnings, job.models.spec.classes, **count):
        errors.append(error)
    return result


def _process(
    job: Job, tasks: Sequence[ScanTask], workers: int, scheduler: str | None
) -> Iterator[tuple[ScanTask, Outcome | Exception]]:
    """Process all scans, in this process or in others; yields them as they finish.

    Raises:
        InputError: the models cannot be loaded, or the workers are at fault.
    """
    workers = min(workers, len(tasks))
    if scheduler is None and workers <= 1:
        stages = (
            partial(read_scan, job),
            partial(search_scan, job, job.load()),
            partial(write_scan, job),
        )
        yield from zip(tasks, overlapped(tasks, *stages), strict=True)
        return
    job.out.mkdir(parents=True, exist_ok=True)  # for all workers to see
    if scheduler is None:
        job = replace(job, threads=max(1, default_threads() // workers))
        pool = open_pool(workers, None, {}, [])
    else:
        needs = _needed_versions(job.settings.runtime)
        pool = open_pool(workers, scheduler, needs, _shared_paths(job, tasks))
    assert pool is not None  # noqa: S101  (more than one worker, or a scheduler)
    try:
        yield from run_all(partial(process_scan, job), tasks, pool)
    finally:
        pool.close()
        remove_unfinished(job.out, job.token)


def _absolute(paths: Sequence[Path]) -> list[Path]:
    return [path.absolute() for path in paths]


def _needed_versions(runtime: str) -> dict[str, str]:
    """Return the versions of the packages that the boxes depend on beside the models."""
    runtimes = {"torch": [], "onnx": ["onnxruntime"]}.get(runtime, ["openvino"])
    versions = tool_versions()
    for package in ["numpy", "torch", "torchvision", "transformers", "ultralytics", *runtimes]:
        with suppress(PackageNotFoundError):  # then loading the models says so
            versions[package] = version(package)
    return versions


def _shared_paths(job: Job, tasks: Sequence[ScanTask]) -> list[Path]:
    """Return the paths that a worker of a cluster must see: models, scans and outputs."""
    bundles = job.models.bundles
    cards = [bundle / MODEL_CARD for bundle in bundles]
    exports = [bundle / EXPORTS / LIST_OF_EXPORTS for bundle in bundles]
    above = os.path.commonpath([task.path.parent for task in tasks]) if tasks else job.out
    return [*cards, *exports, Path(above), job.out]
