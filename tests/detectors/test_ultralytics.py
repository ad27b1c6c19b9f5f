"""The ultralytics adapter: parameters, training, resuming, geometry, weight files."""

import getpass
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from converters.errors import InputError
from converters.windowing import Window
from detect.boxes import Boxes
from detect.detectors.protocol import MAX_DETECTIONS, SCORE_FLOOR
from detect.detectors.registry import count_parameters, create_detector, load_detector
from detect.detectors.ultralytics.network import build_network, load_checkpoint
from detect.detectors.ultralytics.steps import back, place, placement
from detect.detectors.weight_files import State
from detect.detectors.weight_files import read_state as read_weight_file
from detect.model_card import ModelSpec, read_model_card
from detect.train import train
from tests.tiny import SETTINGS

BUNDLE = {
    "history.csv",
    "metrics.json",
    "model.json",
    "weights/best.safetensors",
    "weights/last.safetensors",
}


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def read_state(path: Path, trust: bool) -> State:
    return read_weight_file(path, trust, load_checkpoint)


def spec(model: str, classes: int = 2, imgsz: int = 64) -> ModelSpec:
    return ModelSpec(
        family="ultralytics",
        model=model,
        classes=[f"class {k}" for k in range(classes)],
        window=Window(level=0, width=400),
        imgsz=imgsz,
    )


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
    assert card.spec.window == Window(level=0, width=400)
    assert card.started_from == "scratch"
    assert card.operating_point is not None
    metrics = json.loads((tiny_run / "metrics.json").read_text())
    assert metrics["split"] == "val"


def test_history_has_a_row_an_epoch_and_the_best_weights_are_of_its_best_row(
    tiny_run: Path,
) -> None:
    rows = (tiny_run / "history.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/mAP50")
    maps = [float(row.split(",")[column]) for row in rows[1:]]
    assert [row.split(",")[0] for row in rows[1:]] == [str(n + 1) for n in range(len(maps))]
    assert len(maps) == 14 and max(maps) > 0.3
    metrics = json.loads((tiny_run / "metrics.json").read_text())
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
    train("yolov8n", tiny_dataset, out=Path("near/a"), settings=short, quiet=True)
    train("yolov8n", tiny_dataset, out=tmp_path / "b", settings=short, quiet=True)
    a, b = files(tmp_path / "near" / "a"), files(tmp_path / "b")
    assert set(a) == set(b) == BUNDLE
    for name in BUNDLE - {"history.csv"}:  # which holds seconds
        assert a[name] == b[name], name
    other = short.model_copy(update={"seed": 1})
    train("yolov8n", tiny_dataset, out=Path("c"), settings=other, quiet=True)
    best = "weights/best.safetensors"
    assert files(tmp_path / "c")[best] != a[best]


# Resuming


class Stopped(Exception):
    pass


def interrupt(dataset: Path, out: Path, after: int, monkeypatch, epochs: int = 3) -> Path:
    """Train and stop by an exception once `after` epochs stand in the history."""
    from contextlib import contextmanager

    count = 0

    @contextmanager
    def progress(*_):
        def advance(_note: str) -> None:
            nonlocal count
            count += 1
            if count > after:
                raise Stopped

        yield advance

    settings = SETTINGS.model_copy(update={"epochs": epochs})
    with monkeypatch.context() as patch:
        patch.setattr("detect.train.progress", progress)
        with pytest.raises(Stopped):
            train("yolov8n", dataset, out=out, settings=settings, quiet=True)
    assert not out.exists()
    return out.with_name(out.name + ".partial")


def epochs_in(history: Path) -> list[str]:
    return [row.split(",")[0] for row in history.read_text().splitlines()[1:]]


def test_killed_and_resumed(tiny_dataset: Path, tmp_path: Path) -> None:
    """A process killed in its second epoch goes on there; its first row is kept as it was."""
    command = [
        sys.executable, "-m", "detect", "train", "--model", "yolov8n", "--data", str(tiny_dataset),
        "--out", "run", "--epochs", "6", "--imgsz", "64", "--batch", "4", "--device", "cpu",
    ]  # fmt: skip
    checkpoint = tmp_path / "run.partial" / "weights" / "resume.pt"
    with subprocess.Popen(command, cwd=tmp_path) as process:
        try:
            while not checkpoint.exists() and process.poll() is None:
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "run").exists()
    history = tmp_path / "run.partial" / "history.csv"
    before = history.read_text().splitlines()
    resumed = subprocess.run(
        [*command, "--resume"], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True
    )
    assert resumed.stderr == ""
    after = (tmp_path / "run" / "history.csv").read_text().splitlines()
    saved = min(len(before), len(after))  # a row may have been written without its checkpoint
    assert before[:2] == after[:2] and saved >= 2
    assert epochs_in(tmp_path / "run" / "history.csv") == list("123456")
    assert set(files(tmp_path / "run")) == BUNDLE
    read_model_card(tmp_path / "run")


@pytest.mark.filterwarnings("error::UserWarning")  # they would stand beside the one clear line
def test_resume_refuses_other_settings_and_other_data(
    tiny_dataset: Path, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "run"
    partial = interrupt(tiny_dataset, out, 1, monkeypatch)
    settings = SETTINGS.model_copy(update={"epochs": 3})
    before = files(partial)

    def refused(problem: str, **changes) -> None:
        given = {"model": "yolov8n", "data": tiny_dataset, "settings": settings, "resume": True}
        with pytest.raises(InputError, match=problem):
            train(**(given | changes), out=out, quiet=True)
        assert files(partial) == before

    refused("settings.lr", settings=settings.model_copy(update={"lr": 1e-3}))
    refused("settings.epochs", settings=settings.model_copy(update={"epochs": 4}))
    refused("spec.model", model="yolo11n")
    refused("holds an interrupted run", resume=False)
    refused("contradicts", overwrite=True)
    checkpoint = torch.load(partial / "weights" / "resume.pt", weights_only=True)
    (partial / "weights" / "resume.pt").write_bytes(b"cut short")
    before = files(partial)
    refused("cannot be resumed from")
    witness = tmp_path / "it-ran"
    for content in (Evil(witness), checkpoint | {"history": Evil(witness)}):
        torch.save(content, partial / "weights" / "resume.pt")
        before = files(partial)
        refused("cannot be resumed from")
    (partial / "weights" / "resume.pt").write_bytes(pickle.dumps(Evil(witness)))
    before = files(partial)
    refused("cannot be resumed from")
    assert not witness.exists()
    train("yolov8n", tiny_dataset, out=out, settings=SETTINGS, overwrite=True, quiet=True)
    assert not partial.exists()


def test_stopped_between_training_and_the_bundle(
    tiny_dataset: Path, tmp_path: Path, monkeypatch
) -> None:
    """All epochs are there: resuming only scores and finishes."""
    out = tmp_path / "run"

    def fail(*_):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr("detect.train._finish", fail)
        with pytest.raises(Stopped):
            train("yolov8n", tiny_dataset, out=out, settings=SETTINGS, quiet=True)
    weights = (tmp_path / "run.partial/weights/best.safetensors").read_bytes()
    train("yolov8n", tiny_dataset, out=out, settings=SETTINGS, resume=True, quiet=True)
    assert set(files(out)) == BUNDLE
    assert (out / "weights/best.safetensors").read_bytes() == weights
    assert epochs_in(out / "history.csv") == ["1", "2"]


def test_divergence_is_one_error(tiny_dataset: Path, tmp_path: Path) -> None:
    state = build_network("yolov8n", 2, 64).state_dict()
    state["model.0.conv.weight"] *= float("inf")
    start = tmp_path / "infinite.safetensors"
    save_file(state, start)
    with pytest.raises(InputError, match="diverged") as caught:
        train(
            "yolov8n", tiny_dataset, out=tmp_path / "run", weights=str(start), settings=SETTINGS,
            quiet=True,
        )  # fmt: skip
    assert caught.value.path == "--lr"
    assert not (tmp_path / "run").exists()


# Geometry


@pytest.mark.parametrize("shape", [(64, 64), (48, 64), (64, 48), (100, 37), (31, 200), (512, 511)])
@pytest.mark.parametrize("stretch", [False, True])
def test_the_way_into_the_square_and_back_is_exact(shape: tuple[int, int], stretch: bool) -> None:
    height, width = shape
    side = 96
    image = np.zeros(shape, np.uint8)
    where = placement(shape, side, stretch)
    square = place(image, where, side)
    assert square.shape == (side, side)
    boxes = np.array([[0, 0, width, height], [width / 4, height / 3, width / 2, height]])
    scale, offset = np.array(where.scale * 2), np.array(where.offset * 2)
    there = boxes * scale + offset
    rows = np.column_stack([there, [0.5, 0.4], [1, 0]])
    found = back(rows, where, shape)
    np.testing.assert_allclose(found.xyxy, boxes, atol=1e-9)
    assert found.label.tolist() == [1, 0] and found.score.tolist() == [0.5, 0.4]
    # the picture lies where the placement says, and nowhere else
    x1, y1, x2, y2 = there[0]
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
    ours = place(image, placement(shape, 64, stretch=False), 64)
    if max(shape) != 64:  # its loader scales before it pads
        ratio = 64 / max(shape)
        size = tuple(min(int(np.ceil(n * ratio)), 64) for n in (shape[1], shape[0]))
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    theirs = LetterBox((64, 64), auto=False, scaleup=False)(image=np.dstack([image] * 3))
    np.testing.assert_array_equal(ours, theirs[..., 0])


def check_boxes(found: Boxes, shape: tuple[int, int]) -> None:
    height, width = shape
    assert (found.xyxy >= 0).all() and (found.xyxy <= [width, height, width, height]).all()
    assert (found.xyxy[:, :2] <= found.xyxy[:, 2:]).all()
    assert len(found) <= MAX_DETECTIONS and (np.diff(found.score) <= 0).all()
    assert ((found.score >= SCORE_FLOOR) & (found.score <= 1)).all()
    assert set(found.label.tolist()) <= {0, 1}


def test_boxes_come_back_inside_pictures_of_any_shape(tiny_run: Path) -> None:
    detector = load_detector(tiny_run, "cpu")
    rng = np.random.default_rng(0)
    shapes = [(48, 64), (64, 48), (130, 40), (33, 257)]
    images = [rng.integers(0, 255, shape, dtype=np.uint8) for shape in shapes]
    found = detector.predict(images)
    assert sum(map(len, found)) > 0
    for own, shape in zip(found, shapes, strict=True):
        check_boxes(own, shape)
    assert detector.predict([]) == []


def test_a_box_lies_on_the_square_it_was_drawn_for(tiny_run: Path) -> None:
    """A transposed or mirrored picture moves the best box with it: rows are rows."""
    detector = load_detector(tiny_run, "cpu")
    image = np.full((48, 64), 127, np.uint8)
    image += np.random.default_rng(0).normal(0, 10, image.shape).astype(np.int8).view(np.uint8)
    image[12:28, 8:24] = 200
    wide, tall = detector.predict([image, np.ascontiguousarray(image.T)])
    bright = [own[own.label == 0] for own in (wide, tall)]
    truth = np.array([8, 12, 24, 28])
    assert np.abs(bright[0].xyxy[0] - truth).max() < 4
    assert np.abs(bright[1].xyxy[0] - truth[[1, 0, 3, 2]]).max() < 4


def test_a_batch_gives_what_single_pictures_give(tiny_run: Path) -> None:
    detector = load_detector(tiny_run, "cpu")
    rng = np.random.default_rng(1)
    images = [rng.integers(60, 190, (48, 64), dtype=np.uint8) for _ in range(3)]
    for own, image in zip(detector.predict(images), images, strict=True):
        (alone,) = detector.predict([image])
        np.testing.assert_allclose(own.score[:5], alone.score[:5], atol=1e-5)
        np.testing.assert_allclose(own.xyxy[:5], alone.xyxy[:5], atol=1e-2)


def test_rtdetr_finds_boxes_inside_the_picture() -> None:
    torch.manual_seed(0)
    detector = create_detector(spec("rtdetr-l"), "cpu")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, shape, dtype=np.uint8) for shape in ((48, 64), (70, 40))]
    found = detector.predict(images)
    for own, image in zip(found, images, strict=True):
        assert len(own) > 0
        check_boxes(own, image.shape)


# Weight files


def save_pt(path: Path, model: str, classes: int = 80) -> Path:
    """A checkpoint as ultralytics saves it: the pickled network in half precision."""
    network = build_network(model, classes, 64).half()
    torch.save({"model": network, "ema": None, "epoch": -1, "date": "today"}, path)
    return path


class Evil:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch {self.witness}",)


class Foreign:
    pass


def test_known_classes_load_without_trust_and_every_body_tensor_is_taken(tmp_path: Path) -> None:
    path = save_pt(tmp_path / "coco.pt", "yolov8n")
    detector = create_detector(spec("yolov8n"), "cpu")
    fresh = {k: v.clone() for k, v in detector.network.state_dict().items()}
    detector.load_weights(path, trust=False)
    own, given = detector.network.state_dict(), read_state(path, trust=False)
    for name, tensor in own.items():
        fits = name in given and given[name].shape == tensor.shape
        expected = given[name].to(tensor.dtype) if fits else fresh[name]
        assert torch.equal(tensor, expected), name
    kept = [name for name in own if own[name].shape != given[name].shape]
    assert kept and all(".cv3." in name for name in kept)  # the class branch, and only it


@pytest.mark.parametrize("where", ["beside", "instead"])
def test_code_in_a_weight_file_is_refused_and_does_not_run(tmp_path: Path, where: str) -> None:
    witness = tmp_path / "it-ran"
    path = tmp_path / "evil.pt"
    network = build_network("yolov8n", 80, 64)
    content = {"model": network, "extra": Evil(witness)} if where == "beside" else Evil(witness)
    torch.save(content, path)
    detector = create_detector(spec("yolov8n"), "cpu")
    with pytest.raises(InputError, match=r"run code when loaded.*--trust") as caught:
        detector.load_weights(path, trust=False)
    assert "\n" not in str(caught.value)
    assert not witness.exists()
    if where == "beside":  # the witness works: with trust it does run
        detector.load_weights(path, trust=True)
        assert witness.exists()


def test_a_foreign_class_is_refused_without_trust(tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    torch.save({"model": build_network("yolov8n", 80, 64), "extra": Foreign()}, path)
    with pytest.raises(InputError, match="--trust"):
        read_state(path, trust=False)
    assert read_state(path, trust=True)


def damaged(path: Path, kind: str) -> Path:
    if kind == "truncated":
        save_pt(path, "yolov8n")
        path.write_bytes(path.read_bytes()[:200_000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("these are not weights\n" * 100)
    elif kind == "state dict":
        torch.save({"a": torch.zeros(2)}, path)
    elif kind == "list":
        torch.save([torch.zeros(2)], path)
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "state dict", "list", "folder"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".onnx"])
@pytest.mark.parametrize("trust", [False, True])
def test_damaged_weight_files(tmp_path: Path, kind: str, suffix: str, trust: bool) -> None:
    path = damaged(tmp_path / f"weights{suffix}", kind)
    with pytest.raises(InputError) as caught:
        read_state(path, trust)
    assert caught.value.path == str(path) and "\n" not in str(caught.value)


def test_a_damaged_file_under_a_known_name_is_neither_deleted_nor_fetched(
    tmp_path: Path, monkeypatch
) -> None:
    """ultralytics would take `yolov8n.pt` in the working folder for its own cache."""
    monkeypatch.chdir(tmp_path)
    Path("yolov8n.pt").write_text("cut short")
    with pytest.raises(InputError):
        read_state(Path("yolov8n.pt"), trust=False)
    assert Path("yolov8n.pt").read_text() == "cut short"


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    detector = create_detector(spec("yolov8n"), "cpu")
    before = {k: v.clone() for k, v in detector.network.state_dict().items()}
    with pytest.raises(InputError, match="another architecture"):
        detector.load_weights(save_pt(tmp_path / "other.pt", "yolo11n"), trust=False)
    larger = build_network("yolov8s", 2, 64).state_dict()
    save_file(larger, tmp_path / "larger.safetensors")
    with pytest.raises(InputError, match="another architecture"):
        detector.load_weights(tmp_path / "larger.safetensors", trust=False)
    assert all(torch.equal(v, before[k]) for k, v in detector.network.state_dict().items())


def test_a_bundle_whose_weights_do_not_fit(tiny_run: Path, tmp_path: Path) -> None:
    from detect.detectors.ultralytics.detector import UltralyticsDetector

    state = load_file(tiny_run / "weights" / "best.safetensors")
    first = next(iter(state))
    state[first] = torch.zeros(1, 2, 3)
    save_file(state, tmp_path / "changed.safetensors")
    own = read_model_card(tiny_run).spec
    with pytest.raises(InputError, match="does not fit the model"):
        UltralyticsDetector.load(own, tmp_path / "changed.safetensors", "cpu")


def test_training_can_start_from_weights(tiny_run: Path, tiny_dataset: Path, tmp_path) -> None:
    best = tiny_run / "weights" / "best.safetensors"
    gentle = SETTINGS.model_copy(update={"epochs": 1, "lr": 1e-9})
    result = train(
        "yolov8n", tiny_dataset, out=tmp_path / "run", weights=str(best), settings=gentle,
        quiet=True,
    )  # fmt: skip
    before, after = load_file(best), load_file(tmp_path / "run" / "weights/best.safetensors")
    name = "model.22.cv2.0.2.weight"
    assert torch.allclose(before[name], after[name], atol=1e-3)
    assert result.card.started_from.startswith("best.safetensors sha256:")


@pytest.mark.realdata
def test_the_published_weights(realdata: Path) -> None:
    """They load without trust, and every tensor but the class branch's last is taken."""
    detector = create_detector(spec("yolov8n"), "cpu")
    path = realdata / "weights" / "yolov8n.pt"
    detector.load_weights(path, trust=False)
    given, own = read_state(path, trust=False), detector.network.state_dict()
    assert set(given) == set(own)
    differing = [k for k in own if not torch.equal(own[k].float(), given[k].float())]
    assert all(".cv3." in name for name in differing)
