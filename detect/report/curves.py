"""Draw the charts of an evaluation from the sections of `metrics.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

from detect.report.charts import Axis, Chart, Line
from detect.report.page import rate

IMAGE_TICKS = (0.25, 0.5, 1, 2, 4, 8, 16)
SCAN_TICKS = (0.125, 0.25, 0.5, 1, 2, 4, 8)
SENSITIVITY = "sensitivity"


def evaluation_charts(metrics: Mapping[str, Any]) -> list[Chart]:
    """Draw precision–recall, F1–confidence, reliability and FROC charts."""
    curves, froc = metrics.get("curves") or {}, metrics.get("froc") or {}
    lesions = metrics.get("lesions") or {}
    charts = []
    if pr := curves.get("pr"):
        lines = [Line(name, curve["recall"], curve["precision"]) for name, curve in pr.items()]
        charts.append(
            Chart(
                "Precision and recall by class", lines, Axis("recall"), Axis("precision"),
                note="IoU 0.5, every confidence.",
            )
        )  # fmt: skip
    if f1 := curves.get("f1"):
        lines = [Line(name, curve["confidence"], curve["f1"]) for name, curve in f1.items()]
        charts.append(
            Chart(
                "F1 against confidence by class", lines, Axis("confidence"), Axis("F1"),
                verticals=_points(metrics), note="IoU 0.5.",
            )
        )  # fmt: skip
    if reliability := curves.get("reliability"):
        charts.append(_reliability(reliability))
    rule = f"Hit: {froc['hit_rule']}." if froc.get("hit_rule") else ""
    for title, section, unit, ticks, note in (
        ("FROC: sensitivity for boxes, by image", froc.get("image"), "image", IMAGE_TICKS, rule),
        ("FROC: sensitivity for boxes, by scan", froc.get("scan"), "scan", SCAN_TICKS, rule),
        ("FROC: sensitivity for 3D lesions", lesions.get("froc_scan"), "scan", SCAN_TICKS, ""),
    ):
        if section:
            charts.append(froc_chart(title, {"": section}, unit, ticks, note))
    if linked := (metrics.get("linked") or {}).get("froc"):
        title = "FROC: sensitivity for 3D lesions by linked findings"
        note = "A false positive is a finding, on however many slices."
        charts.append(froc_chart(title, {"": linked}, "scan", SCAN_TICKS, note))
    return charts


def froc_chart(
    title: str,
    sections: Mapping[str, Mapping[str, Any]],
    unit: str,
    ticks: Sequence[float],
    note: str = "",
    colours: Mapping[str, int] | None = None,
) -> Chart:
    """Draw FROC curves, with marks at the false-positive rates that the mean is taken over.

    Args:
        title: of the chart.
        sections: name → section `image`, `scan` or `froc_scan` of the metrics.
        unit: image or scan.
        ticks: of the logarithmic axis.
        note: stands below.
        colours: place of each name in the palette; its place among the sections if not given.
    """
    lines: list[Line] = []
    for place, (name, section) in enumerate(sections.items()):
        colour = colours[name] if colours else place
        curve = section.get("curve") or section
        points = list(zip(curve["false_positives"], curve[SENSITIVITY], strict=True))
        before = [y for x, y in points if x <= ticks[0]]
        seen = [(x, y) for x, y in points if ticks[0] < x <= ticks[-1]]
        if before or seen:
            x = [ticks[0], *(x for x, _ in seen), ticks[-1]]
            y = [before[-1] if before else 0.0, *(y for _, y in seen)]
            lines.append(Line(name, x, [*y, y[-1]], colour=colour, steps=True))
        if not name:  # marks of several curves would hide each other
            rates = section["false_positives"], section[SENSITIVITY]
            lines.append(Line("", *rates, colour=colour, marks=True, joined=False))
    means = [f"{name} {rate(section.get('mean'))}".strip() for name, section in sections.items()]
    where = ", ".join(f"{v:g}" for v in next(iter(sections.values()))["false_positives"])
    text = f"Mean at {where} false positives per {unit}: {'; '.join(means)}. {note}"
    axis = Axis(f"false positives per {unit}, log scale", ticks, logarithmic=True)
    return Chart(title, lines, axis, Axis(SENSITIVITY), note=text.strip())


def _points(metrics: Mapping[str, Any]) -> list[tuple[float, str]]:
    """Operating points as marks on an axis of confidence."""
    marks = []
    for key, name in (("frozen", "frozen"), ("best_f1", "best F1 here")):
        confidence = (metrics.get(key) or {}).get("confidence")
        if confidence is not None:
            marks.append((confidence, f"{name} {confidence:.2f}"))
    return marks


def _reliability(reliability: Mapping[str, Any]) -> Chart:
    bins = [
        row for row in reliability["bins"]
        if row.get("count") and row.get("precision") is not None
    ]  # fmt: skip
    x = [row["mean_confidence"] for row in bins]
    y = [row["precision"] for row in bins]
    return Chart(
        "Reliability: how often a confidence is right",
        [Line("", x, y, marks=True)],
        Axis("mean confidence of the detections in a bin"),
        Axis("share of them that hit, IoU 0.5"),
        diagonal=True,
        note=f"Expected calibration error {rate(reliability.get('ece'))}. On the diagonal a"
        " confidence is a probability; below it the detector is too sure.",
    )
