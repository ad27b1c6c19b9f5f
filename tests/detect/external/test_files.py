"""Detections in COCO's and YOLO's files, operating points, and comparisons."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters.core.boxes import Boxes
from converters.dataset.coco import detections_to_coco
from converters.dataset.folder import open_dataset
from converters.dataset.split import Split, load_split
from converters.preprocessing.windowing import Percentiles
from detect.cli.main import _run
from detect.detectors.card import read_model_card
from detect.detectors.operating_rule import Rule
from detect.detectors.registry import load_detector
from detect.evaluation.detect_split import detect_split
from detect.evaluation.detected import Detected
from detect.evaluation.matching import match
from detect.evaluation.metrics import evaluate as numbers
from detect.evaluation.paired import compare_paired
from detect.report.evaluation_report import evaluation_report
from detect.workflows.compare import compare
from detect.workflows.evaluate import evaluate
from detect.workflows.evaluate_predictions import ExternalPredictions, evaluate_predictions
from detect.workflows.operating_point import set_operating_point


@pytest.fixture(scope="module")
def predictions(tiny_run: Path, tiny_dataset: Path) -> dict[str, tuple[Split, list[Boxes]]]:
    detector = load_detector(tiny_run, "cpu")
    splits = [load_split(open_dataset(tiny_dataset), name) for name in ("val", "test")]
    return {s.name: (s, detect_split(detector, s)) for s in splits}


def write_coco(file: Path, split: Split, detections: list[Boxes], by: str) -> Path:
    entries = detections_to_coco(detections, split.image_ids)
    names = dict(zip(split.image_ids, split.paths, strict=True))
    for entry in entries:
        path = names[entry["image_id"]]
        if by == "stem":
            entry["image_id"] = path.stem
        if by == "file_name":
            entry |= {"image_id": 10**6, "file_name": f"images/test/{path.name}"}
    file.write_text(json.dumps(entries))
    return file


@pytest.mark.parametrize("by", ["id", "stem", "file_name"])
def test_coco_results_give_the_numbers_of_the_model(
    tiny_run: Path, tiny_dataset: Path, predictions: dict[str, tuple[Split, list[Boxes]]],
    tmp_path: Path, by: str,
) -> None:  # fmt: skip
    original = evaluate(tiny_run, tiny_dataset, out=tmp_path / "own", pictures=2)
    file = write_coco(tmp_path / "results.json", *predictions["test"], by)
    confidence = read_model_card(tiny_run).operating_point.confidence
    other = evaluate_predictions(
        ExternalPredictions(file, confidence=confidence),
        tiny_dataset,
        out=tmp_path / "other",
        pictures=2,
    )
    assert other.metrics == original.metrics
    assert {p.name for p in other.folder.iterdir()} == {p.name for p in original.folder.iterdir()}
    for name in ("predictions.json", "annotations.json"):
        assert (other.folder / name).read_text(encoding="utf-8") == (
            original.folder / name
        ).read_text(encoding="utf-8")
    written = json.loads((other.folder / "metrics.json").read_text(encoding="utf-8"))
    assert written["predictions"] == {"name": "results", "form": "COCO results", "score": None}
    assert written["operating_point"]["confidence"] == confidence


def test_labels_that_ultralytics_wrote(
    tiny_dataset: Path, predictions: dict[str, tuple[Split, list[Boxes]]], tmp_path: Path,
    ultralytics_offline: None,
) -> None:  # fmt: skip
    """Labels of ultralytics give the same numbers to six digits; some pictures have no file."""
    import torch
    from ultralytics.engine.results import Results

    split, detections = predictions["test"]
    detections = [d[d.score > 0.02] if k % 3 else Boxes.empty() for k, d in enumerate(detections)]
    labels = tmp_path / "labels"
    labels.mkdir()
    for path, size, image_boxes in zip(split.paths, split.sizes, detections, strict=True):
        table = np.column_stack([image_boxes.xyxy, image_boxes.score, image_boxes.label])
        Results(
            np.zeros((*size, 3), np.uint8), str(path), {0: "bright", 1: "dark"},
            boxes=torch.from_numpy(table),
        ).save_txt(labels / f"{path.stem}.txt", save_conf=True)  # fmt: skip
    assert 0 < len(list(labels.iterdir())) < len(split)
    result = evaluate_predictions(labels, tiny_dataset, out=tmp_path / "out")
    expected = numbers(split.truth, detections, ["bright", "dark"])
    assert result.metrics.detections == expected.detections > 10
    assert result.metrics.map50 == pytest.approx(expected.map50, abs=1e-3)
    assert result.metrics.best_f1.mean.recall == pytest.approx(
        expected.best_f1.mean.recall, abs=1e-3
    )
    assert result.metrics.frozen is None  # nobody chose one


def test_a_point_chosen_on_val_predictions(
    tiny_run: Path,
    tiny_dataset: Path,
    predictions: dict[str, tuple[Split, list[Boxes]]],
    tmp_path: Path,
) -> None:
    """The same boxes from a file give the operating point that training froze on val."""
    test = write_coco(tmp_path / "test.json", *predictions["test"], "id")
    val = write_coco(tmp_path / "val.json", *predictions["val"], "id")
    result = evaluate_predictions(
        ExternalPredictions(test, val_predictions=val), tiny_dataset, out=tmp_path / "out"
    )
    assert result.point == read_model_card(tiny_run).operating_point
    assert result.metrics.frozen.confidence == result.point.confidence
    few = evaluate_predictions(
        ExternalPredictions(test, val_predictions=val, operating_point=Rule("fp-per-scan", 0)),
        tiny_dataset, out=tmp_path / "few",
    )  # fmt: skip
    assert few.point.reached.fp_per_scan == 0
    assert few.point.rule == "false-positive boxes a scan 0 at IoU 0.5 on val"


def test_a_point_chosen_anew(tiny_run: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "m"
    shutil.copytree(tiny_run, bundle)
    before = read_model_card(bundle)
    result = set_operating_point(bundle, tiny_dataset, Rule("sensitivity", 0.5), device="cpu")
    card = read_model_card(bundle)
    assert card.operating_point == result.point != before.operating_point
    assert card.model_copy(update={"operating_point": None}) == before.model_copy(
        update={"operating_point": None}
    )
    assert result.point.reached.recall >= 0.5 and not result.note
    written = json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))
    assert written["frozen"]["confidence"] == result.point.confidence
    assert written["frozen"]["recall"] == result.point.reached.recall
    evaluated = evaluate(bundle, tiny_dataset, out=tmp_path / "e", pictures=0)
    assert evaluated.metrics.frozen.confidence == result.point.confidence
    back = set_operating_point(bundle, tiny_dataset, Rule("f1"), device="cpu")
    assert back.point == before.operating_point
    assert (bundle / "metrics.json").read_text(encoding="utf-8") == (
        tiny_run / "metrics.json"
    ).read_text(encoding="utf-8")


def test_what_is_not_reached_is_said(
    tiny_run: Path, tiny_dataset: Path, predictions: dict[str, tuple[Split, list[Boxes]]],
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    split, detections = predictions["val"]
    blind = [d[d.label == 1] for d in detections]  # never finds a bright one
    val = write_coco(tmp_path / "val.json", split, blind, "id")
    words = ["evaluate", "--data", str(tiny_dataset), "--predictions", str(val), "--split", "val"]
    words += ["--out", str(tmp_path / "o"), "--val-predictions", str(val)]
    assert _run([*words, "--operating-point", "sensitivity=0.9"]) == 0
    out = capsys.readouterr().out
    notes = [line for line in out.splitlines() if line.startswith("Note:")]
    assert len(notes) == 1 and "`sensitivity=0.9` is not reached on val" in notes[0]
    assert "(not reached)" in out
    written = json.loads((tmp_path / "o" / "metrics.json").read_text(encoding="utf-8"))
    lowest = min(float(s) for d in blind for s in d.score)
    assert written["operating_point"]["confidence"] == lowest
    assert written["operating_point"]["reached"]["recall"] <= 0.5


@pytest.fixture(scope="module")
def two(
    tiny_run: Path, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A model's evaluation, and that of the ground truth as a segmentation."""
    folder = tmp_path_factory.mktemp("two")
    masks = folder / "masks"
    masks.mkdir()
    for case in dict.fromkeys(load_split(open_dataset(tiny_dataset), "test").case_ids):
        shutil.copy(tiny_dataset.parent / "scans" / f"{case}-mask.nii", masks)
    evaluate(tiny_run, tiny_dataset, out=folder / "a", pictures=0)
    nnunet = ExternalPredictions(masks, name="nnU-Net")
    evaluate_predictions(nnunet, tiny_dataset, out=folder / "b", pictures=0)
    return folder / "a", folder / "b"


def test_two_folders_compared(
    two: tuple[Path, Path], tiny_dataset: Path, predictions: dict[str, tuple[Split, list[Boxes]]],
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "c.json"
    assert _run(["compare", str(two[0]), str(two[1]), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "A: yolov8n, B: nnU-Net; 2 patients" in shown
    assert "With 2 patients no difference can reach p < 0.05." in shown
    written = json.loads(out.read_text(encoding="utf-8"))
    a, b = (json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in two)
    for name in ("map50", "map50_95"):
        assert written["numbers"][name]["first"] == pytest.approx(a[name], abs=1e-12)
        assert written["numbers"][name]["second"] == b[name] == 1
    assert written["numbers"]["f1"]["first"] == pytest.approx(a["frozen"]["f1"], abs=1e-12)

    split, detections = predictions["test"]
    first = match(split.truth, detections, 2)
    second = match(split.truth, split.truth, 2)
    point = a["operating_point"]["confidence"], 0.0
    assert compare(*two).numbers == compare_paired(first, second, split.patient_ids, point)


def test_the_report_says_where_detections_and_pictures_come_from(
    two: tuple[Path, Path], tiny_dataset: Path
) -> None:
    page = (two[1] / "report.html").read_text(encoding="utf-8")
    assert "nnU-Net: segmentations, scored by constant" in page
    assert "all that was segmented" in page and "Every box has the score 1" in page
    metrics = json.loads((two[0] / "metrics.json").read_text(encoding="utf-8"))
    metrics["model"]["spec"]["window"] = {"percentiles": [1, 99]}  # as of a model for MR
    split = load_split(open_dataset(tiny_dataset), "test")
    page = evaluation_report(
        metrics,
        Detected("x", split, split.truth, ["bright", "dark"], Percentiles(percentiles=(1, 99)), {}),
    )
    assert page.count("percentiles 1 to 99 of the body") == 2


def changed(file: str, change: Callable[[str], str]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / file).write_text(change((folder / file).read_text(encoding="utf-8")))
        return folder

    return make


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.parent, "is no evaluation"),
        (changed("annotations.json", lambda t: t.replace("case", "kase")), "other pictures"),
        (changed("annotations.json", lambda t: t.replace('"bright"', '"light"')), "other classes"),
        (changed("annotations.json", lambda t: t.replace('"bbox": [1', '"bbox": [2', 1)), "boxes"),
        (changed("metrics.json", lambda t: t.replace('"split": "test"', '"split": "val"')), "val"),
        (changed("metrics.json", lambda t: "{}"), "not that of an evaluation"),
        (changed("metrics.json", lambda t: "[]"), "not that of an evaluation"),
        (changed("predictions.json", lambda t: t[:-9]), "predictions.json"),
    ],
)
def test_what_cannot_be_compared(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], Path], message: str,
) -> None:  # fmt: skip
    second = change(Path(shutil.copytree(two[1], tmp_path / "b")))
    assert _run(["compare", str(two[0]), str(second), "--out", str(tmp_path / "c.json")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0], lines
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize("rule", ["f2", "sensitivity=2", "fp-per-image"])
def test_rules_that_are_refused(
    rule: str, tiny_run: Path, tiny_dataset: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    where = ["--model", str(tiny_run), "--data", str(tiny_dataset)]
    train = [
        "train",
        "--model",
        "yolov8n",
        "--data",
        str(tiny_dataset),
        "--out",
        str(tmp_path / "o"),
    ]
    for words in (["operating-point", rule, *where], [*train, "--operating-point", rule]):
        assert _run(words) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and "--operating-point" in lines[0]
    assert not list(tmp_path.iterdir())
