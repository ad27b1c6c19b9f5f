"""Every line of models that ultralytics ships: built, counted, trained, saved, loaded."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.core.boxes import Boxes
from converters.dataset.folder import open_dataset
from converters.dataset.split import Split, load_split
from converters.preprocessing.windowing import Window
from detect.detectors.base import TrainingRun
from detect.detectors.card import ModelSpec
from detect.detectors.checkpoints import transfer
from detect.detectors.registry import (
    FAMILIES,
    count_parameters,
    create_detector,
)
from detect.detectors.settings import TrainSettings
from detect.families.ultralytics.detector import UltralyticsDetector
from detect.families.ultralytics.network import build_network

# The smallest model of each line. yolov8n is in test_ultralytics.py; RT-DETR's decoder is
# trained in yolov8n-rtdetr, which is a third of rtdetr-l.
SMALLEST = [
    "yolov3-tiny", "yolov5n", "yolov6n", "yolov8n-p2", "yolov8n-ghost", "yolov8n-ghost-p2",
    "yolov8n-rtdetr", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n", "yolo26n-p2",
]  # fmt: skip
ONE_EPOCH = TrainSettings(epochs=1, batch=2, lr=1e-3, warmup_epochs=0, device="cpu", workers=0)


def spec(model: str) -> ModelSpec:
    return ModelSpec(
        family="ultralytics", model=model, classes=["bright", "dark"],
        window=Window(level=0, width=400), imgsz=64,
    )  # fmt: skip


@pytest.fixture(scope="module")
def splits(tiny_dataset: Path) -> tuple[Split, Split]:
    """Four slices to train on, two to score on."""
    dataset = open_dataset(tiny_dataset)

    def first(name: str, count: int) -> Split:
        return load_split(dataset, name).select(range(count))

    return first("train", 4), first("val", 2)


def test_a_model_of_each_line_is_tested() -> None:
    def line(model: str) -> str:
        return re.sub(r"^(yolov?\d+)[a-z]", r"\1", model) if "yolov3" not in model else "yolov3"

    names = FAMILIES["ultralytics"].names
    assert len(names) == len(set(names)) and set(SMALLEST) <= set(names)
    elsewhere = {"yolov8", *(name for name in names if name.startswith("rtdetr-"))}
    assert {line(name) for name in names} == {line(name) for name in SMALLEST} | elsewhere


@pytest.mark.parametrize("model", SMALLEST)
def test_a_line(model: str, splits: tuple[Split, Split], tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = create_detector(spec(model), "cpu")
    assert isinstance(detector, UltralyticsDetector)
    before = {k: v.clone() for k, v in detector.network.named_parameters()}
    counts = count_parameters(model, 2)
    assert counts.unfused == sum(p.numel() for p in before.values())

    notes: list[str] = []
    detector.train(TrainingRun(*splits, ONE_EPOCH, tmp_path / "run", advance=notes.append))
    assert len(notes) == 1 and (tmp_path / "run" / "history.csv").is_file()
    moved = [k for k, v in detector.network.named_parameters() if not torch.equal(v, before[k])]
    frozen = [k for k in before if k not in moved]
    assert len(moved) > 0.7 * len(before), frozen

    detector.save(tmp_path / "saved.safetensors")
    loaded = UltralyticsDetector.load(spec(model), tmp_path / "saved.safetensors", "cpu")
    (images,) = splits[1].batches(4)
    detections, again = detector.predict(images), loaded.predict(images)
    assert detector._deployed is not None
    assert counts.fused == sum(p.numel() for p in detector._deployed.parameters())
    assert sum(map(len, detections)) > 0
    for image_boxes, other in zip(detections, again, strict=True):
        same(image_boxes, other, 1e-4)
    # fusing is exact but for rounding: the best boxes are those of the network as it was trained
    unfused = detector.predict_with(detector.network.eval(), images)
    for image_boxes, other in zip(detections, unfused, strict=True):
        np.testing.assert_allclose(image_boxes.score[:5], other.score[:5], atol=1e-3)

    # published weights know 80 classes; all but the class layers are taken from them
    transfer(detector.network, build_network(model, 80, 64).state_dict(), Path("published.pt"))


def same(actual: Boxes, expected: Boxes, tolerance: float) -> None:
    np.testing.assert_allclose(actual.xyxy, expected.xyxy, atol=tolerance)
    np.testing.assert_allclose(actual.score, expected.score, atol=tolerance)
    np.testing.assert_array_equal(actual.label, expected.label)


@pytest.mark.parametrize("model", ["yolov10n", "yolo26n"])
def test_the_branch_that_needs_no_nms_answers(model: str) -> None:
    torch.manual_seed(0)
    detector = UltralyticsDetector.create(spec(model), "cpu")
    head = detector.network.model[-1]
    assert head.end2end
    with torch.no_grad():  # the other branch is silenced: it must not be what is read
        for layers in head.cv3:
            layers[-1].bias.fill_(-20.0)
    images = [np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)]
    (detections,) = detector.predict_with(detector.network.eval(), images)
    assert len(detections) > 0
    for layers in head.one2one_cv3:
        torch.nn.init.constant_(layers[-1].bias, -20.0)
    (silent,) = detector.predict_with(detector.network, images)
    assert len(silent) == 0


@pytest.mark.parametrize("model", ["yolov8n", "yolov8n-p2", "yolov10n", "yolo26n"])
def test_fresh_heads_expect_lesions(model: str) -> None:
    """The mean box of a fresh network is of lesion size, in both branches: 8 % of the side."""
    torch.manual_seed(0)
    side = 256
    network = build_network(model, 2, side).eval()
    head = network.model[-1]
    for one2one in {head.end2end, False}:
        head.end2end = one2one
        with torch.no_grad():
            raw, _ = network(torch.full((1, 3, side, side), 0.4))
        sides = raw[0, :, 2:4] - raw[0, :, :2] if one2one else raw[0, 2:4].T
        assert 0.06 * side < float(sides.median()) < 0.11 * side


def test_no_file_of_the_working_folder_becomes_a_network(tmp_path: Path, monkeypatch) -> None:
    """A YAML file in the working folder is not loaded as a network, as ultralytics would do."""
    monkeypatch.chdir(tmp_path)
    witness = tmp_path / "it-ran"
    layers = "backbone: [[-1, 1, Conv, [64]]]\nhead: []\n"
    text = f"nc: 80\nactivation: open({str(witness)!r}, 'w')\n{layers}"
    for name in ("yolov8n.yaml", "yolov8.yaml"):
        Path(name).write_text(text)
    assert count_parameters("yolov8n", 4).fused == 3_006_428
    build_network("yolov8n", 4, 64)
    assert not witness.exists()


def test_what_was_built_before_changes_no_first_weights() -> None:
    def fresh() -> torch.Tensor:
        torch.manual_seed(0)
        return build_network("yolov10n", 2, 64).state_dict()["model.23.one2one_cv3.0.2.weight"]

    build_network("yolo11n", 2, 64)
    after_yolo11 = fresh()
    build_network("yolov8n", 2, 64)
    assert torch.equal(after_yolo11, fresh())


def test_a_resumed_run_weighs_the_branches_as_its_epoch_wants(
    splits: tuple[Split, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.utils.loss import E2ELoss

    asked: list[int] = []
    weigh = E2ELoss.decay

    def decay(self: E2ELoss, epoch: int) -> float:
        asked.append(epoch)
        return weigh(self, epoch)

    class Stopped(Exception):
        pass

    def stop_after_two(_: str) -> None:
        if len(asked) == 2:
            raise Stopped

    monkeypatch.setattr(E2ELoss, "decay", decay)
    settings = ONE_EPOCH.model_copy(update={"epochs": 3})
    with pytest.raises(Stopped):  # after the second epoch, before its checkpoint
        create_detector(spec("yolo26n"), "cpu").train(
            TrainingRun(*splits, settings, tmp_path, advance=stop_after_two)
        )
    asked.clear()
    notes: list[str] = []
    create_detector(spec("yolo26n"), "cpu").train(
        TrainingRun(*splits, settings, tmp_path, True, notes.append)
    )
    assert asked == [1, 2, 3]  # as it stood after the first epoch, then the two that were missing
    assert len(notes) == 3
