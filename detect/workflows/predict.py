"""Find lesions in new scans: any number of them, one bad one never stops the others."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from converters.core.errors import InputError
from converters.core.files import remove_unfinished
from converters.core.open_pool import open_pool
from converters.core.pool import run_all
from converters.core.progress import progress
from converters.core.stages import overlapped
from converters.dataset.manifest import tool_versions
from detect.detectors.card import FILE_NAME as MODEL_CARD
from detect.detectors.exported import FILE_NAME as LIST_OF_EXPORTS
from detect.detectors.exported import FOLDER as EXPORTS
from detect.detectors.runtimes.packages import default_threads
from detect.inference.case_names import name_cases
from detect.inference.find_scans import find as find_sources
from detect.inference.job import make_job
from detect.inference.model_set import load_models
from detect.inference.process_scan import Job, Outcome, Todo, find, listed, process, read, write
from detect.workflows.prediction_summary import write_summary


@dataclass(frozen=True)
class PredictResult:
    """What a prediction run did.

    Attributes:
        folder: of the outputs.
        rows: lesions of each case, `case` → rows as in `detections.json`.
        errors: one for each scan that could not be processed.
        skipped: cases that were there already, from the same scan and model.
        notes: what was asked for and could not be written, and why, by case.
        passed_over: what is no scan to process, such as localizers, and why.
        warnings: why a scan may be none for the model, by case, where there is anything.
        unchecked: what of the scans could not be checked, in one line, else empty.
    """

    folder: Path
    rows: dict[str, list[dict[str, Any]]]
    errors: list[InputError]
    skipped: list[str]
    notes: dict[str, str] = field(default_factory=dict)
    passed_over: list[InputError] = field(default_factory=list)
    warnings: dict[str, Sequence[str]] = field(default_factory=dict)
    unchecked: str = ""


def predict(
    model: Path | Sequence[Path],
    scans: Sequence[Path],
    *,
    out: Path,
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
        confidence: report boxes from here; None takes the model's operating point, the mean of
            several models'.
        dicom_sr, dicom_seg: write a DICOM SR or SEG of each DICOM series; they name the patient.
        keep_identifiers: name the cases of DICOM series by their folders.
        device: `auto`, `cpu`, or a GPU's number.
        runtime: torch, or an export of `detect export`.
        augment: fuse what is found on each slice, on its mirror image and with a margin.
        workers: processes that share the scans; the outputs do not depend on it.
        scheduler: address of a dask scheduler whose workers take the place of `workers`; they see
            models, scans and `out` under the same paths.
        strict: refuse scans unlike those the models were trained on, which else get a warning.
        overwrite: replace cases that other scans or models left at `out`.

    Raises:
        InputError: the model or the request is wrong as a whole.
    """
    models = [model] if isinstance(model, Path) else list(model)
    if scheduler is not None:  # no worker has this process's working folder
        models, scans, out = _absolute(models), _absolute(scans), out.absolute()
    job = make_job(
        models,
        out,
        confidence=confidence,
        dicom_sr=dicom_sr,
        dicom_seg=dicom_seg,
        device=device,
        runtime=runtime,
        augment=augment,
        strict=strict,
        overwrite=overwrite,
    )
    used = job.used
    found = find_sources(scans, used.spec.representation.modality, out)
    errors = found.errors
    names = name_cases(found.scans, keep_identifiers)
    todo = [Todo(own.path, names.get(own), own.series, own.warnings) for own in found.scans]
    outcomes: dict[Todo, Outcome | Exception] = {}
    with progress("scans", len(todo)) as advance:
        for item, outcome in _process(job, todo, workers, scheduler):
            outcomes[item] = outcome
            advance("")
    done: list[Outcome] = []
    for item in todo:  # in their order, whoever finished first
        own = outcomes[item]
        if isinstance(own, Outcome):
            done.append(own)
        else:
            errors.append(listed(item, own))
    rows = {own.case: own.rows for own in done}
    made = {own.case for own in done if not own.there}
    skipped = [case for case in rows if case not in made]
    notes = {own.case: own.note for own in done if own.note}
    warnings = {own.case: own.warnings for own in done if own.warnings}
    count = {"failed": len(errors), "passed_over": len(found.skipped)}
    if error := write_summary(out, rows, warnings, used.spec.classes, **count):
        errors.append(error)
    return PredictResult(out, rows, errors, skipped, notes, found.skipped, warnings, used.unchecked)


def _process(
    job: Job, todo: Sequence[Todo], workers: int, scheduler: str | None
) -> Iterator[tuple[Todo, Outcome | Exception]]:
    """Process all scans, in this process or in others; yields them as they finish.

    Raises:
        InputError: the models cannot be loaded, or the workers are at fault.
    """
    workers = min(workers, len(todo))
    if scheduler is None and workers <= 1:
        detector = load_models(job.used, job.device)
        stages = partial(read, job), partial(find, job, detector), partial(write, job)
        yield from zip(todo, overlapped(todo, *stages), strict=True)
        return
    job.out.mkdir(parents=True, exist_ok=True)  # for all workers to see
    if scheduler is None:
        job = replace(job, threads=max(1, default_threads() // workers))
        pool = open_pool(workers, None, {}, [])
    else:
        pool = open_pool(workers, scheduler, _needs(job.used.runtime), _shared(job, todo))
    assert pool is not None  # noqa: S101  (more than one worker, or a scheduler)
    try:
        yield from run_all(partial(process, job), todo, pool)
    finally:
        pool.close()
        remove_unfinished(job.out, job.token)


def _absolute(paths: Sequence[Path]) -> list[Path]:
    return [path.absolute() for path in paths]


def _needs(runtime: str) -> dict[str, str]:
    """What the boxes depend on beside the models."""
    own = {"torch": [], "onnx": ["onnxruntime"]}.get(runtime, ["openvino"])
    parts = ["numpy", "torch", "torchvision", "transformers", "ultralytics", *own]
    needs = tool_versions()
    for part in parts:
        with suppress(PackageNotFoundError):  # then loading the models says so
            needs[part] = version(part)
    return needs


def _shared(job: Job, todo: Sequence[Todo]) -> list[Path]:
    """What a worker of a cluster must see as this process does: models, scans and outputs."""
    cards = [bundle / MODEL_CARD for bundle in job.used.bundles]
    exports = [bundle / EXPORTS / LIST_OF_EXPORTS for bundle in job.used.bundles]
    above = os.path.commonpath([item.scan.parent for item in todo]) if todo else job.out
    return [*cards, *exports, Path(above), job.out]
