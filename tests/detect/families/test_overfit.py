"""Every family overfits eight phantom slices, from true boxes to predicted ones."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.conversion.convert import convert
from converters.core.boxes import Boxes
from converters.dataset.folder import open_dataset
from converters.dataset.split import Split, load_split
from converters.recipes.catalog import find_recipe
from detect.detectors.base import TrainingRun
from detect.detectors.card import ModelSpec
from detect.detectors.registry import create_detector, family_of
from detect.detectors.settings import TrainSettings
from detect.evaluation.metrics import evaluate
from detect.phantom.cases import make_phantom
from detect.training.augmentation import PLAIN, Geometry
from detect.training.loop.slices import Slices

SLICES = 8
WANTED = 0.9
# Model, side of the input, learning rate, epochs at most: an epoch is one step with all the slices.
# ultralytics lets the statistics of batch norms follow slowly (momentum 0.03): it needs 100 steps
# before what was learnt shows in evaluation mode.
LEARNERS = [
    ("yolov8n", 96, 5e-3, 250),
    ("yolo11n", 128, 5e-3, 250),
    ("rtdetr-l", 64, 2e-4, 250),
    ("deim-n", 64, 1e-3, 150),
    ("rfdetr-nano", 64, 8e-4, 150),
]


class Learned(Exception):
    """Raised when the wanted accuracy is reached."""


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Eight slices of the phantom, each with a lesion."""
    folder = tmp_path_factory.mktemp("phantom")
    make_phantom(folder / "scans", patients=2 * SLICES, seed=0)
    convert(
        find_recipe("limt"), folder / "scans", folder / "dataset",
        split=(1, 0, 0), negatives="none",
    )  # fmt: skip
    split = load_split(open_dataset(folder / "dataset"), "train")
    area = [float(np.prod(t.xyxy[:, 2:] - t.xyxy[:, :2], axis=1).min()) for t in split.truth]
    by_case: dict[str, int] = {}
    for k in np.argsort(area):  # the slice of each case whose smallest lesion is largest
        by_case[split.case_ids[k]] = int(k)
    return split.select(sorted(by_case.values())[:SLICES])


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show every slice as it is: nothing but these eight is to be learnt."""
    loop, ultralytics = "detect.training.loop.training", "detect.families.ultralytics.training"
    monkeypatch.setattr(
        f"{loop}.Slices",
        lambda split, side, seed, *_: Slices(split, side, seed, lambda epoch: PLAIN),
    )
    monkeypatch.setattr(f"{ultralytics}.GEOMETRY", Geometry(0, 0, 0, 0))
    monkeypatch.setattr(f"{ultralytics}.MOSAIC_SHARE", 0)
    monkeypatch.setattr(f"{ultralytics}.grey_transforms", list)


@pytest.mark.slow
@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(("model", "side", "lr", "epochs"), LEARNERS)
def test_eight_slices_are_learnt(
    model: str, side: int, lr: float, epochs: int, eight: Split, tmp_path: Path
) -> None:
    spec = ModelSpec(
        family=family_of(model),
        model=model,
        classes=["hcc", "metastasis", "cyst", "hemangioma"],
        window={"level": 60, "width": 300},  # type: ignore[arg-type]
        imgsz=side,
    )
    settings = TrainSettings(
        epochs=epochs, batch=SLICES, imgsz=side, lr=lr, device="cpu", workers=0, patience=0
    )
    torch.manual_seed(0)
    detector = create_detector(spec, "cpu")

    reached: list[str] = []

    def advance(note: str) -> None:
        if reached:  # the epoch before this one, whose weights are written by now
            raise Learned
        if float(note.rsplit(maxsplit=1)[-1]) >= WANTED:
            reached.append(note)

    with pytest.raises(Learned):
        detector.train(TrainingRun(eight, eight, settings, tmp_path, advance=advance))
    with (tmp_path / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    print(
        f"{model}: mAP50 {rows[-1]['val/mAP50']} after {len(rows)} steps, {rows[-1]['seconds']} s"
    )
    best = tmp_path / "weights" / "best.safetensors"
    learned = type(detector).load(spec, best, "cpu")
    detections: list[Boxes] = learned.predict([eight.read(k) for k in range(len(eight))])
    assert evaluate(eight.truth, detections, spec.classes).map50 >= WANTED
