"""Find lesions in new scans: any number of them, one bad one never stops the others."""

import csv
import hashlib
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.atomic import write_text
from converters.case import hash_files
from converters.errors import InputError
from converters.progress import progress
from converters.reading import SUFFIXES, find_scans, is_scan, read_volume
from detect.detectors.protocol import Predictor
from detect.inference.dicom_source import check_installed, result_of
from detect.inference.label_volume import LABEL_FILE, write_label_volume
from detect.inference.outputs import write_case_outputs
from detect.inference.scan import find_lesions
from detect.inference.segmentation import SEG_FILE, write_segmentation
from detect.inference.structured_report import SR_FILE, write_structured_report
from detect.inference.used_models import UsedModels, choose_models, load_models
from detect.report.prediction_report import prediction_report

DICOM_FILES = (SR_FILE, SEG_FILE)
OWN_FILES = ("summary.csv", "report.html")  # beside the folders of the cases
# with others the results are others
DECISIVE = ("weights_sha256", "confidence", "linking", "runtime")


@dataclass(frozen=True)
class PredictResult:
    """What a prediction run did.

    Attributes:
        folder: of the outputs.
        rows: lesions of each case, `case` → rows as in `detections.json`.
        errors: one for each scan that could not be processed.
        skipped: cases that were there already, from the same scan and model.
        notes: what was asked for and could not be written, and why, by case.
    """

    folder: Path
    rows: dict[str, list[dict[str, Any]]]
    errors: list[InputError]
    skipped: list[str]
    notes: dict[str, str] = field(default_factory=dict)


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
        overwrite: replace cases that other scans or models left at `out`.
        quiet: no progress bar.

    Raises:
        InputError: the model or the request is wrong as a whole.
    """
    if confidence is not None and not 0 <= confidence <= 1:
        raise InputError("--confidence", f"{confidence} is no score", "use a number from 0 to 1")
    models = [model] if isinstance(model, Path) else list(model)
    used = choose_models(models, confidence, runtime)
    if out.exists() and not out.is_dir():
        raise InputError(out, "is a file", "give a folder with --out")
    wanted = {name for name, asked in zip(DICOM_FILES, (dicom_sr, dicom_seg), strict=True) if asked}
    if wanted:
        check_installed("--dicom-sr" if dicom_sr else "--dicom-seg")
    errors: list[InputError] = []
    found = _expand(scans, errors)
    names = _names(found, keep_identifiers)
    detector = load_models(used, device)
    rows: dict[str, list[dict[str, Any]]] = {}
    skipped: list[str] = []
    notes: dict[str, str] = {}
    with progress("scans", len(found), quiet) as advance:
        for scan in found:
            try:
                source = hash_files(scan)
                # A series gets a pseudonym: folders of DICOM files tend to be named after people.
                case = names.get(scan) or f"scan-{source[:12]}"
                asked = wanted if scan.is_dir() else set()
                own = _resume(out / case, source, used, overwrite, asked)
                if own is not None:
                    skipped.append(case)
                else:
                    if not overwrite:  # a second run takes away nothing
                        asked = asked | {f for f in DICOM_FILES if (out / case / f).exists()}
                    own = _process(detector, used, scan, source, out / case, asked)
                rows[case] = own
                if wanted and not (asked and own):
                    why = "no lesion" if asked else "not a DICOM series"
                    notes[case] = f"no DICOM objects written: {why}"
            except InputError as error:
                errors.append(error)
            advance("")
    write_text(out / "summary.csv", _summary(rows, used.spec.classes))
    write_text(out / "report.html", prediction_report(out, failed=len(errors)))
    return PredictResult(out, rows, errors, skipped, notes)


def _expand(scans: Sequence[Path], errors: list[InputError]) -> list[Path]:
    """Replace folders of many scans by the scans in them."""
    found: list[Path] = []
    for path in scans:
        try:
            inside = [path] if not path.is_dir() or is_scan(path) else find_scans(path)
        except InputError as error:
            errors.append(error)
            continue
        except OSError as error:  # such as a name that is too long
            errors.append(InputError(path, f"cannot be read ({error.strerror})", "check the path"))
            continue
        if not inside:
            errors.append(InputError(path, "holds no scan", "give NIfTI, NRRD, MetaImage or DICOM"))
        found += inside
    return list(dict.fromkeys(found))


def _names(scans: Sequence[Path], folders: bool = False) -> dict[Path, str]:
    """Name scan files by their name without suffix; equal names are told apart by their path.

    So with `folders`, folders of DICOM series; else they are left out.

    A name that suits no folder is left out.
    """
    stems = {
        scan: scan.resolve().name if scan.is_dir() else _stem(scan)
        for scan in scans
        if folders or not scan.is_dir()
    }
    times = Counter(stem.casefold() for stem in stems.values())
    names: dict[Path, str] = {}
    for scan, stem in stems.items():
        if re.fullmatch(r"\w[\w .,+@=-]*", stem) and stem.casefold() not in OWN_FILES:
            place = hashlib.sha256(str(scan.resolve()).encode()).hexdigest()[:8]
            names[scan] = stem if times[stem.casefold()] == 1 else f"{stem}-{place}"
    return names


def _stem(scan: Path) -> str:
    suffix = max((s for s in SUFFIXES if scan.name.lower().endswith(s)), key=len, default="")
    return scan.name[: len(scan.name) - len(suffix)]


def _resume(
    folder: Path, source: str, used: UsedModels, overwrite: bool, asked: Set[str]
) -> list[dict[str, Any]] | None:
    """Return the lesions of a case that is there already; None where it is to be processed.

    Args:
        folder: of the case.
        source, used: what it must have come from.
        overwrite: process it anew where it came from something else.
        asked: files that a case with lesions must have, too.
    """
    if not folder.exists():
        return None
    try:
        before = json.loads((folder / "detections.json").read_text(encoding="utf-8"))
        same = all(before[key] == used.facts[key] for key in DECISIVE)
        if same and before["source_sha256"] == source:
            lesions = list(before["lesions"])
            needed = {LABEL_FILE} | (asked if lesions else set())
            return lesions if all((folder / name).exists() for name in needed) else None
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            folder, "exists and is no result of detect", "give another --out"
        ) from None
    if overwrite:
        return None
    raise InputError(
        folder, "holds another scan's or model's results", "give another --out, or --overwrite"
    )


def _process(
    detector: Predictor, used: UsedModels, scan: Path, source: str, folder: Path, asked: Set[str]
) -> list[dict[str, Any]]:
    """Find lesions in one scan and write its folder."""
    volume = read_volume(scan)
    if volume.modality not in ("", used.spec.modality):
        raise InputError(
            scan,
            f"is {volume.modality}, but the model was trained on {used.spec.modality}",
            "give scans of that kind",
        )
    pictures, boxes, lesions = find_lesions(detector, volume, used.confidence, used.linking, scan)
    work = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        rows = write_case_outputs(work, folder.name, source, volume, pictures, boxes, lesions, used)
        write_label_volume(work / LABEL_FILE, volume, boxes, lesions)
        if asked and lesions:
            result = result_of(scan, source, used.card, rows)
            if SR_FILE in asked:
                write_structured_report(work / SR_FILE, result, volume, lesions)
            if SEG_FILE in asked:
                write_segmentation(work / SEG_FILE, result, volume, boxes, lesions)
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return rows


def _summary(rows: dict[str, list[dict[str, Any]]], classes: Sequence[str]) -> str:
    """One row a case: lesions of each class, and the highest score."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["case", "lesions", *classes, "highest_score"])
    for case, own in rows.items():
        counts = [sum(row["class"] == name for row in own) for name in classes]
        highest = max((row["score"] for row in own), default=0.0)
        table.writerow([case, len(own), *counts, f"{highest:.4f}"])
    return text.getvalue()
