"""The report of one evaluation: the numbers of `metrics.json`, curves, and the case browser."""

from collections.abc import Mapping
from typing import Any

from detect.detectors.card import ModelSpec
from detect.evaluation.detected import Detected
from detect.evaluation.findings.match import HIT_IOU
from detect.report.browser import browse
from detect.report.curves import evaluation_charts
from detect.report.findings import by_picture
from detect.report.page import interval, rate, render_page, thousands
from detect.report.slices import BUDGET

# sections of `metrics.json` that may be missing, from an earlier version or for want of data
SECTIONS = (
    "frozen", "intervals", "bootstrap", "by_diameter_mm", "by_coco_area", "curves", "confusion",
    "errors", "froc", "lesions", "linked", "cases", "conventions",
)  # fmt: skip
# of the model card's training; the rest of it is for machines
SETTINGS = ("epochs", "batch", "imgsz", "lr", "seed")

# kinds of errors in the order of TIDE, and what they mean
ERRORS = {
    "classification": "right place, wrong class",
    "localisation": "right class, poor overlap",
    "both": "wrong class and poor overlap",
    "duplicate": "a second box on a lesion already found",
    "background": "nothing is there",
    "missed": "a true box that no detection comes near",
}


# ways to make findings of the boxes, each a section of `linked`; the first one is what it holds
FINDINGS = {
    "": "boxes linked through the slices, as detect predict reports them",
    "one_finding_per_box": "one finding a box",
    "greedy_stacking": "greedy stacking: boxes on neighbouring slices that overlap at all",
}


def evaluation_report(metrics: Mapping[str, Any], detected: Detected, budget: int = BUDGET) -> str:
    """Write the report of one evaluation as a self-contained HTML page.

    Args:
        metrics: the content of `metrics.json`; a section that is absent or None is left out.
        detected: the detections that were scored.
        budget: bytes of pictures.
    """
    metrics = {**dict.fromkeys(SECTIONS), **metrics}
    name, split, classes = detected.name, detected.split, detected.classes
    detector = by_picture(name, detected.matches, detected.shown_confidence)
    browser = browse(split, classes, [detector], window=detected.window, budget=budget)
    return render_page(
        "evaluation.html",
        title=f"{name} on {metrics.get('split') or split.name}",
        metrics=metrics,
        patients=len(set(split.patient_ids)),
        cases=len(set(split.case_ids)),
        headline=headline(metrics),
        charts=evaluation_charts(metrics),
        sizes=_sizes(metrics),
        errors=_errors(metrics),
        findings=_findings(metrics.get("linked") or {}),
        confusion=_confusion(metrics),
        model=_model(metrics),
        point=point_of(metrics),
        classes=classes,
        confidence=detected.shown_confidence,
        browser=browser,
    )


def headline(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """Rows of what, value, interval and operating point, for what the metrics hold."""
    intervals = metrics.get("intervals") or {}
    rows: list[dict[str, str]] = []

    def add(what: str, value: float | None, point: str, ends: str | None = None) -> None:
        rows.append(
            {
                "what": what,
                "value": rate(value),
                "interval": interval(intervals.get(ends)) if ends else "",
                "point": point,
            }
        )

    add("mAP50", metrics.get("map50"), "all confidences, IoU 0.5", "map50")
    add("mAP50-95", metrics.get("map50_95"), "all confidences, IoU 0.50 … 0.95", "map50_95")
    for key, ends, origin in (
        ("frozen", "", "frozen beforehand"),
        ("best_f1", None, "best F1 on this very set, optimistic"),
    ):
        rates = metrics.get(key)
        if not rates:
            continue
        point = f"confidence {rate(rates['confidence'])}, {origin}; IoU 0.5"
        for label, rate_name in (("Precision", "precision"), ("Recall", "recall"), ("F1", "f1")):
            add(
                f"{label}, class mean",
                rates[rate_name],
                point,
                rate_name if ends is not None else None,
            )
    froc, lesions, cases = (metrics.get(key) or {} for key in ("froc", "lesions", "cases"))
    for unit in ("image", "scan"):
        if section := froc.get(unit):
            points = ", ".join(f"{v:g}" for v in section["false_positives"])
            at = f"{points} false positives per {unit}"
            add(f"FROC mean, per {unit}", section["mean"], at, f"froc_{unit}")
    point = point_of(metrics)
    if lesions:
        what = f"Lesion sensitivity ({thousands(lesions['found'])} of {lesions['total']})"
        add(what, lesions["sensitivity"], point, "lesion_sensitivity")
    if linked := metrics.get("linked"):
        findings = f"{thousands(linked['findings'])} for {linked['lesions']} lesions"
        at = f"confidence {rate(linked['confidence'])}; 3D IoU from {HIT_IOU} on"
        add(f"F1 of linked findings ({findings})", linked["f1"], at)
        if section := linked.get("froc"):
            points = ", ".join(f"{v:g}" for v in section["false_positives"])
            add("FROC mean, linked findings", section["mean"], f"{points} false findings per scan")
    if cases:
        add("Case sensitivity", cases["sensitivity"], point, "case_sensitivity")
        add("Case specificity", cases["specificity"], point, "case_specificity")
        add("Case AUROC", cases["auroc"], "all confidences", "case_auroc")
    return rows


def point_of(metrics: Mapping[str, Any]) -> str:
    """Name the operating point of the counts at lesion and case level."""
    point = metrics.get("operating_point") or metrics.get("frozen") or metrics.get("best_f1") or {}
    chosen = point.get("chosen") or ("frozen" if metrics.get("frozen") else "best F1 on this set")
    return f"confidence {rate(point.get('confidence'))} ({chosen})"


def _sizes(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By diameter, boxes and lesions of one range in one row."""
    lesions = (metrics.get("lesions") or {}).get("by_diameter_mm") or []
    by_range = {(row["from"], row["to"]): row for row in lesions}
    return [
        {**row, "range": range_of(*ends), "lesions": by_range.get(ends)}
        for row in metrics.get("by_diameter_mm") or []
        for ends in [(row["from"], row["to"])]
    ]


def range_of(low: float | None, high: float | None) -> str:
    """Write a range of diameters: `< 5`, `5–10`, `> 20`."""
    if not low:
        return f"< {high:g}" if high is not None else "all"
    return f"{low:g}–{high:g}" if high is not None else f"> {low:g}"


def _errors(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    errors = metrics.get("errors") or {}
    most = max((row.get("ap50_gain") or 0 for row in errors.values()), default=0) or 1
    return [
        {
            "kind": kind,
            "meaning": meaning,
            "share": round(100 * max(errors[kind].get("ap50_gain") or 0, 0) / most, 1),
            **errors[kind],
        }
        for kind, meaning in ERRORS.items()
        if errors.get(kind)
    ]


def _findings(linked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Linked findings, and plainer ones of the same boxes beside them."""
    named = [(way, linked.get(key) if key else linked) for key, way in FINDINGS.items()]
    rows = [{"way": way, **numbers} for way, numbers in named if numbers]
    if froc := linked.get("froc"):
        sizes = [
            {**row, "range": range_of(row["from"], row["to"])} for row in froc["by_diameter_mm"]
        ]
        rows[0]["froc"] = {**froc, "by_diameter_mm": sizes}
    return rows


def _confusion(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Rows of cells; the shade of a cell is its share of the row."""
    confusion = metrics.get("confusion")
    if not confusion:
        return None
    rows = []
    both = zip(confusion["labels"], confusion["matrix"], strict=True)
    for number, (label, row) in enumerate(both):
        whole = sum(row) or 1
        cells = [
            {"count": n, "shade": round(0.7 * n / whole, 3), "diagonal": k == number}
            for k, n in enumerate(row)
        ]
        rows.append({"label": label, "cells": cells})
    return {**confusion, "rows": rows}


def _source(source: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Describe the origin of detections that another tool made."""
    scored = f", scored by {source['score']}" if source.get("score") else ""
    rows = [("Detections", f"{source['name']}: {source['form']}{scored}")]
    if point := metrics.get("operating_point"):
        rows.append(("Operating point", f"confidence {rate(point['confidence'])}: {point['rule']}"))
    return rows + _notes(metrics)


def _model(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List the main facts of the model card and of an ensemble's members; no path."""
    card, source = metrics.get("model"), metrics.get("predictions")
    if isinstance(source, Mapping):
        return _source(source, metrics)
    if not isinstance(card, Mapping) or "spec" not in card:
        return []
    spec, members = card["spec"], metrics.get("members") or [card]
    rows = [] if len(members) == 1 else [("Ensemble", f"{spec['model']}; {metrics['fusion']}")]
    rows.append(("Pictures", ModelSpec.model_validate(spec).representation.describe()))
    for member in members:
        rows += _trained(member)
    if point := card.get("operating_point"):
        rows.append(("Operating point", f"confidence {rate(point['confidence'])}: {point['rule']}"))
    if metrics.get("fold"):
        rows.append(("Fold", str(metrics["fold"])))
    return rows + _notes(metrics)


def _trained(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    spec, parameters, training = card["spec"], card.get("parameters"), card.get("training") or {}
    return [
        ("Model", f"{spec['model']} ({spec['family']}), input {spec['imgsz']} px"),
        ("Parameters", f"{(parameters or {}).get('fused', 0) / 1e6:.3f} M fused"),
        ("Started from", str(card.get("started_from"))),
        ("Training", ", ".join(f"{key} {training[key]}" for key in SETTINGS if key in training)),
    ]


def _notes(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [("Note", note) for note in metrics.get("notes") or []]
