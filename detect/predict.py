"""Find lesions in new scans: any number of them, one bad one never stops the others."""

import csv
import hashlib
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.atomic import write_text
from converters.case import hash_files
from converters.errors import InputError
from converters.progress import progress
from converters.reading import SUFFIXES, find_scans, is_scan, read_volume
from detect.detectors.protocol import Predictor
from detect.exports import load_predictor
from detect.inference.outputs import write_case_outputs
from detect.inference.scan import find_lesions
from detect.model_card import ModelCard, read_model_card
from detect.report.prediction_report import prediction_report

OWN_FILES = ("summary.csv", "report.html")  # beside the folders of the cases
FALLBACK_CONFIDENCE = 0.25  # for a model without an operating point of its own


@dataclass(frozen=True)
class PredictResult:
    """What a prediction run did.

    Attributes:
        folder: of the outputs.
        rows: lesions of each case, `case` → rows as in `detections.json`.
        errors: one for each scan that could not be processed.
        skipped: cases that were there already, from the same scan and model.
    """

    folder: Path
    rows: dict[str, list[dict[str, Any]]]
    errors: list[InputError]
    skipped: list[str]


def predict(
    model: Path,
    scans: Sequence[Path],
    *,
    out: Path,
    confidence: float | None = None,
    device: str = "auto",
    runtime: str = "torch",
    overwrite: bool = False,
    quiet: bool = False,
) -> PredictResult:
    """Find lesions in scans; `OUT/CASE/` appears whole or not at all, and a second run resumes.

    Args:
        model: bundle of `detect train`.
        scans: scan files, DICOM folders, or folders that hold many of either.
        out: folder for the outputs.
        confidence: report boxes from here; None takes the model's operating point.
        device: `auto`, `cpu`, or a GPU's number.
        runtime: torch, or an export of `detect export`.
        overwrite: replace cases that other scans or models left at `out`.
        quiet: no progress bar.

    Raises:
        InputError: the model or the request is wrong as a whole.
    """
    card = read_model_card(model)
    if card.spec.crop == "organ":
        raise InputError(
            model,
            "was trained on crops to the organ, which a scan without a mask cannot give",
            "train on a dataset of --crop body, which is found from the scan alone",
        )
    if confidence is None:
        point = card.operating_point
        confidence = point.confidence if point else FALLBACK_CONFIDENCE
    elif not 0 <= confidence <= 1:
        raise InputError("--confidence", f"{confidence} is no score", "use a number from 0 to 1")
    if out.exists() and not out.is_dir():
        raise InputError(out, "is a file", "give a folder with --out")
    errors: list[InputError] = []
    found = _expand(scans, errors)
    names = _names(found)
    detector = load_predictor(model, device, runtime)
    rows: dict[str, list[dict[str, Any]]] = {}
    skipped: list[str] = []
    with progress("scans", len(found), quiet) as advance:
        for scan in found:
            try:
                source = hash_files(scan)
                # A series gets a pseudonym: folders of DICOM files tend to be named after people.
                case = names.get(scan) or f"scan-{source[:12]}"
                own = _resume(out / case, source, card, confidence, runtime, overwrite)
                if own is not None:
                    skipped.append(case)
                else:
                    own = _process(detector, card, confidence, runtime, scan, source, out / case)
                rows[case] = own
            except InputError as error:
                errors.append(error)
            advance("")
    write_text(out / "summary.csv", _summary(rows, card.spec.classes))
    write_text(out / "report.html", prediction_report(out, failed=len(errors)))
    return PredictResult(out, rows, errors, skipped)


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


def _names(scans: Sequence[Path]) -> dict[Path, str]:
    """Name scan files by their name without suffix; equal names are told apart by their path.

    A name that suits no folder is left out.
    """
    stems = {scan: _stem(scan) for scan in scans if not scan.is_dir()}
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
    folder: Path,
    source: str,
    card: ModelCard,
    confidence: float,
    runtime: str,
    overwrite: bool,
) -> list[dict[str, Any]] | None:
    """Return the lesions of a case that is there already; None where it is to be processed."""
    if not folder.exists():
        return None
    try:
        before = json.loads((folder / "detections.json").read_text(encoding="utf-8"))
        keys = ("source_sha256", "weights_sha256", "confidence", "runtime")
        asked = (source, card.weights_sha256, confidence, runtime)
        same = tuple(before[key] for key in keys) == asked
        if same:
            return list(before["lesions"])
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
    detector: Predictor,
    card: ModelCard,
    confidence: float,
    runtime: str,
    scan: Path,
    source: str,
    folder: Path,
) -> list[dict[str, Any]]:
    """Find lesions in one scan and write its folder."""
    volume = read_volume(scan)
    if volume.modality not in ("", card.spec.modality):
        raise InputError(
            scan,
            f"is {volume.modality}, but the model was trained on {card.spec.modality}",
            "give scans of that kind",
        )
    pictures, boxes, lesions = find_lesions(detector, volume, confidence, scan)
    work = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        rows = write_case_outputs(
            work, folder.name, source, volume, pictures, boxes, lesions, card, confidence, runtime
        )
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
