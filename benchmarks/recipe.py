"""Cross-validate `detect train` against the plain `yolo detect train`: same slices, same time.

Run: ``python benchmarks/recipe.py DATASET --weights yolov8n.pt --budget 6min --out OUT`` on a
folder of `detect convert … --negatives all`. In each fold all arms train on the same patients from
the same weights for the same wall-clock time, one after the other, and our evaluator scores them on
the patients that the fold leaves out; the folds' detections are then pooled, so that every patient
is tested on once. The stock arm is ultralytics with no argument but data, size, batch and time; of
the slices without a lesion it gets as many as there are with one, as `detect convert` gives by
default, and of synthetic cases (`detect synthesize`), which our arm learns from, none.

``--arm`` names others (`ARMS`): a lever of ours alone, on top of stock, or left out of ours.
``--seed`` may be given several times; each one draws other folds, too. Arms can be trained by
several commands with the same OUT, each on cores of its own; the last one that finds all there
prints what `recipe_report.py` prints. Interrupted, the same command goes on with the trainings that
are missing.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
from recipe_report import detections_file, report

from converters.core.boxes import Boxes
from converters.core.files import write_json
from converters.dataset.coco import detections_to_coco
from converters.dataset.folder import Dataset, open_dataset
from converters.dataset.folds import Fold, fold_splits
from converters.dataset.split import Split
from detect.detectors.base import TrainingRun
from detect.detectors.card import ModelSpec
from detect.detectors.checkpoints import read_state
from detect.detectors.registry import load_detector
from detect.detectors.settings import TrainSettings, parse_duration, resolve_settings
from detect.evaluation.detect_split import detect_split
from detect.families.ultralytics import training
from detect.training.sampler import EpochSlices, Indices
from detect.workflows.train import train
from detect.workflows.weights import choose_start

MODEL = "yolov8n"

# Arguments of ultralytics that make up a lever: ours and its own defaults are exchanged.
SCHEDULE = ("optimizer", "lr0", "momentum", "weight_decay", "nbs", "cos_lr", "warmup_bias_lr")
GREY = ("hsv_h", "hsv_s", "hsv_v", "augmentations")
ROTATION = ("degrees",)
STOCK = SCHEDULE + GREY + ROTATION
GENTLE = {"degrees": 5.0, "scale": 0.25, "fliplr": 0.0, "mosaic": 0.0}


@dataclass(frozen=True)
class Arm:
    """A way to train, compared with the others.

    Attributes:
        ours: by `detect train`, or the stock way.
        exchanged: arguments of ultralytics whose values are the other way's.
        real: slices with real lesions are learned from.
        grown: synthetic cases are learned from.
        drawn_anew: slices without a lesion are other ones in every epoch.
        last: the last epoch's network is tested, not the one that was best on val.
        gentle: pictures are moved and scaled less, neither mirrored nor made mosaics of.
        start: where to start instead of --weights: `synthetic`, or `scratch`.
        settings: of `detect train`, for ours.
    """

    ours: bool
    exchanged: tuple[str, ...] = ()
    real: bool = True
    grown: bool = False
    drawn_anew: bool = False
    last: bool = False
    gentle: bool = False
    start: str | None = None
    settings: tuple[tuple[str, Any], ...] = ()


def _ours(**changed: Any) -> Arm:
    return Arm(**{"ours": True, "grown": True, "drawn_anew": True, "last": True} | changed)


ARMS = {
    "stock": Arm(ours=False),
    "recipe": _ours(),
    "stock-with-grown": Arm(ours=False, grown=True),
    "stock-with-schedule": Arm(ours=False, exchanged=SCHEDULE),
    "stock-with-grey": Arm(ours=False, exchanged=GREY),
    "stock-with-gentleness": Arm(ours=False, gentle=True),
    "stock-with-last": Arm(ours=False, last=True),
    # ultralytics' trainer cannot draw anew; what our loop brings by itself is the first of the two
    "stock-in-our-loop": _ours(exchanged=STOCK, grown=False, drawn_anew=False, last=False),
    "stock-with-drawing": _ours(exchanged=STOCK, grown=False, last=False),
    "without-grown": _ours(grown=False),
    "without-schedule": _ours(exchanged=SCHEDULE),
    "without-grey": _ours(exchanged=GREY),
    "without-drawing": _ours(drawn_anew=False),
    "without-last": _ours(last=False),
    "without-real": _ours(real=False),
    "without-grown-or-schedule": _ours(grown=False, exchanged=SCHEDULE),
    "without-grown-or-grey": _ours(grown=False, exchanged=GREY),
    "without-grown-or-rotation": _ours(grown=False, exchanged=ROTATION),
    "without-grown-or-drawing": _ours(grown=False, drawn_anew=False),
    "with-gentleness": _ours(gentle=True),
    "with-hard-negatives": _ours(settings=(("hard_negatives", 0.5),)),
    "from-synthetic": _ours(start="synthetic"),
    "from-scratch": _ours(start="scratch"),
}


def main() -> None:
    """Train what is missing, pool, compare and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", help="to start from; no arm gets any if not given")
    parser.add_argument("--budget", default="6min")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--arm", action="append", choices=tuple(ARMS))
    options = parser.parse_args()
    arms = list(dict.fromkeys(["stock", "recipe", *(options.arm or [])]))
    seeds = options.seed or [0]
    dataset = open_dataset(options.data)
    for seed in seeds:
        for number in range(1, options.folds + 1):
            fold = Fold(number=number, of=options.folds, seed=seed)
            splits = fold_splits(dataset, fold)
            for name in options.arm or arms:
                file = detections_file(options.out, name, fold)
                if file.exists():
                    continue
                out = file.with_suffix("")
                boxes = (_recipe if ARMS[name].ours else _stock)(
                    options, ARMS[name], dataset, fold, splits, out
                )
                write_json(file, detections_to_coco(boxes, splits["test"].image_ids))
    report(options.out, options.folds, dataset, arms, seeds)


def _recipe(
    options: argparse.Namespace,
    arm: Arm,
    dataset: Dataset,
    fold: Fold,
    splits: dict[str, Split],
    out: Path,
) -> list[Boxes]:
    given = {
        "imgsz": options.imgsz, "batch": options.batch, "budget": options.budget, "patience": 0,
        "seed": fold.seed, "synthetic": float(arm.grown), **dict(arm.settings),
    }  # fmt: skip
    weights = {None: options.weights, "scratch": None}.get(arm.start, arm.start)
    with (
        _exchanged(arm), _same_negatives(not arm.drawn_anew),
        _grown_alone(not arm.real), _best_on_val(not arm.last),
    ):  # fmt: skip
        run = train(
            MODEL, dataset.folder, out=out, weights=weights, fold=fold, overwrite=True,
            settings=resolve_settings(TrainSettings(), given),
        )  # fmt: skip
    print(f"{out}: {run.card.training['epochs']} epochs", flush=True)
    return detect_split(load_detector(run.bundle, "auto"), splits["test"])


@contextmanager
def _exchanged(arm: Arm) -> Iterator[None]:
    """Train with ultralytics' defaults for some arguments, or with gentle augmentation."""
    from ultralytics.utils import DEFAULT_CFG_DICT

    ours = training._arguments

    def arguments(*given: Any) -> dict[str, Any]:
        settings = {name: DEFAULT_CFG_DICT.get(name) for name in arm.exchanged}
        return ours(*given) | settings | (GENTLE if arm.gentle else {})

    with patch.object(training, "_arguments", arguments):
        yield


@contextmanager
def _same_negatives(wanted: bool) -> Iterator[None]:
    """Train every epoch on the slices without a lesion of the first epoch."""
    drawn = EpochSlices.of

    def of(self: EpochSlices, epoch: int) -> Indices:
        first, current = drawn(self, 0), drawn(self, epoch)
        without = self._without
        return np.union1d(np.setdiff1d(current, without), np.intersect1d(first, without))

    with patch.object(EpochSlices, "of", of if wanted else drawn):
        yield


@contextmanager
def _grown_alone(wanted: bool) -> Iterator[None]:
    """Train on no slice with a real lesion."""

    def without(*given: Any) -> dict[str, Split]:
        splits = fold_splits(*given)
        training_split = splits["train"]
        kept = [
            k
            for k, synthetic in enumerate(training_split.synthetic)
            if synthetic or not len(training_split.truth[k])
        ]
        return splits | {"train": training_split.select(kept)}

    with patch("detect.workflows.train.fold_splits", without if wanted else fold_splits):
        yield


@contextmanager
def _best_on_val(wanted: bool) -> Iterator[None]:
    """Keep the epoch that is best on val."""
    kept = training.kept_weights

    def best(run: TrainingRun) -> Path:
        return run.weights / "best.safetensors"

    with patch.object(training, "kept_weights", best if wanted else kept):
        yield


def _stock(
    options: argparse.Namespace,
    arm: Arm,
    dataset: Dataset,
    fold: Fold,
    splits: dict[str, Split],
    out: Path,
) -> list[Boxes]:
    from ultralytics import YOLO

    _write_yolo(out / "data", "train", _stock_slices(splits["train"], arm, fold.seed))
    _write_yolo(out / "data", "val", splits["val"])
    names = dataset.manifest.class_names
    yaml = {"path": str((out / "data").absolute()), "train": "images/train", "val": "images/val"}
    write_json(out / "data" / "data.yaml", yaml | {"names": names})  # JSON is YAML, too

    network = YOLO(f"{MODEL}.yaml")
    start = choose_start(MODEL, options.weights).path
    if start:
        from detect.families.ultralytics.network import load_checkpoint

        state = read_state(start, False, load_checkpoint)
        initial = network.model.state_dict()
        taken = {k: v for k, v in state.items() if k in initial and initial[k].shape == v.shape}
        network.model.load_state_dict(taken, strict=False)
        network.ckpt = {"model": network.model}  # else its trainer builds a fresh network
    settings = TrainSettings(batch=options.batch, seed=fold.seed, epochs=1)  # what is short is ours
    spec = ModelSpec.model_construct(model=MODEL, imgsz=options.imgsz)
    ours = training._arguments(spec, torch.device("cpu"), settings, out)
    network.train(
        data=str(out / "data" / "data.yaml"), imgsz=options.imgsz, batch=options.batch,
        time=parse_duration(options.budget) / 3600, seed=fold.seed, plots=False,
        project=str(out.absolute()), name="run", exist_ok=True,
        device=0 if torch.cuda.is_available() else "cpu",
        **{name: ours[name] for name in arm.exchanged}, **(GENTLE if arm.gentle else {}),
    )  # fmt: skip
    kept = "last.pt" if arm.last else "best.pt"
    trained = YOLO(str(out / "run" / "weights" / kept))
    return [
        _boxes(trained.predict(np.repeat(picture[..., None], 3, 2), conf=0.001, iou=0.7,
                               max_det=300, imgsz=options.imgsz, verbose=False)[0])
        for batch in splits["test"].batches(16) for picture in batch
    ]  # fmt: skip


def _stock_slices(split: Split, arm: Arm, seed: int) -> Split:
    """All slices with a real lesion, as many grown ones if wanted, as many real ones without."""
    rng = np.random.default_rng(seed)
    grown = np.array(split.synthetic)
    has_box = np.array([len(truth) > 0 for truth in split.truth])
    real = np.flatnonzero(has_box & ~grown)
    taken = [real, rng.permutation(np.flatnonzero(~has_box & ~grown))[: len(real)]]
    if arm.grown:
        taken.append(rng.permutation(np.flatnonzero(has_box & grown))[: len(real)])
    return split.select(sorted(np.concatenate(taken).tolist()))


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
    predicted = result.boxes.cpu()
    return Boxes(
        predicted.xyxy.double().numpy(),
        predicted.cls.long().numpy(),
        predicted.conf.double().numpy(),
    )


if __name__ == "__main__":
    main()
