"""`history.csv`: what each epoch gave, scored on val by our evaluator, for every family."""

import csv
import io
import math
from pathlib import Path
from typing import Any

from converters.core.files import write_text
from detect.evaluation.metrics import Metrics


def val_columns(metrics: Metrics) -> dict[str, float]:
    """Return the columns of an epoch's scores on val."""
    point = metrics.best_f1.mean
    return {
        "val/mAP50": metrics.map50,
        "val/mAP50-95": metrics.map50_95,
        "val/P": point.precision,
        "val/R": point.recall,
    }


def fitness(metrics: Metrics) -> float:
    """Return what says which epoch is best: mAP50, or 0 where val holds no lesion."""
    return metrics.map50 if math.isfinite(metrics.map50) else 0.0


def write_history(run_dir: Path, rows: list[dict[str, Any]]) -> None:
    """Write `history.csv` anew; its columns are those of the last row."""
    text = io.StringIO()
    table = csv.DictWriter(text, rows[-1], extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(run_dir / "history.csv", text.getvalue())


def note(row: dict[str, Any]) -> str:
    """Return a row in short, for the progress bar."""
    return f"epoch {row['epoch']}: val mAP50 {row['val/mAP50']:.3f}"


def kept_weights(run_dir: Path, epochs: int) -> Path:
    """Return the weight file in `run_dir` that a training of at most so many epochs leaves."""
    with (run_dir / "history.csv").open(encoding="utf-8", newline="") as rows:
        whole = sum(1 for _ in csv.DictReader(rows)) == epochs
    return run_dir / "weights" / ("last.safetensors" if whole else "best.safetensors")
