"""The numbers of two detectors side by side, as a table for the terminal."""

import math

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from detect.evaluation.bootstrap import DRAWS
from detect.workflows.compare import Comparison

_HEADERS = {
    "map50": "mAP50",
    "map50_95": "mAP50-95",
    "precision": "P frozen",
    "recall": "R frozen",
    "f1": "F1 frozen",
}


def render_comparison(comparison: Comparison) -> Table:
    """Show a number in each row, with its difference, interval and p."""
    first, second = comparison.names
    ways = f"all 2^{comparison.patients}" if comparison.is_exact else f"{DRAWS} random"
    lines = [
        f"A: {first}, B: {second}; {comparison.patients} patients,"
        f" {comparison.images} images of {comparison.split}",
        f"95 %: {DRAWS} draws of patients, the same for both",
        f"p: two-sided, from {ways} ways of swapping the detectors within patients",
        "P, R, F1 at IoU 0.5 and each detector's own frozen confidence",
    ]
    if comparison.patients < 6:  # 2 of 2^5 is more than 5 %
        lines.append(f"With {comparison.patients} patients no difference can reach p < 0.05.")
    table = Table(box=SIMPLE_HEAD, caption=Text("\n".join(lines)), caption_justify="left")
    table.add_column("")
    for header in ("A", "B", "B - A", "95 %", "p"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, row in comparison.numbers.items():
        table.add_row(
            _HEADERS[name],
            _fixed(row.first),
            _fixed(row.second),
            _fixed(row.difference, "+.3f"),
            "–" if math.isnan(row.low) else f"{row.low:+.3f} to {row.high:+.3f}",
            _fixed(row.p),
        )
    return table


def _fixed(value: float, form: str = ".3f") -> str:
    return "–" if math.isnan(value) else format(value, form)
