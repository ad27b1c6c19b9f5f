"""Find lesions in new scans: any number of them, one bad one never stops the others."""

import csv
import hashlib
import io
import os
import re
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from converters.atomic import write_text
from converters.errors import InputError
from converters.manifest import tool_versions
from converters.progress import progress
from converters.reading import SUFFIXES
from converters.workers import WorkersEnded, open_pool, run_all
from detect.exports import FILE_NAME as LIST_OF_EXPORTS
from detect.exports import FOLDER as EXPORTS
from detect.inference.appearing import remove_unfinished
from detect.inference.door import Source
from detect.inference.door import find as find_sources
from detect.inference.one_scan import DICOM_FILES, Job, Outcome, Todo, find, process, read, write
from detect.inference.overlap import overlapped
from detect.inference.used_models import choose_models, load_models
from detect.model_card import FILE_NAME as MODEL_CARD
from detect.report.prediction_report import prediction_report

OWN_FILES = ("summary.csv", "report.html")  # beside the folders of the cases


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
    quiet: bool = False,
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
        quiet: no progress bar.

    Raises:
        InputError: the model or the request is wrong as a whole.
    """
    if confidence is not None and not 0 <= confidence <= 1:
        raise InputError("--confidence", f"{confidence} is no score", "use a number from 0 to 1")
    models = [model] if isinstance(model, Path) else list(model)
    if scheduler is not None:  # no worker has this process's working folder
        models, scans, out = _absolute(models), _absolute(scans), out.absolute()
    used = choose_models(models, confidence, runtime, augment)
    if strict and used.unchecked:
        raise InputError("--strict", used.unchecked, "leave it out, or train again")
    if out.exists() and not out.is_dir():
        raise InputError(out, "is a file", "give a folder with --out")
    wanted = {name for name, asked in zip(DICOM_FILES, (dicom_sr, dicom_seg), strict=True) if asked}
    if wanted:
        from detect.inference.dicom_source import check_installed

        check_installed("--dicom-sr" if dicom_sr else "--dicom-seg")
    found = find_sources(scans, used.spec.modality, out, quiet)
    errors = found.errors
    names = _names(found.scans, keep_identifiers)
    todo = [Todo(own.path, names.get(own), own.series, own.warnings) for own in found.scans]
    job = Job(used, device, out, frozenset(wanted), overwrite, strict)
    outcomes: dict[Todo, Outcome | Exception] = {}
    with progress("scans", len(todo), quiet) as advance:
        for item, outcome in _process(job, todo, workers, scheduler):
            outcomes[item] = outcome
            advance("")
    done: list[Outcome] = []
    for item in todo:  # in their order, whoever finished first
        own = outcomes[item]
        if isinstance(own, Outcome):
            done.append(own)
        else:
            errors.append(_listed(item, own))
    rows = {own.case: own.rows for own in done}
    made = {own.case for own in done if not own.there}
    skipped = [case for case in rows if case not in made]
    notes = {own.case: own.note for own in done if own.note}
    warnings = {own.case: own.warnings for own in done if own.warnings}
    try:
        write_text(out / "summary.csv", _summary(rows, warnings, used.spec.classes))
        report = prediction_report(out, failed=len(errors), passed_over=len(found.skipped))
        write_text(out / "report.html", report)
    except OSError as error:  # what is done is done, and the list of what failed is not lost
        problem = f"cannot be written to ({error.strerror or error})"
        errors.append(InputError(out, problem, "make room, then run the same command again"))
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
        job = replace(job, threads=max(1, torch.get_num_threads() // workers))
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


def _listed(todo: Todo, error: Exception) -> InputError:
    """Say what is wrong with one scan, so that the others go on.

    What nobody foresaw is listed too, by the place it was raised at: its words may quote a header.
    """
    if isinstance(error, InputError):
        return error
    if isinstance(error, WorkersEnded):
        return InputError(
            todo.scan,
            "ended every worker that took it, perhaps for want of memory",
            "give the workers more memory and run the same command again: it resumes",
        )
    what, where = type(error).__name__, ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        where = f" in {Path(frame.f_code.co_filename).name}, line {line}"
    return InputError(todo.scan, f"cannot be processed ({what}{where})", "report this fault")


def _names(scans: Sequence[Source], folders: bool = False) -> dict[Source, str]:
    """Name scan files by their name without suffix; equal names are told apart by their path.

    So with `folders`, folders of DICOM series; else they are left out.

    A name that suits no folder is left out.
    """
    stems = {
        scan: scan.path.resolve().name if scan.path.is_dir() else _stem(scan.path)
        for scan in scans
        if folders or not scan.path.is_dir()
    }
    times = Counter(stem.casefold() for stem in stems.values())
    names: dict[Source, str] = {}
    for scan, stem in stems.items():
        if re.fullmatch(r"\w[\w .,+@=-]*", stem) and stem.casefold() not in OWN_FILES:
            told = f"{scan.path.resolve()}{scan.series}"
            place = hashlib.sha256(told.encode()).hexdigest()[:8]
            names[scan] = stem if times[stem.casefold()] == 1 else f"{stem}-{place}"
    return names


def _stem(scan: Path) -> str:
    suffix = max((s for s in SUFFIXES if scan.name.lower().endswith(s)), key=len, default="")
    return scan.name[: len(scan.name) - len(suffix)]


def _summary(
    rows: dict[str, list[dict[str, Any]]],
    warnings: dict[str, Sequence[str]],
    classes: Sequence[str],
) -> str:
    """One row a case: lesions of each class, the highest score, and warnings."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["case", "lesions", *classes, "highest_score", "warnings"])
    for case, own in rows.items():
        counts = [sum(row["class"] == name for row in own) for name in classes]
        highest = max((row["score"] for row in own), default=0.0)
        told = "; ".join(warnings.get(case, ()))
        table.writerow([case, len(own), *counts, f"{highest:.4f}", told])
    return text.getvalue()
