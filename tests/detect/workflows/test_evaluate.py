"""The whole evaluation against two others that read the same files."""

import contextlib
import csv
import io
import json
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from pycocotools import mask

from converters.conversion.convert import convert
from converters.core.drawing import TRUTH
from converters.core.errors import InputError
from converters.dataset.folder import open_dataset, read_png
from converters.dataset.split import load_split
from detect.detectors.card import read_model_card
from detect.detectors.registry import load_detector
from detect.detectors.settings import TrainSettings
from detect.evaluation.metrics import Metrics
from detect.linking.linking import Linking
from detect.workflows.evaluate import evaluate
from detect.workflows.train import train
from tests.helpers.tiny import make_dataset


def by_ultralytics(
    run: Path, dataset: Path, split: str, folder: Path
) -> tuple[float, float, float, float]:
    """Return P, R, mAP50 and mAP50-95 of ultralytics' validator, run on the files."""
    from detect.families.ultralytics.network import build_network  # isort: skip
    from detect.detectors.checkpoints import load_network  # isort: skip
    from ultralytics.models.yolo.detect import DetectionValidator

    copy = folder / "copy"
    shutil.copytree(dataset, copy)
    data = yaml.safe_load((copy / "data.yaml").read_text(encoding="utf-8")) | {"path": str(copy)}
    (copy / "data.yaml").write_text(yaml.safe_dump(data))
    card = read_model_card(run)
    network = build_network(card.spec.model, len(card.spec.classes), card.spec.imgsz)
    load_network(network, run / card.weights)
    network.names = dict(enumerate(card.spec.classes))
    arguments = {
        "data": str(copy / "data.yaml"), "split": split, "imgsz": card.spec.imgsz, "batch": 8,
        "conf": 0.001, "iou": 0.7, "max_det": 300, "rect": False, "device": "cpu", "workers": 0,
        "plots": False, "verbose": False, "save_json": True,
    }  # fmt: skip
    validator = DetectionValidator(save_dir=folder / "validator", args=arguments)
    validator(model=network.eval())
    return validator.metrics.box.mean_results()


def by_pycocotools(run: Path, dataset: Path, split: str, predictions: Path) -> tuple[float, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(dataset / "annotations" / f"instances_{split}.json"))
        scoring = COCOeval(truth, truth.loadRes(str(predictions)), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return scoring.stats[1], scoring.stats[0]


def assert_same_boxes(dataset: Path, split: str, folder: Path) -> None:
    """Compare the boxes that ultralytics' validator wrote, to three decimals, with ours."""
    content = open_dataset(dataset).annotations(split)
    names = {image["id"]: image["file_name"] for image in content["images"]}
    tables: list[dict[str, list[list[float]]]] = []
    for file in (folder / "out" / "predictions.json", folder / "validator" / "predictions.json"):
        by_picture = defaultdict(list)
        for e in json.loads(file.read_text(encoding="utf-8")):
            name = e.get("file_name") or names[e["image_id"]]
            by_picture[name].append([e["score"], *e["bbox"]])
        tables.append(by_picture)
    ours, theirs = tables
    assert ours.keys() == theirs.keys()
    for name, rows in ours.items():
        sides = np.array(rows), np.array(theirs[name])
        apart = np.abs(sides[0][:, None] - sides[1]).max(axis=2)
        for side, nearest in zip(sides, (apart.min(axis=1), apart.min(axis=0)), strict=True):
            for alone in side[nearest >= 0.01]:
                assert at_the_edge(alone, side), (name, alone)


def at_the_edge(box: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Return True if rounding alone decides whether a surer box suppresses this one at IoU 0.7."""
    surer = others[others[:, 0] > box[0]][:, 1:]
    overlaps = mask.iou([box[1:].tolist()], surer.tolist(), [0] * len(surer))
    return bool(len(surer) and (np.abs(overlaps - 0.7) < 1e-3).any())


def assert_same_numbers(
    run: Path, dataset: Path, split: str, folder: Path, tolerance: float = 0.005
) -> Metrics:
    """Compare the numbers of ultralytics with ours.

    `tolerance` is for mAP50: their AP joins the points by a line and COCO's by steps, the further
    apart the fewer boxes there are; and they score boxes before they cut them at the edge.
    """
    result = evaluate(run, dataset, split=split, out=folder / "out", pictures=0)
    metrics = result.metrics
    best = metrics.best_f1.mean
    p, r, map50, _ = by_ultralytics(run, dataset, split, folder)
    assert (best.precision, best.recall) == pytest.approx((p, r), abs=0.005)
    assert metrics.map50 == pytest.approx(map50, abs=tolerance)
    assert_same_boxes(dataset, split, folder)
    coco = by_pycocotools(run, dataset, split, result.folder / "predictions.json")
    assert (metrics.map50, metrics.map50_95) == pytest.approx(coco, abs=1e-6)
    return metrics


@pytest.fixture(scope="module")
def noisy_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset so noisy that AP is neither 0 nor 1."""
    return make_dataset(tmp_path_factory.mktemp("noisy"), cases=60, noise=230)


@pytest.mark.parametrize(("split", "tolerance"), [("train", 0.005), ("test", 0.01)])
def test_same_numbers(
    tiny_run: Path, noisy_dataset: Path, split: str, tolerance: float, tmp_path: Path
) -> None:
    metrics = assert_same_numbers(tiny_run, noisy_dataset, split, tmp_path, tolerance)
    assert 0.02 < metrics.map50 < 0.98


@pytest.mark.realdata
def test_same_numbers_on_real_scans(realdata: Path, tmp_path: Path) -> None:
    """Numbers agree on real scans for a weak model: two volumes a split, a few training steps."""
    from converters.recipes.catalog import find_recipe

    scans = tmp_path / "scans"
    scans.mkdir()
    for number in (36, 48, 50, 15, 40, 42):
        for kind in ("volume", "segmentation"):
            name = f"{kind}-{number}.nii.gz"
            shutil.copy(realdata / "lits256" / name, scans)
    dataset = tmp_path / "dataset"
    convert(find_recipe("lits"), scans, dataset, split=(2, 2, 2), negatives="0.3", workers=2)
    settings = TrainSettings(
        epochs=3, batch=8, imgsz=128, lr=1e-3, warmup_epochs=1, device="cpu", workers=0
    )
    start = str(realdata / "weights" / "yolov8n.pt")
    train("yolov8n", dataset, out=tmp_path / "run", weights=start, settings=settings)
    metrics = assert_same_numbers(tmp_path / "run", dataset, "test", tmp_path)
    assert 0 < metrics.map50 < 1


def test_what_is_written(tiny_run: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_run, bundle)
    result = evaluate(bundle, tiny_dataset, pictures=3)
    assert result.folder == bundle / "evaluation-test"
    assert {p.name for p in result.folder.iterdir()} == {
        "metrics.json", "predictions.json", "annotations.json", "report.html", "pictures",
    }  # fmt: skip
    written = json.loads((result.folder / "metrics.json").read_text(encoding="utf-8"))
    assert written["split"] == "test"
    assert written["map50"] == result.metrics.map50
    assert written["model"] == json.loads((bundle / "model.json").read_text(encoding="utf-8"))

    part = load_split(open_dataset(tiny_dataset), "test")
    ids = {entry["image_id"] for entry in json.loads(
        (result.folder / "predictions.json").read_text(encoding="utf-8")
    )}  # fmt: skip
    assert ids <= set(part.image_ids)
    assert len(result.pictures) == 3 == len(list((result.folder / "pictures").iterdir()))
    shown = [part.paths.index(tiny_dataset / "images/test" / p.name) for p in result.pictures]
    assert len({part.case_ids[k] for k in shown}) == 2  # every case before a case's second slice
    assert all((read_png(path) == TRUTH).all(axis=2).any() for path in result.pictures)
    with pytest.raises(InputError, match="exists"):
        evaluate(bundle, tiny_dataset)
    again = evaluate(bundle, tiny_dataset, overwrite=True, pictures=0)
    assert again.metrics == result.metrics and again.pictures == []


def test_every_level_is_written(tiny_run: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    """Lesions and diameters are those of lesions.csv, cases those of the manifest."""
    result = evaluate(tiny_run, tiny_dataset, out=tmp_path / "out", pictures=0)
    written = json.loads((result.folder / "metrics.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(written, allow_nan=False))
    cases = [c for c in open_dataset(tiny_dataset).manifest.cases if c.split == "test"]
    with (tiny_dataset / "lesions.csv").open(newline="") as file:
        names = {case.id for case in cases}
        rows = [row for row in csv.DictReader(file) if row["case"] in names]
    assert written["lesions"]["total"] == len(rows) > 0
    assert written["cases"]["total"] == len(cases)
    for part in written["lesions"]["by_diameter_mm"]:
        diameters = [float(row["max_axial_diameter_mm"]) for row in rows]
        high = part["to"] or 1e9
        assert part["total"] == sum(part["from"] <= mm < high for mm in diameters)
    assert sum(part["boxes"] for part in written["by_diameter_mm"]) == written["boxes"]
    assert written["read_at"]["confidence"] == written["frozen"]["confidence"]
    assert written["bootstrap"]["patients"] == len({case.patient for case in cases})


def test_linked_findings_are_written(tiny_run: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    """Linked findings are written with the linking that training fitted on val."""
    card = read_model_card(tiny_run)
    result = evaluate(tiny_run, tiny_dataset, out=tmp_path / "out", pictures=0)
    linked = json.loads((result.folder / "metrics.json").read_text(encoding="utf-8"))["linked"]
    assert linked["linking"] == card.linking.model_dump()
    assert linked["confidence"] == card.operating_point.confidence
    assert linked["lesions"] == result.levels.lesions.all.total > 0
    assert 0 <= linked["hits"] <= min(linked["findings"], linked["lesions"])
    boxes = linked["one_finding_per_box"]
    assert boxes["findings"] >= linked["greedy_stacking"]["findings"]

    old = tmp_path / "old"  # a model from before there was any choice
    shutil.copytree(tiny_run, old)
    content = json.loads((old / "model.json").read_text(encoding="utf-8"))
    del content["linking"]
    (old / "model.json").write_text(json.dumps(content))
    assert read_model_card(old).linking == Linking()


def test_area_ranges_are_those_of_pycocotools_on_the_same_files(
    tiny_run: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    result = evaluate(tiny_run, tiny_dataset, out=tmp_path / "out", pictures=0)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tiny_dataset / "annotations" / "instances_test.json"))
        results = truth.loadRes(str(result.folder / "predictions.json"))
        scoring = COCOeval(truth, results, "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    ap = [row.ap50_95 for row in result.levels.by_coco_area.values()]
    expected = [np.nan if value == -1 else value for value in scoring.stats[3:6]]
    assert ap == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert not np.isnan(ap[0])


def test_a_patient_in_two_splits_is_refused(
    tiny_run: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    """A patient in two splits is refused, by the manifest or by the COCO files."""
    for name, path in (("manifest", "dataset.json"), ("coco", "annotations/instances_train.json")):
        copy = tmp_path / name
        shutil.copytree(tiny_dataset, copy)
        content = json.loads((copy / path).read_text(encoding="utf-8"))
        tested = next(c for c in open_dataset(copy).manifest.cases if c.split == "test").patient
        if name == "manifest":
            next(c for c in content["cases"] if c["split"] == "train")["patient"] = tested
        else:
            content["images"][0]["patient_id"] = tested
        (copy / path).write_text(json.dumps(content))
        with pytest.raises(InputError, match=f"patient {tested} is on two sides: test, train"):
            evaluate(tiny_run, copy, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_moved_dataset_and_a_moved_model_give_the_same(
    tiny_run: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    moved_run, moved_data = tmp_path / "somewhere" / "m", tmp_path / "else" / "d"
    shutil.copytree(tiny_run, moved_run)
    shutil.copytree(tiny_dataset, moved_data)
    first = evaluate(tiny_run, tiny_dataset, out=tmp_path / "a")
    second = evaluate(moved_run, moved_data, out=tmp_path / "b")
    assert first.metrics == second.metrics


def test_the_frozen_point_is_the_one_of_the_card(tiny_run: Path, tiny_dataset: Path) -> None:
    """At the card's confidence, hits and misses counted by hand on val."""
    card = read_model_card(tiny_run)
    part = load_split(open_dataset(tiny_dataset), "val")
    detector = load_detector(tiny_run, "cpu")
    hits = predicted = 0
    for images, start in zip(part.batches(1), range(len(part)), strict=True):
        (detections,) = detector.predict(images)
        detections = detections[detections.score >= card.operating_point.confidence]
        truth, taken = part.truth[start], set()
        for box, label in zip(detections.xyxy, detections.label, strict=True):
            predicted += 1
            low = np.maximum(box[:2], truth.xyxy[:, :2])
            high = np.minimum(box[2:], truth.xyxy[:, 2:])
            common = np.clip(high - low, 0, None).prod(axis=1)
            area = (box[2:] - box[:2]).prod()
            whole = area + (truth.xyxy[:, 2:] - truth.xyxy[:, :2]).prod(axis=1) - common
            good = [
                k for k in np.flatnonzero((common / whole >= 0.5) & (truth.label == label))
                if k not in taken
            ]  # fmt: skip
            if good:
                taken.add(good[0])
                hits += 1
    frozen = json.loads((tiny_run / "metrics.json").read_text(encoding="utf-8"))["frozen"]
    assert frozen["confidence"] == card.operating_point.confidence
    assert frozen["pooled"]["true_positives"] == hits > 0
    assert frozen["pooled"]["false_positives"] == predicted - hits
