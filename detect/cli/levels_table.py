"""The headline of each level as a table for the terminal, with intervals over patients."""

import math

from rich.box import SIMPLE_HEAD
from rich.table import Table

from detect.evaluation.findings.match import Linked, LinkedFroc
from detect.evaluation.levels import Levels
from detect.evaluation.metrics import Metrics


def render_levels(
    metrics: Metrics,
    levels: Levels,
    linked: Linked | None = None,
    linked_froc: LinkedFroc | None = None,
) -> Table:
    """Show a row for each number: level, meaning, value and 95 % interval."""
    lesions, cases, frozen = levels.lesions.all, levels.cases, metrics.frozen
    nan = float("nan")
    at = "frozen beforehand" if levels.chosen == "frozen" else "best F1 on this set"
    caption = "95 %: draws of patients with replacement"
    if levels.confidence is not None:
        caption += f"\nlesions and scans at conf {levels.confidence:.2g} ({at})"
    table = Table(box=SIMPLE_HEAD, padding=0, caption=caption, caption_justify="left")
    table.add_column("level", min_width=9)
    table.add_column("", min_width=42, overflow="fold")
    table.add_column("value", justify="right", min_width=6)
    table.add_column("95 %", justify="right", min_width=13)
    boxes = [
        ("mAP50", metrics.map50, "map50"),
        ("mAP50-95", metrics.map50_95, "map50_95"),
        *(
            (f"{what} frozen", getattr(frozen.mean, name) if frozen else nan, name)
            for what, name in (("P", "precision"), ("R", "recall"), ("F1", "f1"))
        ),
        ("mean sensitivity at ½ to 16 FP an image", levels.froc.image.mean, "froc_image"),
        ("mean sensitivity at ⅛ to 8 FP a scan", levels.froc.scan.mean, "froc_scan"),
    ]
    count = "" if math.isnan(lesions.found) else f", {lesions.found} of {lesions.total}"
    of_lesions = [
        (f"sensitivity{count}", lesions.sensitivity, "lesion_sensitivity"),
        ("mean sensitivity at ⅛ to 8 FP a scan", levels.lesions.froc_scan.mean, "lesion_froc"),
    ]
    normal = cases.total - cases.with_lesions
    of_cases = [
        (f"sensitivity ({cases.with_lesions} scans with lesions)", cases.sensitivity,
         "case_sensitivity"),
        (f"specificity ({normal} without)", cases.specificity, "case_specificity"),
        ("AUROC", cases.auroc, "case_auroc"),
        *(
            (f"diagnosis {name}, class mean", getattr(cases.macro, name), f"diagnosis_{name}")
            for name in ("accuracy", "precision", "recall", "f1")
        ),
    ]  # fmt: skip
    if linked:
        rates = f"P {_value(linked.precision)}, R {_value(linked.recall)}"
        of_lesions.append((f"F1 of {linked.findings} linked findings ({rates})", linked.f1, ""))
    if linked_froc:
        of_lesions.append(("sensitivity at 1 false finding a scan", linked_froc.at_one, ""))
    for level, rows in (("boxes", boxes), ("lesions", of_lesions), ("scans", of_cases)):
        for k, (what, value, name) in enumerate(rows):
            table.add_row(
                level if k == 0 else "",
                what,
                _value(value),
                _interval(levels.intervals[name]) if name else "–",
                end_section=k == len(rows) - 1,
            )
    return table


def _value(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _interval(ends: tuple[float, float]) -> str:
    return "–" if math.isnan(ends[0]) else f"{ends[0]:.3f}–{ends[1]:.3f}"
