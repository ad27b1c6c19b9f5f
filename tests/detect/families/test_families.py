"""Requirements on every detector family, checked on one model of each."""

import csv
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.core.files import sha256
from converters.dataset.folder import open_dataset
from converters.dataset.split import load_split
from detect.detectors.base import Detector
from detect.detectors.card import ModelSpec
from detect.detectors.registry import create_detector, family_of, load_detector
from detect.workflows.train import train
from tests.helpers.interrupted import Killed, stop_after
from tests.helpers.tiny import SETTINGS, make_dataset

MODELS = ["yolov8n", "yolo11n", "rtdetr-l", "deim-n", "rfdetr-nano"]
EPOCHS = 3


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of a few slices, so that the largest family trains within seconds."""
    return make_dataset(tmp_path_factory.mktemp("small"), cases=3, split=(1, 1, 1))


# At this learning rate none forgets within the epochs that there might be anything to find.
SINGLE = SETTINGS.model_copy(update={"batch": 1, "epochs": EPOCHS, "lr": 1e-4})


@pytest.fixture(scope="module", params=MODELS)
def bundle(
    request: pytest.FixtureRequest, small: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model trained on one slice a batch, so that some hold no box; killed on the way."""
    model = request.param
    out = tmp_path_factory.mktemp("runs") / model
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(Killed):
            train(model, small, out=out, settings=SINGLE)
    return train(model, small, out=out, settings=SINGLE, resume=True).bundle


def pictures(count: int = 2) -> list[np.ndarray]:
    """Pictures whose sides are no multiples of 32."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (50 + k, 61), dtype=np.uint8) for k in range(count)]


def same(actual: list[Boxes], expected: list[Boxes]) -> None:
    """The same boxes to 1e-4; those of nearly equal scores may have changed places."""
    for a, b in zip(actual, expected, strict=True):
        assert len(a) == len(b)
        rows = [np.column_stack([x.xyxy, x.score, x.label]) for x in (a, b)]
        apart = np.abs(rows[0][:, None] - rows[1]).max(axis=2)
        assert apart.min(axis=0).max() < 1e-4 and apart.min(axis=1).max() < 1e-4


def test_killed_and_resumed_with_one_slice_a_batch(bundle: Path) -> None:
    with (bundle / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, EPOCHS + 1))
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds) and all(0 <= float(row["val/mAP50"]) <= 1 for row in rows)


def test_training_batches_without_a_box_are_really_there(small: Path) -> None:
    split = load_split(open_dataset(small), "train")
    assert any(not len(truth) for truth in split.truth) and split.boxes


def test_a_moved_bundle_finds_the_same(bundle: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(bundle, tmp_path / "elsewhere" / "model")
    detections = load_detector(bundle, "cpu").predict(pictures())
    same(detections, load_detector(moved, "cpu").predict(pictures()))
    assert all(len(boxes) for boxes in detections)
    for boxes, picture in zip(detections, pictures(), strict=True):
        height, width = picture.shape
        assert (boxes.xyxy >= 0).all() and (boxes.xyxy <= [width, height, width, height]).all()
        assert (np.diff(boxes.score) <= 0).all() and set(boxes.label) <= {0, 1}


def test_one_picture_gives_what_a_batch_gives(bundle: Path) -> None:
    detector = load_detector(bundle, "cpu")
    alone = [detector.predict([picture])[0] for picture in pictures(3)]
    same(alone, detector.predict(pictures(3)))
    assert detector.predict([]) == []


def fresh(model: str, imgsz: int = 64) -> Detector:
    spec = ModelSpec(
        family=family_of(model),
        model=model,
        classes=["bright", "dark"],
        window={"level": 0, "width": 400},  # type: ignore[arg-type]
        imgsz=imgsz,
    )
    torch.manual_seed(0)
    return create_detector(spec, "cpu")


@pytest.mark.parametrize("model", MODELS)
def test_saved_weights_give_the_same_boxes(model: str, tmp_path: Path) -> None:
    detector = fresh(model)
    detector.save(tmp_path / "weights.safetensors")
    loaded = type(detector).load(detector.spec, tmp_path / "weights.safetensors", "cpu")
    same(detector.predict(pictures()), loaded.predict(pictures()))


# Hostile files


class Trap:
    """An object that writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path(self.mark),)  # type: ignore[return-value]


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("model", MODELS)
def test_code_in_given_weights_does_not_run(model: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save({"model": Trap(tmp_path / "sprung")}, path)
    with pytest.raises(InputError):
        fresh(model).load_weights(path, trust=False)
    assert not (tmp_path / "sprung").exists()


def test_code_in_a_bundle_does_not_run(bundle: Path, tmp_path: Path) -> None:
    hostile = shutil.copytree(bundle, tmp_path / "model")
    card = json.loads((hostile / "model.json").read_text(encoding="utf-8"))
    for name in ("weights/best.safetensors", "weights/best.pt"):
        torch.save({"model": Trap(tmp_path / "sprung")}, hostile / name)
        card |= {"weights": name, "weights_sha256": sha256(hostile / name)}
        (hostile / "model.json").write_text(json.dumps(card))
        with pytest.raises(InputError):
            load_detector(hostile, "cpu")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("model", ["yolov8n", "deim-n", "rfdetr-nano"])  # one a family
def test_code_in_a_checkpoint_to_resume_does_not_run(
    model: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    stop_after(monkeypatch, 2)
    with pytest.raises(Killed):
        train(model, small, out=out, settings=SINGLE)
    checkpoint = tmp_path / "run.partial" / "weights" / "resume.pt"
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    torch.save(content | {"history": Trap(tmp_path / "sprung")}, checkpoint)
    with pytest.raises(InputError, match="cannot be resumed"):
        train(model, small, out=out, settings=SINGLE, resume=True)
    assert not (tmp_path / "sprung").exists()
