"""The ultralytics adapter: parameters, training, geometry."""

import getpass
import json
import os
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.preprocessing.windowing import Window
from detect.detectors.card import read_model_card
from detect.detectors.protocol import MAX_DETECTIONS, SCORE_FLOOR
from detect.detectors.registry import count_parameters, create_detector, load_detector
from detect.families.ultralytics.network import build_network
from detect.families.ultralytics.steps import (
    UltralyticsSteps,
    placement,
    put_into_square,
    to_picture,
)
from detect.workflows.train import train
from tests.helpers.bundles import BUNDLE, files, spec
from tests.helpers.tiny import SETTINGS

# Parameters


@pytest.mark.parametrize(
    ("model", "fused"),
    [("yolov8n", 3_006_428), ("yolo11n", 2_582_932), ("rtdetr-l", 31_991_960)],
)
def test_parameters_for_four_classes(model: str, fused: int) -> None:
    assert count_parameters(model, 4).fused == fused


# The bundle


def test_bundle_holds_this_and_nothing_else(tiny_run: Path) -> None:
    assert set(files(tiny_run)) == BUNDLE
    assert not tiny_run.with_name("tiny.partial").exists()


def test_bundle_says_nothing_of_the_machine_it_was_made_on(
    tiny_run: Path, tiny_dataset: Path
) -> None:
    secrets = {
        str(tiny_run.parent), str(tiny_dataset), str(Path.home()), str(Path.cwd()),
        f"{os.sep}tmp{os.sep}", socket.gethostname(), getpass.getuser(), "github", "git@",
    }  # fmt: skip
    secrets = {secret for secret in secrets if len(secret) > 3}  # less is found by chance
    for name, content in files(tiny_run).items():
        for secret in secrets:
            assert secret.encode() not in content, (name, secret)


def test_model_card_tells_the_truth(tiny_run: Path) -> None:
    card = read_model_card(tiny_run)  # which checks the hash
    network = build_network("yolov8n", 2, 64)
    assert card.parameters.unfused == sum(p.numel() for p in network.parameters())
    assert card.spec.classes == ["bright", "dark"]
    assert card.spec.representation.window == Window(level=0, width=400)
    assert card.started_from == "scratch"
    assert card.operating_point is not None
    metrics = json.loads((tiny_run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["split"] == "val"


def test_history_has_a_row_an_epoch_and_the_best_weights_are_of_its_best_row(
    tiny_run: Path,
) -> None:
    rows = (tiny_run / "history.csv").read_text(encoding="utf-8").splitlines()
    column = rows[0].split(",").index("val/mAP50")
    maps = [float(row.split(",")[column]) for row in rows[1:]]
    assert [row.split(",")[0] for row in rows[1:]] == [str(n + 1) for n in range(len(maps))]
    assert len(maps) == 14 and max(maps) > 0.3
    metrics = json.loads((tiny_run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["map50"] == pytest.approx(max(maps), abs=0.01)  # fused layers round otherwise


def test_training_leaves_the_dataset_alone(tiny_run: Path, tiny_dataset: Path) -> None:
    tops = {path.name for path in tiny_dataset.iterdir()}
    assert tops == {
        "annotations", "data.yaml", "dataset.json", "images", "labels", "lesions.csv",
    }  # fmt: skip
    kinds = {path.suffix for path in tiny_dataset.rglob("*") if path.is_file()}
    assert kinds == {".png", ".txt", ".json", ".yaml", ".csv"}


def test_seeded_and_relative(tiny_dataset: Path, tmp_path: Path, monkeypatch) -> None:
    """Two trainings give the same tensors, wherever they are written."""
    short = SETTINGS.model_copy(update={"epochs": 1})
    monkeypatch.chdir(tmp_path)
    train("yolov8n", tiny_dataset, out=Path("near/a"), settings=short)
    train("yolov8n", tiny_dataset, out=tmp_path / "b", settings=short)
    a, b = files(tmp_path / "near" / "a"), files(tmp_path / "b")
    assert set(a) == set(b) == BUNDLE
    for name in BUNDLE - {"history.csv"}:  # which holds seconds
        assert a[name] == b[name], name
    other = short.model_copy(update={"seed": 1})
    train("yolov8n", tiny_dataset, out=Path("c"), settings=other)
    best = "weights/best.safetensors"
    assert files(tmp_path / "c")[best] != a[best]


def test_divergence_is_one_error(tiny_dataset: Path, tmp_path: Path) -> None:
    state = build_network("yolov8n", 2, 64).state_dict()
    state["model.0.conv.weight"] *= float("inf")
    start = tmp_path / "infinite.safetensors"
    save_file(state, start)
    with pytest.raises(InputError, match="diverged") as caught:
        train(
            "yolov8n", tiny_dataset, out=tmp_path / "run", weights=str(start), settings=SETTINGS,
        )  # fmt: skip
    assert caught.value.path == "lr"
    assert not (tmp_path / "run").exists()


# Suppression


@pytest.mark.parametrize(("places", "classes"), [(40, 3), (400, 2), (2000, 1), (9000, 4)])
def test_duplicates_are_those_of_ultralytics(places: int, classes: int) -> None:
    """Suppression equals ultralytics' on clusters of boxes beyond its limits."""
    import torchvision  # noqa: F401  # once it is loaded, ultralytics takes its suppression
    from ultralytics.utils.nms import non_max_suppression

    rng = np.random.default_rng(places)
    lesion = rng.integers(0, 12, places)
    centre = rng.uniform(50, 460, (12, 2))[lesion] + rng.normal(0, 4, (places, 2))
    size = rng.uniform(15, 40, (12, 2))[lesion] * rng.uniform(0.8, 1.25, (places, 2))
    score = rng.beta(0.3, 6, (places, classes))
    raw = np.hstack([centre, size, score]).T.astype(np.float32)
    (expected,) = non_max_suppression(
        torch.from_numpy(raw[None]), SCORE_FLOOR, 0.7,
        multi_label=True, max_det=MAX_DETECTIONS, nc=classes, max_time_img=3600,
    )  # fmt: skip
    steps = UltralyticsSteps(spec("yolov8n", classes, 512))
    (detections,) = steps.decode([raw[None]], [(512, 512)])
    assert 20 < len(detections) <= MAX_DETECTIONS
    rows = expected.double().numpy()
    np.testing.assert_array_equal(detections.xyxy, rows[:, :4].clip(0, 512))
    np.testing.assert_array_equal(detections.score, rows[:, 4])
    np.testing.assert_array_equal(detections.label, rows[:, 5])


# Geometry


@pytest.mark.parametrize("shape", [(64, 64), (48, 64), (64, 48), (100, 37), (31, 200), (512, 511)])
@pytest.mark.parametrize("stretch", [False, True])
def test_the_way_into_the_square_and_back_is_exact(shape: tuple[int, int], stretch: bool) -> None:
    height, width = shape
    side = 96
    image = np.zeros(shape, np.uint8)
    where = placement(shape, side, stretch)
    square = put_into_square(image, where, side)
    assert square.shape == (side, side)
    boxes = np.array([[0, 0, width, height], [width / 4, height / 3, width / 2, height]])
    scale, offset = np.array(where.scale * 2), np.array(where.offset * 2)
    in_square = boxes * scale + offset
    restored = to_picture(Boxes(in_square, np.array([1, 0]), np.array([0.5, 0.4])), where, shape)
    np.testing.assert_allclose(restored.xyxy, boxes, atol=1e-9)
    assert restored.label.tolist() == [1, 0] and restored.score.tolist() == [0.5, 0.4]
    # the picture lies where the placement says, and nowhere else
    x1, y1, x2, y2 = in_square[0]
    assert [x1 % 1, y1 % 1, x2 % 1, y2 % 1] == pytest.approx([0, 0, 0, 0], abs=1e-9)
    inside = np.zeros((side, side), bool)
    inside[round(y1) : round(y2), round(x1) : round(x2)] = True
    assert (square[inside] == 0).all() and (square[~inside] == 114).all()
    assert inside.any(axis=0).all() or inside.any(axis=1).all()  # it fills the square one way
    assert inside.all() or not stretch


@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (57, 123)])
def test_a_picture_is_placed_as_ultralytics_places_it(shape: tuple[int, int]) -> None:
    from ultralytics.data.augment import LetterBox

    image = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    ours = put_into_square(image, placement(shape, 64, stretch=False), 64)
    if max(shape) != 64:  # its loader scales before it pads
        ratio = 64 / max(shape)
        size = tuple(min(int(np.ceil(n * ratio)), 64) for n in (shape[1], shape[0]))
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    theirs = LetterBox((64, 64), auto=False, scaleup=False)(image=np.dstack([image] * 3))
    np.testing.assert_array_equal(ours, theirs[..., 0])


def check_boxes(detections: Boxes, shape: tuple[int, int]) -> None:
    height, width = shape
    assert (detections.xyxy >= 0).all() and (
        detections.xyxy <= [width, height, width, height]
    ).all()
    assert (detections.xyxy[:, :2] <= detections.xyxy[:, 2:]).all()
    assert len(detections) <= MAX_DETECTIONS and (np.diff(detections.score) <= 0).all()
    assert ((detections.score >= SCORE_FLOOR) & (detections.score <= 1)).all()
    assert set(detections.label.tolist()) <= {0, 1}


def test_boxes_come_back_inside_pictures_of_any_shape(tiny_run: Path) -> None:
    detector = load_detector(tiny_run, "cpu")
    rng = np.random.default_rng(0)
    shapes = [(48, 64), (64, 48), (130, 40), (33, 257)]
    images = [rng.integers(0, 255, shape, dtype=np.uint8) for shape in shapes]
    detections = detector.predict(images)
    assert sum(map(len, detections)) > 0
    for image_boxes, shape in zip(detections, shapes, strict=True):
        check_boxes(image_boxes, shape)
    assert detector.predict([]) == []


def test_a_box_lies_on_the_square_it_was_drawn_for(tiny_run: Path) -> None:
    """A transposed or mirrored picture moves the best box with it."""
    detector = load_detector(tiny_run, "cpu")
    image = np.full((48, 64), 127, np.uint8)
    image += np.random.default_rng(0).normal(0, 10, image.shape).astype(np.int8).view(np.uint8)
    image[12:28, 8:24] = 200
    wide, tall = detector.predict([image, np.ascontiguousarray(image.T)])
    bright = [image_boxes[image_boxes.label == 0] for image_boxes in (wide, tall)]
    truth = np.array([8, 12, 24, 28])
    assert np.abs(bright[0].xyxy[0] - truth).max() < 4
    assert np.abs(bright[1].xyxy[0] - truth[[1, 0, 3, 2]]).max() < 4


def test_a_batch_gives_what_single_pictures_give(tiny_run: Path) -> None:
    detector = load_detector(tiny_run, "cpu")
    rng = np.random.default_rng(1)
    images = [rng.integers(60, 190, (48, 64), dtype=np.uint8) for _ in range(3)]
    for image_boxes, image in zip(detector.predict(images), images, strict=True):
        (alone,) = detector.predict([image])
        np.testing.assert_allclose(image_boxes.score[:5], alone.score[:5], atol=1e-5)
        np.testing.assert_allclose(image_boxes.xyxy[:5], alone.xyxy[:5], atol=1e-2)


def test_rtdetr_finds_boxes_inside_the_picture() -> None:
    torch.manual_seed(0)
    detector = create_detector(spec("rtdetr-l"), "cpu")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, shape, dtype=np.uint8) for shape in ((48, 64), (70, 40))]
    detections = detector.predict(images)
    for image_boxes, image in zip(detections, images, strict=True):
        assert len(image_boxes) > 0
        check_boxes(image_boxes, image.shape)
