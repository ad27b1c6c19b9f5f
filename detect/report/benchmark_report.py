"""The report of a benchmark: all models side by side, in numbers, charts and on the same slices."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from converters.dataset.coco import detections_from_coco
from converters.dataset.folder import Dataset
from converters.dataset.folds import fold_splits
from converters.dataset.split import load_split
from detect.benchmarking.results import Row, Summary, spread, summarise
from detect.benchmarking.runs import EVALUATION
from detect.evaluation.matching import match
from detect.report.browser import Browser, browse
from detect.report.charts import Axis, Chart, Line, log_ticks, nice_ticks
from detect.report.curves import IMAGE_TICKS, SCAN_TICKS, froc_chart
from detect.report.evaluation_report import ERRORS, range_of
from detect.report.findings import by_picture
from detect.report.page import UNKNOWN, interval, rate, render_page
from detect.report.slices import BUDGET

# of a run's metrics: what, and where it stands
LEVELS: tuple[tuple[str, tuple[str | int, ...]], ...] = (
    ("FROC mean, per image", ("froc", "image", "mean")),
    ("FROC mean, per scan", ("froc", "scan", "mean")),
    ("lesion sensitivity", ("lesions", "sensitivity")),
    ("case sensitivity", ("cases", "sensitivity")),
    ("case specificity", ("cases", "specificity")),
    ("case AUROC", ("cases", "auroc")),
)


def benchmark_report(
    dataset: Dataset,
    out: Path,
    rows: Sequence[Row],
    heading: str,
    errors: Sequence[str],
    budget: int = BUDGET,
) -> str:
    """Write the report of a benchmark, finished or not.

    Args:
        dataset: that the models were scored on.
        out: folder of the benchmark; the evaluations of the finished runs are read.
        rows: of all runs.
        heading: says what was scored.
        errors: what failed, a line each; without paths.
        budget: bytes of pictures.
    """
    summaries = summarise(rows)
    done = {s.model: [_metrics(row, out) for row in s.rows] for s in summaries if s.rows}
    browser, where = _browser(dataset, out, rows, budget)
    return render_page(
        "benchmark.html",
        title=f"Benchmark on {dataset.manifest.request.recipe.name}",
        heading=heading.replace("`", ""),  # it is written for Markdown
        errors=errors,
        models=[_model(summary) for summary in summaries],
        charts=_charts(summaries, rows, done),
        tables=[table for table in _tables(dataset, done) if table["rows"]],
        browser=browser,
        where=where,
    )


def _metrics(row: Row, out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (row.run.bundle(out) / EVALUATION / "metrics.json").read_bytes()
    )
    return content


def _model(summary: Summary) -> dict[str, Any]:
    """Cells of a model, mean ± standard deviation where there are several runs."""
    missing = summary.asked - len(summary.rows)
    state = f"{len(summary.rows)} of {summary.asked} runs" if missing else ""

    def cell(number: str, digits: int = 3) -> str:
        return spread(summary.values(number), digits)

    names = ("precision", "recall", "f1", "confidence")
    return {
        "name": summary.model,
        "state": f"{state}, {summary.failed} failed" if summary.failed else state,
        "map50": cell("map50"),
        "map50_interval": _ends(summary, "map50"),
        "map50_95": cell("map50_95"),
        "frozen": [cell(f"{name}_frozen") for name in names],
        "best": [cell(f"{name}_best") for name in names],
        "f1_interval": _ends(summary, "f1_frozen"),
        "parameters": rate(summary.mean("parameters") / 1e6, 2),
        "cost": [
            cell("ms_per_slice", 1),
            cell("seconds_per_epoch", 1),
            cell("training_mib", 0),
            cell("inference_mib", 0),
        ],
        "device": ", ".join(sorted({row.device for row in summary.rows})) or UNKNOWN,
    }


def _ends(summary: Summary, name: str) -> str:
    return interval(summary.interval(name))


def _charts(
    summaries: Sequence[Summary],
    rows: Sequence[Row],
    done: Mapping[str, Sequence[Mapping[str, Any]]],
) -> list[Chart]:
    """Accuracy against speed, learning curves, and FROC of each model's first run."""
    colour = {summary.model: k for k, summary in enumerate(summaries)}
    charts = [chart for chart in (accuracy_chart(summaries), learning_chart(rows)) if chart.lines]
    for unit, ticks in (("image", IMAGE_TICKS), ("scan", SCAN_TICKS)):
        sections = {
            model: runs[0]["froc"][unit] for model, runs in done.items() if runs[0].get("froc")
        }
        if sections:
            title = f"FROC by {unit}"
            note = "The first run of each model."
            charts.append(froc_chart(title, sections, unit, ticks, note, colour))
    return charts


def accuracy_chart(summaries: Sequence[Summary]) -> Chart:
    """Draw mAP50 with its interval against the time a slice takes; area as the parameters."""
    lines, ends, times, devices = [], [], [], set()
    for number, summary in enumerate(summaries):
        x, y = summary.mean("ms_per_slice"), summary.mean("map50")
        if math.isnan(x) or math.isnan(y):
            continue
        low, high = (None if math.isnan(v) else v for v in summary.interval("map50"))
        millions = summary.mean("parameters") / 1e6
        lines.append(
            Line(
                f"{summary.model}, {millions:.1f} M", [x], [y], [low], [high], colour=number,
                marks=True, joined=False, labelled=True, radius=math.sqrt(6 + 1.6 * millions),
            )
        )  # fmt: skip
        times.append(x)
        ends += [v for v in (low, high, y) if v is not None]
        devices |= {f"{row.device}, {row.batch} slices a call" for row in summary.rows}
    note = "No model is finished."
    if lines:
        note = "Intervals over patients; parameters in millions, fused."
        note += f" Measured on {devices.pop()}." if len(devices) == 1 else ""
    fastest, slowest = (min(times), max(times)) if times else (1.0, 100.0)
    return Chart(
        "Accuracy against speed",
        lines,
        Axis("ms per slice, log scale", log_ticks(fastest / 1.2, slowest * 1.2), True),
        Axis("mAP50 with 95 % interval", nice_ticks(max(ends), min(ends)) if ends else [0, 1]),
        note=note,
        wide=True,
    )


def learning_chart(rows: Sequence[Row]) -> Chart:
    """Draw val mAP50 against the seconds of training: a line a run, a colour a model."""
    colour = {model: k for k, model in enumerate(dict.fromkeys(row.run.model for row in rows))}
    lines = []
    seen: set[str] = set()
    for row in rows:
        if row.curve:
            x, y = (list(values) for values in zip(*row.curve, strict=True))
            name = "" if row.run.model in seen else row.run.model
            y = [None if math.isnan(v) else v for v in y]
            lines.append(Line(name, x, y, colour=colour[row.run.model], marks=len(x) == 1))
            seen.add(row.run.model)
    highest = max((v for line in lines for v in line.y if v is not None), default=0.0)
    return Chart(
        "Learning: mAP50 on val after each epoch",
        lines,
        Axis("training, seconds", nice_ticks(max((line.x[-1] for line in lines), default=1.0))),
        Axis("mAP50 on val", nice_ticks(highest or 1.0)),
        note="" if lines else "No epoch is finished.",
        wide=True,
    )


def _tables(
    dataset: Dataset, done: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """Tables of a row a number and a column a model: means over the runs."""
    names = dataset.manifest.request.recipe.class_names
    first = next((runs[0] for runs in done.values()), {})
    ranges = [(r["from"], r["to"]) for r in first.get("by_diameter_mm") or []]

    def table(title: str, rows: Sequence[tuple[str, tuple[str | int, ...]]]) -> dict[str, Any]:
        cells = [(what, [_mean(runs, path) for runs in done.values()]) for what, path in rows]
        known = [(what, row) for what, row in cells if any(cell != UNKNOWN for cell in row)]
        return {"title": title, "models": list(done), "rows": known}

    return [
        table("AP50 by class", [(name, ("per_class", name, "ap50")) for name in names]),
        table(
            "Recall by diameter in mm, at each model's frozen confidence, IoU 0.5",
            [
                (range_of(*ends), ("by_diameter_mm", k, "recall_frozen"))
                for k, ends in enumerate(ranges)
            ],
        ),
        table("Images, lesions and cases; single rates at each operating point", LEVELS),
        table(
            "mAP50 gained without one kind of error",
            [(kind, ("errors", kind, "ap50_gain")) for kind in ERRORS],
        ),
    ]


def _mean(runs: Sequence[Mapping[str, Any]], path: Sequence[str | int]) -> str:
    """Mean of one number over the runs that have it."""
    values = []
    for metrics in runs:
        value: Any = metrics
        for key in path:
            try:
                value = value[key]
            except (KeyError, TypeError, IndexError):  # a section that is missing
                value = None
                break
        if value is not None:
            values.append(float(value))
    return rate(fmean(values)) if values else UNKNOWN


def _browser(
    dataset: Dataset, out: Path, rows: Sequence[Row], budget: int
) -> tuple[Browser | None, str]:
    """All models that are done on the slices of one split: the first fold's, of the first seed."""
    finished = [row.run for row in rows if row.status == "done"]
    if not finished:
        return None, ""
    fold, seed = rows[0].run.fold, rows[0].run.seed
    runs = [run for run in finished if run.fold == fold and run.seed == seed]
    if not runs:
        return None, ""
    split = fold_splits(dataset, fold)["test"] if fold else load_split(dataset, "test")
    recipe = dataset.manifest.request.recipe
    detectors = []
    for run in runs:
        folder = run.bundle(out) / EVALUATION
        metrics = json.loads((folder / "metrics.json").read_bytes())
        source = folder / "predictions.json"
        results = json.loads(source.read_bytes())
        count = len(recipe.class_names)
        boxes = detections_from_coco(results, split.image_ids, count, source)
        point = metrics.get("frozen") or metrics["best_f1"]
        confidence = point["confidence"] if point["confidence"] is not None else 1.0
        detectors.append(by_picture(run.model, match(split.truth, boxes, count), confidence))
    browser = browse(
        split,
        recipe.class_names,
        detectors,
        window=recipe.representation.shown_window,
        budget=budget,
    )
    where = f"the test patients of fold {fold.number} of {fold.of}" if fold else "the test split"
    seeds = len({row.run.seed for row in rows}) > 1
    return browser, where + (f", trained with seed {seed}" if seeds else "")
