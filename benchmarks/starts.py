"""Train from several start weights with equal settings, and draw the learning curves.

Run: ``python benchmarks/starts.py DATASET --start coco=yolov8n.pt --start synthetic --start scratch
--epochs 8 --fold 1/3 --out OUT`` on a folder of `detect convert … --negatives all`. A start is a
name and a weight file, or `synthetic` (of `detect weights pretrain`), or `scratch`. All train with
the same settings, seed and patients. Prints val mAP50 of the best and the last epoch, and test
mAP50 with its interval over patients, of the network that is left; `OUT/starts.png` has the curves
of val. Interrupted, the same command goes on with the starts that are missing.
"""

import argparse
import csv
from pathlib import Path

from converters.dataset.folder import open_dataset
from converters.dataset.folds import fold_splits, parse_fold
from converters.dataset.split import Split
from detect.detectors.registry import load_detector
from detect.detectors.settings import TrainSettings
from detect.evaluation.bootstrap import bootstrap_patients, interval
from detect.evaluation.detect_split import detect_split
from detect.evaluation.matching import match
from detect.evaluation.metrics import measure
from detect.report.charts import Axis, Chart, Line, nice_ticks
from detect.workflows.train import train

MODEL = "yolov8n"


def main() -> None:
    """Train what is missing, score, print and draw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", action="append", required=True, metavar="NAME[=FILE]")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--fold", default="1/3")
    options = parser.parse_args()
    fold = parse_fold(options.fold, 0)
    dataset = open_dataset(options.data)
    test = fold_splits(dataset, fold)["test"]
    settings = TrainSettings(epochs=options.epochs, imgsz=options.imgsz, patience=0)
    curves = {}
    for start in options.start:
        name, _, file = start.partition("=")
        run = options.out / name
        if not run.exists():
            weights = file or (None if name == "scratch" else name)
            train(
                MODEL, options.data, out=run, weights=weights, settings=settings, fold=fold,
                overwrite=True,
            )  # fmt: skip
        with (run / "history.csv").open(encoding="utf-8", newline="") as rows:
            curves[name] = [float(row["val/mAP50"]) for row in csv.DictReader(rows)]
        summary = _tested(run, test, dataset.manifest.class_names)
        print(f"{name:10} val best {max(curves[name]):.3f}, last {curves[name][-1]:.3f}; {summary}")
    _draw(options.out / "starts.png", curves)


def _tested(run: Path, test: Split, classes: list[str]) -> str:
    detections = detect_split(load_detector(run, "auto"), test)
    matches = match(test.truth, detections, len(classes))
    low, high = interval(bootstrap_patients(matches, test.patient_ids, None).map50)
    return f"test mAP50 {measure(matches, classes).map50:.3f} ({low:.3f} to {high:.3f})"


def _draw(path: Path, curves: dict[str, list[float]]) -> None:
    lines = [
        Line(name, range(1, len(values) + 1), values, marks=True) for name, values in curves.items()
    ]
    epochs = max(len(values) for values in curves.values())
    highest = max(max(values) for values in curves.values())
    x, y = Axis("epoch", nice_ticks(epochs)), Axis("val mAP50", nice_ticks(highest or 1.0))
    Chart("Learning from several starts", lines, x, y, wide=True).write_png(path)


if __name__ == "__main__":
    main()
