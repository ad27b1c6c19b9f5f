"""Cross-validate `detect train` against the plain `yolo detect train`: same slices, same time.

Run: ``python benchmarks/recipe.py DATASET --weights yolov8n.pt --budget 6min --out OUT`` on a
folder of `detect convert … --negatives all`. In each fold both train on the same patients from the
same weights for the same wall-clock time, one after the other, and our evaluator scores both on the
patients that the fold leaves out; the folds' detections are then pooled, so that every patient is
tested on once. The stock side is ultralytics with no argument but data, size, batch and time; of
the slices without a lesion it gets as many as there are with one, as `detect convert` gives by
default, and of synthetic cases (`detect synthesize`), which our side learns from, none.

Prints mAP50 with its interval over patients, the paired difference with p, sensitivity at one false
positive an image, and lesions found at one false positive a scan by their diameter. Levers are left
out one at a time with `--set KEY=VALUE` (a setting of `detect train`) and `--argument KEY=VALUE`
(one of ultralytics, such as mosaic=0), each with an --out of its own and `--stock-from` the first
one. Interrupted, the same command goes on with the trainings that are missing.
"""

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from converters.atomic import write_json
from converters.dataset import Dataset, open_dataset
from detect.boxes import Boxes
from detect.compare import compare
from detect.dataset import Split
from detect.detectors.registry import load_detector
from detect.detectors.ultralytics import training
from detect.detectors.weight_files import read_state
from detect.evaluate import write_evaluation
from detect.evaluation.coco_results import detections_from_coco, detections_to_coco
from detect.evaluation.matching import match
from detect.evaluation.operating_choice import choose, parse_rule
from detect.folds import fold_splits
from detect.model_card import Fold, OperatingPoint
from detect.scoring import detect_split
from detect.settings import TrainSettings, parse_duration, resolve_settings
from detect.train import train
from detect.weights import choose_start

MODEL = "yolov8n"
SIDES = ("stock", "recipe")


def main() -> None:
    """Train what is missing, pool, compare and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", help="to start from; neither side gets any if not given")
    parser.add_argument("--budget", default="6min")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--argument", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--stock-from", type=Path, help="--out of a run whose stock side to take")
    options = parser.parse_args()
    dataset = open_dataset(options.data)
    changed = dict(item.split("=", 1) for item in options.set)
    _change_arguments({k: float(v) for k, v in (item.split("=", 1) for item in options.argument)})
    for number in range(1, options.folds + 1):
        fold = Fold(number=number, of=options.folds, seed=options.seed)
        splits = fold_splits(dataset, fold)
        for side in SIDES:
            where = options.stock_from if side == "stock" and options.stock_from else options.out
            found = where / f"{side}-{number}.json"
            if found.exists():
                continue
            if side == "stock":
                boxes = _stock(options, dataset, splits, options.out / f"stock-{number}")
            else:
                boxes = _recipe(options, changed, fold, splits, options.out / f"recipe-{number}")
            write_json(found, detections_to_coco(boxes, splits["test"].image_ids))
    _report(options, dataset)


def _change_arguments(changed: dict[str, float]) -> None:
    """Let our side hand ultralytics other arguments than the recipe's."""
    ours = training._arguments

    def arguments(*given: Any) -> dict[str, Any]:
        made = ours(*given)
        return made | {key: type(made.get(key, value))(value) for key, value in changed.items()}

    training._arguments = arguments


def _recipe(
    options: argparse.Namespace,
    changed: dict[str, str],
    fold: Fold,
    splits: dict[str, Split],
    out: Path,
) -> list[Boxes]:
    given: dict[str, Any] = {"imgsz": options.imgsz, "batch": options.batch, **changed}
    settings = resolve_settings(
        TrainSettings(),
        {"budget": options.budget, "device": "auto", "patience": 0, "seed": options.seed} | given,
    )
    run = train(
        MODEL, options.data, out=out, weights=options.weights, settings=settings, fold=fold,
        overwrite=True,
    )  # fmt: skip
    print(f"{out}: {run.card.training['epochs']} epochs")
    return detect_split(load_detector(run.bundle, "auto"), splits["test"])


def _stock(
    options: argparse.Namespace, dataset: Dataset, splits: dict[str, Split], out: Path
) -> list[Boxes]:
    from ultralytics import YOLO

    rng = np.random.default_rng(options.seed)
    train_split = splits["train"]
    train_split = train_split.select(
        [k for k, made_up in enumerate(train_split.synthetic) if not made_up]
    )
    with_box = [k for k, truth in enumerate(train_split.truth) if len(truth)]
    without = [k for k, truth in enumerate(train_split.truth) if not len(truth)]
    negatives = rng.permutation(without)[: len(with_box)].tolist()
    _write_yolo(out / "data", "train", train_split.select(sorted([*with_box, *negatives])))
    _write_yolo(out / "data", "val", splits["val"])
    names = dataset.manifest.class_names
    yaml = {"path": str((out / "data").absolute()), "train": "images/train", "val": "images/val"}
    write_json(out / "data" / "data.yaml", yaml | {"names": names})  # JSON is YAML, too

    network = YOLO(f"{MODEL}.yaml")
    start = choose_start(MODEL, options.weights).path
    if start:
        from detect.detectors.ultralytics.network import load_checkpoint

        state = read_state(start, False, load_checkpoint)
        own = network.model.state_dict()
        taken = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
        network.model.load_state_dict(taken, strict=False)
        network.ckpt = {"model": network.model}  # else its trainer builds a fresh network
    network.train(
        data=str(out / "data" / "data.yaml"), imgsz=options.imgsz, batch=options.batch,
        time=parse_duration(options.budget) / 3600, seed=options.seed, plots=False,
        project=str(out.absolute()), name="run", exist_ok=True,
        device=0 if torch.cuda.is_available() else "cpu",
    )  # fmt: skip
    trained = YOLO(str(out / "run" / "weights" / "best.pt"))
    return [
        _boxes(trained.predict(np.repeat(picture[..., None], 3, 2), conf=0.001, iou=0.7,
                               max_det=300, imgsz=options.imgsz, verbose=False)[0])
        for batch in splits["test"].batches(16) for picture in batch
    ]  # fmt: skip


def _write_yolo(folder: Path, name: str, split: Split) -> None:
    for kind in ("images", "labels"):
        (folder / kind / name).mkdir(parents=True, exist_ok=True)
    for k, path in enumerate(split.paths):
        cv2.imwrite(str(folder / "images" / name / path.name), split.read(k))
        (height, width), truth = split.sizes[k], split.truth[k]
        x1, y1, x2, y2 = truth.xyxy.T / np.array([[width], [height], [width], [height]])
        rows = zip(truth.label, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, strict=True)
        text = "".join(
            f"{row[0]} {row[1]:.6f} {row[2]:.6f} {row[3]:.6f} {row[4]:.6f}\n" for row in rows
        )
        (folder / "labels" / name / f"{path.stem}.txt").write_text(text, encoding="utf-8")


def _boxes(result: Any) -> Boxes:
    own = result.boxes.cpu()
    return Boxes(own.xyxy.double().numpy(), own.cls.long().numpy(), own.conf.double().numpy())


def _report(options: argparse.Namespace, dataset: Dataset) -> None:
    """Pool the folds, score both sides and compare them."""
    classes = dataset.manifest.class_names
    folds = [
        fold_splits(dataset, Fold(number=k, of=options.folds, seed=options.seed))["test"]
        for k in range(1, options.folds + 1)
    ]
    pooled = _joined(folds)
    for side in SIDES:
        where = options.stock_from if side == "stock" and options.stock_from else options.out
        found: list[Boxes] = []
        for number, test in enumerate(folds, start=1):
            source = where / f"{side}-{number}.json"
            content = json.loads(source.read_text(encoding="utf-8"))
            found += detections_from_coco(content, test.image_ids, len(classes), source)
        scans = len(set(pooled.case_ids))
        choice = choose(
            match(pooled.truth, found, len(classes)), scans, parse_rule("fp-per-scan=1")
        )
        point = choice and OperatingPoint(confidence=choice.confidence, rule="1 FP a scan, on test")
        folder = options.out / f"evaluation-{side}"
        result = write_evaluation(
            folder, pooled, found, classes, point, name=side,
            window=dataset.manifest.request.recipe.shown_window, pictures=12,
            facts={"predictions": {"name": side, "form": "of the folds", "score": None}},
        )  # fmt: skip
        low, high = result.study.intervals["map50"]
        image = result.study.froc.image
        one = image.sensitivity[list(image.false_positives).index(1.0)]
        lesions = result.study.lesions
        sizes = ", ".join(
            f"{row.low:g}-{row.high:g} mm {row.found:g}/{row.total}" for row in lesions.by_diameter
        )
        print(
            f"{side:7} mAP50 {result.metrics.map50:.3f} ({low:.3f} to {high:.3f}), mAP50-95"
            f" {result.metrics.map50_95:.3f}, sensitivity at 1 FP an image {one:.3f}, lesions at"
            f" 1 FP a scan {lesions.all.found:g}/{lesions.all.total} ({sizes})"
        )
    comparison = compare(*(options.out / f"evaluation-{side}" for side in SIDES))
    gain = comparison.numbers["map50"]
    ratio = gain.second / gain.first if gain.first else float("nan")
    print(
        f"recipe against stock: mAP50 x{ratio:.2f}, difference {gain.difference:+.3f}"
        f" ({gain.low:+.3f} to {gain.high:+.3f}), p {gain.p:.3f}, {comparison.patients} patients"
    )


def _joined(folds: list[Split]) -> Split:
    columns = {
        one.name: [value for fold in folds for value in getattr(fold, one.name)]
        for one in fields(Split)
        if one.name != "name"
    }
    return Split(name="test", **columns)


if __name__ == "__main__":
    main()
