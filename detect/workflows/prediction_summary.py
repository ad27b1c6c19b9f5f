"""Write `summary.csv` and `report.html` for a prediction run."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.core.errors import InputError
from converters.core.files import write_text
from detect.report.prediction_report import prediction_report


def write_summary(
    out: Path,
    rows: Mapping[str, Sequence[dict[str, Any]]],
    warnings: Mapping[str, Sequence[str]],
    classes: Sequence[str],
    *,
    failed: int,
    skipped: int = 0,
) -> InputError | None:
    """Write `summary.csv` and `report.html`; returns an error if they cannot be written.

    The error is listed like that of a scan that failed, as the cases themselves are complete.

    Args:
        out: folder of the results; the report shows all that lies in it.
        rows: lesions of each case of the table.
        warnings: of the cases that have any.
        classes: of the models.
        failed, skipped: numbers of scans, for the report.
    """
    try:
        write_text(out / "summary.csv", _table(rows, warnings, classes))
        write_text(out / "report.html", prediction_report(out, failed, skipped))
    except OSError as error:
        problem = f"cannot be written to ({error.strerror or error})"
        return InputError(out, problem, "make room, then run the same command again")
    return None


def _table(
    rows: Mapping[str, Sequence[dict[str, Any]]],
    warnings: Mapping[str, Sequence[str]],
    classes: Sequence[str],
) -> str:
    """Return a CSV of one row a case: lesions of each class, the highest score, and warnings."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["case", "lesions", *classes, "highest_score", "warnings"])
    for case, lesions in rows.items():
        counts = [sum(row["class"] == name for row in lesions) for name in classes]
        highest = max((row["score"] for row in lesions), default=0.0)
        notes = "; ".join(warnings.get(case, ()))
        table.writerow([case, len(lesions), *counts, f"{highest:.4f}", notes])
    return text.getvalue()
