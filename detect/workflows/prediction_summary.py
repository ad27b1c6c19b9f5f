"""What stands beside the cases in a folder of results: one table and one page of all of them."""

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
    passed_over: int = 0,
) -> InputError | None:
    """Write `summary.csv` and `report.html`; returns why they could not be written.

    That is listed like a scan that failed: the cases are done, and nothing else is lost.

    Args:
        out: folder of the results; the report shows all that lies in it.
        rows: lesions of each case of the table.
        warnings: of the cases that have any.
        classes: of the models.
        failed, passed_over: how many scans; the report says so.
    """
    try:
        write_text(out / "summary.csv", _table(rows, warnings, classes))
        write_text(out / "report.html", prediction_report(out, failed, passed_over))
    except OSError as error:
        problem = f"cannot be written to ({error.strerror or error})"
        return InputError(out, problem, "make room, then run the same command again")
    return None


def _table(
    rows: Mapping[str, Sequence[dict[str, Any]]],
    warnings: Mapping[str, Sequence[str]],
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
