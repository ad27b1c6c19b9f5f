"""Cross-validation: folds by patient, their runs, and what is refused."""

import contextlib
import io
import shutil
from pathlib import Path

import pytest

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.dataset.folder import open_dataset
from converters.dataset.folds import Fold, fold_splits
from detect.benchmarking.runs import plan
from detect.detectors.card import read_model_card
from detect.workflows.benchmark import benchmark
from detect.workflows.evaluate import evaluate
from detect.workflows.train import train
from tests.helpers.benchmark_tables import table
from tests.helpers.tiny import SETTINGS


def test_folds_partition_the_patients(poolable: Path) -> None:
    dataset = open_dataset(poolable)
    entries = {case.id: case for case in dataset.manifest.cases}
    tested: list[str] = []
    for number in (1, 2, 3):
        splits = fold_splits(dataset, Fold(number=number, of=3, seed=5))
        patients = {name: set(split.patient_ids) for name, split in splits.items()}
        assert all(patients.values())
        assert sum(map(len, patients.values())) == 8 == len(set().union(*patients.values()))
        tested += patients["test"]
        ids = [key for split in splits.values() for key in split.image_ids]
        assert sorted(ids) == list(range(1, len(ids) + 1))
        for split in splits.values():
            for path, case, truth in zip(split.paths, split.case_ids, split.truth, strict=True):
                assert path.is_file() and path.parent.name == entries[case].split
                assert path.name.startswith(f"{case}_z") and isinstance(truth, Boxes)
        assert sum(s.boxes for s in splits.values()) == sum(
            sum(case.boxes.values()) for case in entries.values()
        )
    assert sorted(tested) == sorted({case.patient for case in entries.values()})
    assert entries["case0"].patient == entries["case1"].patient


def test_folds_depend_on_the_seed_alone(poolable: Path) -> None:
    def tested(seed: int) -> list[list[str]]:
        folds = [Fold(number=k, of=3, seed=seed) for k in (1, 2, 3)]
        return [fold_splits(open_dataset(poolable), fold)["test"].case_ids for fold in folds]

    assert tested(0) == tested(0) != tested(1)


def test_cross_validation_by_seed(poolable: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 1, "seed": 3})
    result = benchmark(poolable, ["yolo11n"], out=tmp_path / "b", folds=2, settings=settings)
    assert not result.errors
    rows = table(tmp_path / "b")
    assert [(r["fold"], r["seed"], r["status"]) for r in rows] == [
        ("1", "3", "done"), ("2", "3", "done"),
    ]  # fmt: skip
    assert sum(int(r["patients"]) for r in rows) == 8
    assert " ± " in (tmp_path / "b" / "benchmark.md").read_text(encoding="utf-8")

    bundle = tmp_path / "b" / "runs" / "yolo11n-fold2"
    assert read_model_card(bundle).fold == Fold(number=2, of=2, seed=3)
    evaluation = evaluate(bundle, poolable, out=tmp_path / "e", pictures=1)
    assert evaluation.metrics.images == int(rows[1]["images"])
    assert (evaluation.metrics.map50, by_pycocotools(tmp_path / "e")) == pytest.approx(
        (float(rows[1]["map50"]),) * 2, abs=1e-6
    )
    other = tmp_path / "other"  # the same patients, dealt otherwise
    shutil.copytree(poolable, other)
    text = (other / "dataset.json").read_text(encoding="utf-8").replace('"seed": 0', '"seed": 1')
    (other / "dataset.json").write_text(text)
    with pytest.raises(InputError, match="may hold patients that it was trained on"):
        evaluate(bundle, other, out=tmp_path / "f")


def by_pycocotools(folder: Path) -> float:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "annotations.json"))
        scoring = COCOeval(truth, truth.loadRes(str(folder / "predictions.json")), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return float(scoring.stats[1])


def test_a_training_is_not_resumed_on_another_fold(
    poolable: Path, tmp_path: Path, monkeypatch
) -> None:
    class Stopped(Exception):
        pass

    @contextlib.contextmanager
    def progress(*_):
        def advance(_note: str) -> None:
            raise Stopped

        yield advance

    def go_on(fold: Fold | None, **more) -> None:
        out = tmp_path / "run"
        train("yolov8n", poolable, out=out, fold=fold, settings=SETTINGS, **more)

    first, second = (Fold(number=k, of=3, seed=0) for k in (1, 2))
    monkeypatch.setattr("detect.workflows.train.progress", progress)
    with pytest.raises(Stopped):
        go_on(first)
    for other in (second, None, first.model_copy(update={"seed": 1})):
        with pytest.raises(InputError, match="was started with fold = 1 of 3, dealt with seed 0"):
            go_on(other, resume=True)


def test_names_of_the_runs() -> None:
    def names(*what) -> list[str]:
        return [run.name for run in plan(["yolov8n"], *what)]

    assert names(None, 1, 7) == ["yolov8n"]
    assert names(None, 2, 7) == ["yolov8n-seed7", "yolov8n-seed8"]
    assert names(2, 1, 0) == ["yolov8n-fold1", "yolov8n-fold2"]
    assert names(2, 2, 0)[1] == "yolov8n-fold1-seed1"
    assert {run.fold.seed for run in plan(["yolov8n"], 2, 3, 5)} == {5}


def test_more_folds_than_patients(poolable: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="8 folds need at least 10 patients, and there are 8"):
        benchmark(poolable, ["yolov8n"], out=tmp_path / "b", folds=8, settings=SETTINGS)
    assert not (tmp_path / "b").exists()
