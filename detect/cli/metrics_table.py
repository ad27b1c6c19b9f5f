"""The numbers of one evaluation as a table for the terminal."""

import math

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from detect.evaluation.metrics import Metrics
from detect.evaluation.operating_point import Rates


def render_table(metrics: Metrics, rule: str | None = None) -> Table:
    """Show a row for all classes and one for each class; "–" where a number is undefined.

    Every precision, recall and F1 stands under its operating point and its confidence; the caption
    spells the operating points out.

    Args:
        metrics: the numbers.
        rule: how the frozen confidence was chosen.
    """
    best, frozen = metrics.best_f1, metrics.frozen
    points = [("best", best.confidence)]
    caption = [f"best: best F1 on this set @ conf {_confidence(best.confidence)}"]
    if frozen:
        points.append(("frozen", frozen.confidence))
        caption.append(
            f"frozen: {rule or 'frozen from val'} @ conf {_confidence(frozen.confidence)}"
        )
    caption.append("P, R, F1 at IoU 0.5; all: mean over the classes with boxes")

    # no padding: eleven columns just fit a terminal of 80
    table = Table(box=SIMPLE_HEAD, padding=0, caption="\n".join(caption), caption_justify="left")
    table.add_column("class", min_width=10, overflow="fold")
    for header in ("images", "boxes"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, confidence in points:
        for rate in ("P", "R", "F1"):
            header = f"{rate}\n{name}\n@ {_confidence(confidence)}"
            table.add_column(header, justify="right", no_wrap=True)
    for header in ("mAP50", "mAP50-95"):
        table.add_column(header, justify="right", no_wrap=True)

    table.add_row(
        "all",
        str(metrics.images),
        str(metrics.boxes),
        *_rates(best.mean),
        *(_rates(frozen.mean) if frozen else ()),
        _value(metrics.map50),
        _value(metrics.map50_95),
        end_section=True,
    )
    for row in metrics.per_class:
        table.add_row(
            Text(row.name),  # a name is no markup
            str(row.images),
            str(row.boxes),
            *_rates(row.best_f1),
            *(_rates(row.frozen.rates()) if row.frozen else ()),
            _value(row.ap50),
            _value(row.ap50_95),
        )
    return table


def _rates(rates: Rates) -> tuple[str, str, str]:
    return _value(rates.precision), _value(rates.recall), _value(rates.f1)


def _value(value: float) -> str:
    """Format a number with three decimals."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def _confidence(value: float) -> str:
    """Format two decimals without the leading zero, as in ".31"."""
    return "–" if math.isnan(value) else f"{value:.2f}".removeprefix("0")
