"""Read the results of a benchmark's runs, summarise them, and write its tables."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.benchmarking.runs import EVALUATION, MEASURES, TRAINING, Run
from detect.evaluation.bootstrap import interval

_INTERVALS = ("map50", "map50_95", "precision_frozen", "recall_frozen", "f1_frozen")
NUMBERS = (
    "precision_best", "recall_best", "f1_best", "confidence_best",
    "precision_frozen", "recall_frozen", "f1_frozen", "confidence_frozen",
    "map50", "map50_95", "parameters", "epochs", "seconds_per_epoch", "ms_per_slice",
    "training_mib", "inference_mib", "images", "boxes", "patients",
)  # fmt: skip
COLUMNS = (
    "model", "fold", "seed", "status", *NUMBERS,
    *(f"{name}_{end}" for name in _INTERVALS for end in ("low", "high")), "device", "batch",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        run: which one.
        status: done, failed or waiting.
        numbers: those of `NUMBERS`; NaN for what is undefined or was not measured.
        draws: ``(draws,)`` of each number that has an interval.
        curve: seconds of training and val mAP50 after each epoch.
        device, batch: that the speed was measured with.
    """

    run: Run
    status: str
    numbers: dict[str, float]
    draws: dict[str, NDArray[np.float64]]
    curve: list[tuple[float, float]]
    device: str = ""
    batch: int | None = None


@dataclass(frozen=True)
class Summary:
    """All runs of one model.

    Attributes:
        model: its name.
        rows: of the runs that are done.
        asked: how many runs there should be.
        failed: how many failed.
    """

    model: str
    rows: list[Row]
    asked: int
    failed: int

    def values(self, name: str) -> list[float]:
        """One number of each run, where it is defined."""
        values = [row.numbers[name] for row in self.rows]
        return [v for v in values if not math.isnan(v)]

    def mean(self, name: str) -> float:
        """Mean of a number over the runs; NaN where no run has it."""
        return fmean(self.values(name) or [math.nan])

    def interval(self, name: str) -> tuple[float, float]:
        """95 % interval of the mean over the runs.

        Draw k of the mean is the mean of the runs' draws k: runs of one fold were scored on the
        same patients and draw the same ones, runs of different folds draw apart.
        """
        if not self.rows:
            return math.nan, math.nan
        return interval(np.mean([row.draws[name] for row in self.rows], axis=0))


def read_row(run: Run, out: Path, failed: bool) -> Row:
    """Read what a run left."""
    if not run.is_done(out):
        status = "failed" if failed else "waiting"
        return Row(run, status, dict.fromkeys(NUMBERS, math.nan), {}, [])
    bundle = run.bundle(out)
    metrics, measures = _json(bundle / EVALUATION / "metrics.json"), _json(bundle / MEASURES)
    training = bundle / TRAINING  # missing where the process was killed right after the training
    best, frozen = metrics["best_f1"], metrics["frozen"] or {}
    history = _history(bundle / "history.csv")
    seconds = [second for second, _ in history]
    draws = measures["draws"]
    numbers = {
        **{f"{name}_best": best[name] for name in ("precision", "recall", "f1", "confidence")},
        **{
            f"{name}_frozen": frozen.get(name)
            for name in ("precision", "recall", "f1", "confidence")
        },
        "map50": metrics["map50"],
        "map50_95": metrics["map50_95"],
        "parameters": metrics["model"]["parameters"]["fused"],
        "epochs": len(history),
        "seconds_per_epoch": median(np.diff([0.0, *seconds]).tolist()),
        "ms_per_slice": measures["ms_per_slice"],
        "training_mib": _json(training)["peak_mib"] if training.is_file() else None,
        "inference_mib": measures["peak_mib"],
        "images": metrics["images"],
        "boxes": metrics["boxes"],
        "patients": measures["patients"],
    }
    return Row(
        run,
        "done",
        {name: math.nan if value is None else float(value) for name, value in numbers.items()},
        {name: np.array(draws[name.removesuffix("_frozen")], np.float64) for name in _INTERVALS},
        history,
        measures["device"],
        measures["batch"],
    )


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def _history(path: Path) -> list[tuple[float, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(float(r["seconds"]), float(r["val/mAP50"])) for r in csv.DictReader(file)]


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """Gather the rows of each model, in order."""
    return [
        Summary(
            model,
            [row for row in rows if row.run.model == model and row.status == "done"],
            sum(row.run.model == model for row in rows),
            sum(row.run.model == model and row.status == "failed" for row in rows),
        )
        for model in dict.fromkeys(row.run.model for row in rows)
    ]


def to_csv(rows: Sequence[Row]) -> str:
    """One line a run; empty where a number is undefined or was not measured."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for row in rows:
        cells: dict[str, Any] = {name: _plain(value) for name, value in row.numbers.items()}
        for name, draws in row.draws.items():
            for end, value in zip(("low", "high"), interval(draws), strict=True):
                cells[f"{name}_{end}"] = _plain(value)
        fold = row.run.fold
        table.writerow(
            {
                "model": row.run.model,
                "fold": fold.number if fold else "",
                "seed": row.run.seed,
                "status": row.status,
                **cells,
                "device": row.device,
                "batch": row.batch,
            }
        )
    return text.getvalue()


def _plain(value: float) -> str:
    """Up to nine digits, enough to compare and not the last bits of a machine."""
    return "" if math.isnan(value) else f"{value:.9g}"


_NOTES = """
- **P, R, F1 best**: at IoU 0.5 and the confidence of the best class-mean F1 *on the scored set
  itself*, as ultralytics and tables made with it read them; optimistic by construction.
- **P, R, F1 frozen**: at IoU 0.5 and the confidence that was chosen on val before test was looked
  at; the honest ones.
- **mAP50, mAP50-95**: COCO's. **95 %**: percentile interval of 1000 draws of the test patients with
  replacement; a class without a true box in a draw is left out of that draw's mean.
- **params**: millions, of the fused network. **s/epoch**: median, scoring on val included.
- **ms/slice**: median after warm-up, from a grey picture in memory to its boxes, {speed}.
- **MiB**: the peak of training and of inference, each in a process of its own: {memory}.
"""


def to_markdown(summaries: Sequence[Summary], heading: str, errors: Sequence[str]) -> str:
    """One line a model: mean, and ± standard deviation over folds and seeds where there are more.

    Args:
        summaries: of the models.
        heading: says what was scored.
        errors: what failed, a line each.
    """
    header = [
        "model", "P best", "R best", "mAP50", "95 %", "params", "F1 best", "P frozen", "R frozen",
        "F1 frozen", "mAP50-95", "s/epoch", "ms/slice", "MiB training", "MiB inference",
    ]  # fmt: skip
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    lines += [_cells(summary) for summary in summaries]
    done = [row for summary in summaries for row in summary.rows]
    speeds = sorted({f"{row.batch} slices a call on {row.device}" for row in done})
    on_gpu = any(not row.device.startswith("CPU") for row in done)
    memory = "of the GPU, as torch counts it" if on_gpu else "resident"
    notes = _NOTES.format(speed=" and ".join(speeds) or "of no model yet", memory=memory)
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    failures = "".join(f"- {error}\n" for error in errors)
    listed = f"\nFailed:\n\n{failures}" if failures else ""
    return f"# Benchmark\n\n{heading}\n\n{table}\n{listed}{notes}"


def _cells(summary: Summary) -> list[str]:
    name = summary.model
    missing = summary.asked - len(summary.rows)
    if not summary.rows:
        state = "failed" if summary.failed else "waiting"
        return [name, state, *["–"] * 13]
    if missing:
        name += f" ({len(summary.rows)} of {summary.asked} runs, {summary.failed} failed)"

    def cell(number: str, digits: int = 3) -> str:
        return spread(summary.values(number), digits)

    return [
        name,
        cell("precision_best"),
        cell("recall_best"),
        cell("map50"),
        write_range(summary.interval("map50")),
        f"{summary.mean('parameters') / 1e6:.3f}",
        cell("f1_best"),
        cell("precision_frozen"),
        cell("recall_frozen"),
        cell("f1_frozen"),
        cell("map50_95"),
        cell("seconds_per_epoch", 1),
        cell("ms_per_slice", 1),
        cell("training_mib", 0),
        cell("inference_mib", 0),
    ]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Write a mean, with the standard deviation of the sample where there are several values."""
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{fmean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def write_range(ends: tuple[float, float]) -> str:
    """Write an interval to three digits; a dash where it is undefined."""
    return "–" if math.isnan(ends[0]) else f"{ends[0]:.3f}–{ends[1]:.3f}"
