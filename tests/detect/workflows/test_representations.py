"""Every input representation from scan to lesion: convert, train, evaluate, predict."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cc3d
import cv2
import numpy as np
import pytest
import torch

from converters.conversion.convert import convert
from converters.core.boxes import Boxes
from converters.core.drawing import draw
from converters.core.errors import InputError
from converters.core.files import sha256
from converters.dataset.folder import open_dataset
from converters.dataset.split import load_split
from converters.imaging.nifti import write_nifti
from converters.preprocessing.frame import Frame
from converters.preprocessing.representation import Representation
from converters.preprocessing.windowing import Window
from detect.cli.main import main
from detect.detectors import registry
from detect.detectors.card import ModelCard, ModelSpec, OperatingPoint, Parameters
from detect.detectors.predictor import three_planes
from detect.detectors.registry import create_detector
from detect.families.ultralytics.steps import placement, put_into_square
from detect.report.prediction_report import _slices
from detect.training.augmentation import Augmentation, grey_transforms, with_boxes
from detect.training.loop.slices import Batches, Slices, loader
from detect.training.sampler import EpochSlices
from detect.workflows.evaluate import evaluate
from detect.workflows.evaluate_predictions import evaluate_predictions
from detect.workflows.predict import predict
from detect.workflows.train import train
from tests.helpers import bodies, tiny


class OracleDetector:
    """Connected bright pixels of the middle channel."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    @classmethod
    def load(cls, spec: ModelSpec, weights: Path, device: str) -> "OracleDetector":
        return cls(spec)

    def predict(self, images: Sequence[np.ndarray]) -> list[Boxes]:
        assert all(
            image.shape[2:] == ((3,) if self.spec.representation.planes == 3 else ())
            for image in images
        )
        return [self._one(image if image.ndim == 2 else image[..., 1]) for image in images]

    @staticmethod
    def _one(image: np.ndarray) -> Boxes:
        parts = cc3d.connected_components((image > 200).astype(np.uint8), connectivity=8)
        rows = []
        for number in range(1, int(parts.max()) + 1):
            y, x = np.nonzero(parts == number)
            if len(x) >= 4:
                rows.append((x.min(), y.min(), x.max() + 1, y.max() + 1))
        xyxy = np.array(rows, float).reshape(-1, 4)
        return Boxes(xyxy, np.zeros(len(rows), np.int64), np.ones(len(rows)))


FAMILY = OracleDetector
KINDS: dict[str, dict[str, Any]] = {
    "gray": {},
    "cropped": {"crop": "body"},
    "resampled": {"spacing_mm": 0.7},
    "adjacent": {"channels": "adjacent:2", "crop": "body", "spacing_mm": 0.9, "margin_mm": 4},
    "coarse": {"channels": "adjacent:2.5", "crop": "body", "spacing_mm": 1.7},
    "windows": {"channels": "windows", "crop": "body", "spacing_mm": 1.0},
    "percentiles": {"window": {"percentiles": [1, 99.9]}, "crop": "body", "spacing_mm": 0.8},
}


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    family = registry.Family(__name__, ["oracle"], "Apache-2.0")
    monkeypatch.setitem(registry.FAMILIES, "oracle", family)


def bundle(folder: Path, **how: Any) -> Path:
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(b"none are needed")
    spec = {"window": Window(level=100, width=400), "imgsz": 64, "classes": ["ball"], **how}
    ModelCard(
        spec=ModelSpec(family="oracle", model="oracle", **spec),
        parameters=Parameters(unfused=0, fused=0),
        weights="weights.safetensors",
        weights_sha256=sha256(folder / "weights.safetensors"),
        operating_point=OperatingPoint(confidence=0.5),
        started_from="scratch", training={}, dataset_sha256="", versions={},
    ).write(folder)  # fmt: skip
    return folder


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("voxel", [(50.0, 34.0, 8.0), (41.3, 29.7, 6.4)])
def test_a_planted_ball_comes_back_where_it_was_put(oracle, tmp_path, kind, voxel) -> None:
    hu, _ = bodies.scan(voxel)
    write_nifti(tmp_path / "scan.nii", hu, bodies.AFFINE)
    model = bundle(tmp_path / "model", **KINDS[kind])
    result = predict(model, [tmp_path / "scan.nii"], out=tmp_path / "out")
    assert not result.errors
    content = json.loads((tmp_path / "out/scan/detections.json").read_text(encoding="utf-8"))
    balls = [row for row in content["lesions"] if row["size_mm"][0] < 30]  # not the table
    lesion = max(balls, key=lambda row: row["boxes"])
    spacing = np.diag(bodies.AFFINE)[:3]
    centre = spacing * voxel + bodies.AFFINE[:3, 3]
    seen = np.maximum(spacing, [KINDS[kind].get("spacing_mm", 0)] * 2 + [0])  # the coarser pixel
    assert (np.abs(np.array(lesion["centre_mm"]) - centre) <= seen / 2 + 1e-6).all()
    assert (np.abs(np.array(lesion["size_mm"]) - 14) <= 2 * spacing).all()
    # boxes are in px of the scan's own slices, whatever the detector saw
    rectangles = [b["bbox"] for b in content["boxes"] if b["lesion_id"] == lesion["lesion_id"]]
    middles = np.array([(x + w / 2 - 0.5, y + h / 2 - 0.5) for x, y, w, h in rectangles])
    assert np.abs(middles - voxel[:2]).max() <= 0.75
    assert len(list((tmp_path / "out/scan/overlays").iterdir())) >= lesion["boxes"]


def test_a_model_of_organ_crops_says_that_it_cannot_predict(oracle, tmp_path: Path) -> None:
    write_nifti(tmp_path / "scan.nii", bodies.scan((50, 34, 8))[0], bodies.AFFINE)
    model = bundle(tmp_path / "model", crop="organ")
    with pytest.raises(InputError, match="--crop body"):
        predict(model, [tmp_path / "scan.nii"], out=tmp_path / "out")


def test_the_report_places_boxes_on_its_cropped_pictures(oracle, tmp_path: Path) -> None:
    write_nifti(tmp_path / "scan.nii", bodies.scan((50, 34, 8))[0], bodies.AFFINE)
    model = bundle(tmp_path / "model", **KINDS["adjacent"])
    predict(model, [tmp_path / "scan.nii"], out=tmp_path / "out")
    content = json.loads((tmp_path / "out/scan/detections.json").read_text(encoding="utf-8"))
    shown = _slices(tmp_path / "out", [content], ["ball"], 10**7)
    frame = Frame.model_validate(content["frame"])
    assert shown and frame.resampled and frame.left > 0
    for picture in shown:
        assert picture["size"] == [frame.width, frame.height]
        for x, y, w, h, *_ in picture["listed"]:
            assert np.allclose((x, y, w, h), np.rint((x, y, w, h)))  # the oracle's whole pixels
            assert 0 <= x <= x + w <= frame.width and 0 <= y <= y + h <= frame.height


# Training


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("adjacent")
    scans = bodies.make_scans(place / "scans")
    (place / "recipe.yaml").write_text(bodies.RECIPE)
    code = run_cli(
        f"convert {place}/recipe.yaml --root {scans} --out {place}/d --split 4,1,1 --workers 1 "
        "--channels adjacent:2 --crop body --spacing 1.5 --negatives 0.5 --quiet"
    )
    assert code == 0
    return place / "d"


def run_cli(line: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(line.split())
    return int(left.value.code or 0)


def test_a_yolo_is_trained_scored_and_used(dataset: Path, tmp_path: Path) -> None:
    settings = tiny.SETTINGS.model_copy(update={"epochs": 1})
    run = train("yolov8n", dataset, out=tmp_path / "run", settings=settings)
    spec = run.card.spec
    recipe = open_dataset(dataset).manifest.request.recipe
    seen = spec.representation
    assert seen == recipe.representation
    assert (seen.crop, seen.spacing_mm, seen.planes) == ("body", 1.5, 3)
    evaluate(run.bundle, dataset)
    scan = dataset.parent / "scans" / "case0-scan.nii"
    result = predict(run.bundle, [scan], out=tmp_path / "out", confidence=0.0)
    content = json.loads((tmp_path / "out/case0-scan/detections.json").read_text(encoding="utf-8"))
    frames = {c.id: c.frame for c in open_dataset(dataset).manifest.cases}
    assert not result.errors and content["frame"] == frames["case0"].model_dump()
    left, top, right, bottom = frames["case0"].region
    for box in content["boxes"]:
        x, y, w, h = box["bbox"]
        assert left - 1e-6 <= x <= x + w <= right + 1e-6
        assert top - 1e-6 <= y <= y + h <= bottom + 1e-6

    other = tmp_path / "other"
    whole = seen.model_copy(update={"spacing_mm": None})
    convert(
        recipe.model_copy(update={"representation": whole}), dataset.parent / "scans", other,
        split=(4, 1, 1),
    )  # fmt: skip
    with pytest.raises(InputError, match="spacing_mm"):
        evaluate(run.bundle, other)


def test_masks_of_others_are_placed_on_cropped_and_resampled_pictures(
    dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "masks").mkdir()
    for file in (dataset.parent / "scans").glob("*-mask.nii"):
        shutil.copy(file, tmp_path / "masks" / file.name.replace("-mask", ""))
    result = evaluate_predictions(tmp_path / "masks", dataset, out=tmp_path / "out")
    assert result.metrics.boxes > 0 and result.metrics.map50_95 == 1


@pytest.mark.parametrize("model", ["yolov8n", "deim-n", "rfdetr-nano"])
def test_a_network_sees_three_equal_channels_as_it_sees_grey(model: str) -> None:
    if model.startswith("rfdetr"):
        pytest.importorskip("rfdetr")
    torch.manual_seed(0)
    spec = ModelSpec(
        family=registry.family_of(model), model=model, classes=["a", "b"],
        window=Window(level=0, width=400), imgsz=64,
    )  # fmt: skip
    detector = create_detector(spec, "cpu")
    rng = np.random.default_rng(0)
    grey = [rng.integers(0, 255, (50 + k, 61), dtype=np.uint8) for k in range(2)]
    from_grey = detector.predict(grey)
    from_colour = detector.predict([np.repeat(g[..., None], 3, axis=2) for g in grey])
    for a, b in zip(from_grey, from_colour, strict=True):
        np.testing.assert_allclose(a.xyxy, b.xyxy, atol=1e-4)
        np.testing.assert_allclose(a.score, b.score, atol=1e-6)


def test_both_loops_feed_channels_in_the_order_of_the_dataset(dataset: Path) -> None:
    from ultralytics.cfg import get_cfg

    from detect.families.ultralytics.slices import YOLOSlices

    split = load_split(open_dataset(dataset), "train")
    side = 96
    plain = Slices(split, side, 0, lambda epoch: Augmentation(policy=False))
    theirs = YOLOSlices(
        img_path="train", imgsz=side, batch_size=1, augment=False, hyp=get_cfg(), rect=False,
        stride=32, data={"splits": {"train": split}, "nc": 1, "names": {0: "ball"}, "channels": 3},
    )  # fmt: skip
    for k in range(len(split)):
        picture = split.read(k)
        expected = [cv2.resize(picture[..., c], (side, side)) for c in range(3)]
        ((ours, _),) = plain.__getitems__([(0, k)])
        assert (np.rint(ours.numpy() * 255) == expected).all()
        assert not (expected[0] == expected[2]).all()
        square = put_into_square(picture, placement(picture.shape[:2], side, stretch=False), side)
        assert (theirs[k]["img"].numpy() == square.transpose(2, 0, 1)).all()
        assert (three_planes([square])[0] * 255 == square.transpose(2, 0, 1)).all()


def test_mosaic_mixup_and_policy_take_three_channels(dataset: Path) -> None:
    split = load_split(open_dataset(dataset), "train")
    strong = Augmentation(policy=True, mosaic=0.5, mixup=0.5)
    batches = Batches(EpochSlices(split, 1, 1, 0), 4, 0, 1)
    seen = 0
    for images, targets in loader(Slices(split, 64, 0, lambda epoch: strong), batches, 0):
        assert images.shape[1:] == (3, 64, 64) and len(targets) == len(images) <= 4
        assert images.min() >= 0 and images.max() <= 1
        seen += len(images)
    assert seen == len(batches.slices) > 4


def test_grey_values_of_all_channels_are_augmented_alike() -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (40, 40), dtype=np.uint8)
    transform = with_boxes(grey_transforms())
    changed = 0
    for seed in range(40):
        transform.set_random_seed(seed)
        done = transform(image=np.repeat(grey[..., None], 3, axis=2), bboxes=[], labels=[])["image"]
        assert (done == done[..., :1]).all()
        changed += bool((done[..., 0] != grey).any())
    assert changed > 10


def test_pictures_for_people_show_the_middle_channel() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    shown = draw(picture, Boxes.empty(), ["a"])
    assert (shown == draw(np.ascontiguousarray(picture[..., 1]), Boxes.empty(), ["a"])).all()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--channels rgb", "--channels"),
        ("--channels adjacent:0", "--channels"),
        ("--crop liver", "--crop"),
        ("--spacing 0.001", "--spacing"),
        ("--spacing nan", "--spacing"),
        ("--window 99%,1%", "--window"),
        ("--window 1%,99", "--window"),
    ],
)
def test_a_wrong_option_is_one_line(option: str, message: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "recipe.yaml").write_text(bodies.RECIPE)
    code = run_cli(f"convert {tmp_path}/recipe.yaml --root {tmp_path} --out {tmp_path}/d {option}")
    err = capsys.readouterr().err
    assert code == 2 and message in err and err.count("\n") == 1


def test_representations_are_compared_without_what_surrounds_them(tmp_path: Path) -> None:
    recipe = bodies.recipe(tmp_path, "crop: body\n")
    same = Representation(window=Window(level=100, width=400), crop="body")
    assert recipe.representation == same
