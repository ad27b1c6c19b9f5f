"""The benchmark: its tables and pictures, being killed and going on, failures, refusals."""

import csv
import io
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters.core.errors import InputError
from converters.core.locks import exclusive_lock
from converters.dataset.folder import open_dataset, read_png
from converters.dataset.split import load_split
from detect.benchmarking.results import NUMBERS, Row, summarise, to_csv, to_markdown
from detect.benchmarking.runs import Run
from detect.cli.main import _run
from detect.detectors.card import read_model_card
from detect.detectors.registry import count_parameters, load_detector
from detect.detectors.settings import TrainSettings
from detect.evaluation.metrics import evaluate as score
from detect.report.benchmark_report import accuracy_chart, learning_chart
from detect.workflows.benchmark import LOCK_FILE, BenchmarkResult, benchmark
from detect.workflows.benchmark_worker import Job, run_job
from tests.helpers.benchmark_tables import table
from tests.helpers.tiny import SETTINGS

# as the command line has them: it cannot set the warm-up
OWN = SETTINGS.model_copy(update={"warmup_epochs": TrainSettings().warmup_epochs})
MEASURED = {"seconds_per_epoch", "ms_per_slice", "training_mib", "inference_mib"}


@pytest.fixture(scope="module")
def weights(tiny_run: Path) -> str:
    """Weights of a YOLOv8n that learns within two epochs, and that do not fit YOLO11n."""
    return str(tiny_run / "weights" / "best.safetensors")


@pytest.fixture(scope="module")
def whole(
    tiny_dataset: Path, weights: str, tmp_path_factory: pytest.TempPathFactory
) -> BenchmarkResult:
    """A benchmark that nobody interrupted; not to be changed."""
    out = tmp_path_factory.mktemp("whole") / "benchmark"
    return benchmark(
        tiny_dataset, ["yolo11n", "yolov8n"], out=out, weights=weights, protocol="limt",
        settings=OWN,
    )  # fmt: skip


# Tables and pictures


def test_a_model_fails_and_the_next_one_is_scored(whole: BenchmarkResult) -> None:
    second, first = table(whole.folder)
    assert (first["model"], first["status"]) == ("yolov8n", "done")
    assert (second["model"], second["status"]) == ("yolo11n", "failed")
    assert not any(second[name] for name in NUMBERS)
    (error,) = whole.errors
    assert error.path == "yolo11n" and "another architecture" in error.problem
    text = (whole.folder / "benchmark.md").read_text(encoding="utf-8")
    assert "| yolo11n | failed |" in text and f"- {error}" in text
    assert str(whole.folder.parent) not in text
    page = (whole.folder / "report.html").read_text(encoding="utf-8")
    assert "1 failed" in page and "another architecture" in page
    assert str(whole.folder.parent) not in page
    assert {path.name for path in whole.folder.iterdir()} == {
        "benchmark.csv", "benchmark.md", "benchmark.png", "curves.png", "report.html",
        "request.json", "runs",
    }  # fmt: skip


def test_the_numbers_are_those_of_the_evaluator(whole: BenchmarkResult, tiny_dataset: Path) -> None:
    bundle = whole.folder / "runs" / "yolov8n"
    training = read_model_card(bundle).training
    assert training["batch"] == OWN.batch != 32  # asked for, so not the protocol's
    card, split = read_model_card(bundle), load_split(open_dataset(tiny_dataset), "test")
    detector = load_detector(bundle, "cpu")
    detections = [detector.predict(images)[0] for images in split.batches(1)]
    point = card.operating_point.confidence
    metrics = score(split.truth, detections, card.spec.classes, point)
    row = {k: float(v) for k, v in table(whole.folder)[1].items() if k in NUMBERS or "_low" in k}
    best, frozen = metrics.best_f1, metrics.frozen.mean
    expected = {
        "map50": metrics.map50, "map50_95": metrics.map50_95,
        "precision_best": best.mean.precision, "recall_best": best.mean.recall,
        "f1_best": best.mean.f1, "confidence_best": best.confidence,
        "precision_frozen": frozen.precision, "recall_frozen": frozen.recall,
        "f1_frozen": frozen.f1, "confidence_frozen": point,
        "parameters": count_parameters("yolov8n", 2).fused, "epochs": 2,
        "images": len(split), "boxes": split.boxes, "patients": len(set(split.patient_ids)),
    }  # fmt: skip
    assert {k: row[k] for k in expected} == pytest.approx(expected, abs=2e-3)
    assert metrics.map50 > 0.1  # else nothing was compared
    high = float(table(whole.folder)[1]["map50_high"])
    assert row["map50_low"] - 1e-6 <= metrics.map50 <= high + 1e-6
    assert 0 < row["ms_per_slice"] < 10_000 and row["seconds_per_epoch"] > 0
    assert 100 < row["inference_mib"] < row["training_mib"] < 5_000
    line = next(
        x
        for x in (whole.folder / "benchmark.md").read_text(encoding="utf-8").splitlines()
        if "| yolov8n" in x
    )
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:4] == [f"{row[k]:.3f}" for k in ("precision_best", "recall_best", "map50")]
    assert cells[5] == f"{row['parameters'] / 1e6:.3f}"


def synthetic_row(model: str, seed: int, map50: float, draws: np.ndarray) -> Row:
    numbers = dict.fromkeys(NUMBERS, math.nan)
    numbers |= {"map50": map50, "ms_per_slice": 20 * map50, "parameters": 3e6}
    every = dict.fromkeys(("map50", "map50_95", "f1_frozen"), draws)
    curve = [(1.0, 0.1), (2.0, map50)]
    return Row(Run(model, None, seed, f"{model}-{seed}"), "done", numbers, every, curve, "CPU", 16)


def test_mean_deviation_and_interval_over_seeds() -> None:
    draws = np.linspace(0, 1, 1001)
    rows = [synthetic_row("yolov8n", 0, 0.5, draws), synthetic_row("yolov8n", 1, 0.7, 1 - draws)]
    (summary,) = summarise(rows)
    assert summary.interval("map50") == pytest.approx((0.5, 0.5))  # draw by draw, not end by end
    assert summary.mean("map50") == pytest.approx(0.6)
    assert "| 0.600 ± 0.141 | 0.500–0.500 |" in to_markdown([summary], "", [])
    assert [row["seed"] for row in csv.DictReader(io.StringIO(to_csv(rows)))] == ["0", "1"]


def test_pictures(whole: BenchmarkResult, tmp_path: Path) -> None:
    for name in ("benchmark.png", "curves.png"):
        pixels = read_png(whole.folder / name)
        assert min(pixels.shape[:2]) > 500 and len(np.unique(pixels)) > 20
    rows = [
        synthetic_row(model, 0, 0.4 + k / 50, np.linspace(0.3, 0.7, 9))
        for k, model in enumerate(["yolov8n", "yolov8s", "rtdetr-l", "yolo11x"])
    ]
    accuracy_chart(summarise(rows)).write_png(tmp_path / "some.png")
    accuracy_chart([]).write_png(tmp_path / "none.png")
    learning_chart([]).write_png(tmp_path / "no-curves.png")
    some, none = (read_png(tmp_path / f"{name}.png") for name in ("some", "none"))
    assert some.shape == none.shape and (some != none).any()


# Killed, and going on


def test_killed_twice_it_gives_the_same(
    whole: BenchmarkResult, tiny_dataset: Path, weights: str, tmp_path: Path
) -> None:
    command = [
        sys.executable, "-m", "detect", "benchmark", "--data", str(tiny_dataset), "--models",
        "yolov8n", "--out", "b", "--weights", weights, "--epochs", "2", "--batch", "4",
        "--imgsz", "64", "--lr", "2e-3", "--device", "cpu", "--workers", "0",
    ]  # fmt: skip
    runs = tmp_path / "b" / "runs"

    def kill_when(file: Path) -> None:
        with subprocess.Popen(command, cwd=tmp_path) as process:
            while not file.exists() and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL

    kill_when(runs / "yolov8n.partial" / "weights" / "resume.pt")
    assert not (runs / "yolov8n").exists()
    kill_when(runs / "yolov8n" / "model.json")
    trained = (runs / "yolov8n" / "model.json").stat().st_mtime_ns
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "") and "yolov8n" in done.stdout
    assert (runs / "yolov8n" / "model.json").stat().st_mtime_ns == trained

    (ours,), theirs = table(tmp_path / "b"), table(whole.folder)[1]
    for row in (ours, theirs):
        for name in MEASURED:
            row.pop(name)
    assert ours == theirs
    best = Path("runs", "yolov8n", "weights", "best.safetensors")
    assert (tmp_path / "b" / best).read_bytes() == (whole.folder / best).read_bytes()
    seconds = [
        float(row["seconds"])
        for row in csv.DictReader((runs / "yolov8n" / "history.csv").open(encoding="utf-8"))
    ]
    assert len(seconds) == 2 and seconds[0] < seconds[1]


def test_finished_runs_are_kept_and_another_request_is_refused(
    whole: BenchmarkResult, tiny_dataset: Path, poolable: Path, weights: str, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(whole.folder, out)

    def again(data: Path = tiny_dataset, **changes) -> BenchmarkResult:
        settings = OWN.model_copy(update=changes)
        return benchmark(
            data, ["yolov8n"], out=out, weights=weights, protocol="limt", settings=settings,
        )  # fmt: skip

    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}
    with pytest.raises(InputError, match="was begun with epochs = 2, not 3"):
        again(epochs=3)
    with pytest.raises(InputError, match="dataset_sha256"):
        again(data=poolable)
    kept = again()  # fewer models
    assert [row.status for row in kept.rows] == ["done"] and not kept.errors
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")} == before
    assert table(out) == table(whole.folder)[1:]

    words = ["benchmark", "--data", str(tiny_dataset), "--models", "yolo11n", "--out", str(out)]
    more = ["--weights", weights, "--imgsz", "64", "--device", "cpu", "--overwrite", "--quiet"]
    assert _run(words + more) == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("failed: yolo11n: best.safetensors: fits only")
    assert "failed" in printed.out and not (out / "runs" / "yolov8n").exists()


def test_only_one_at_a_time(
    whole: BenchmarkResult, tiny_dataset: Path, weights: str, monkeypatch
) -> None:
    monkeypatch.setattr("detect.workflows.benchmark.PATIENCE", 0.3)
    held = exclusive_lock(whole.folder / LOCK_FILE, InputError("test", "is busy", "wait"))
    with held, pytest.raises(InputError, match="another benchmark"):
        benchmark(
            tiny_dataset, ["yolo11n", "yolov8n"], out=whole.folder, weights=weights,
            settings=OWN,
        )  # fmt: skip


def test_a_process_ended_from_outside_is_one_error(
    tiny_dataset: Path, tmp_path: Path, monkeypatch
) -> None:
    class EndedAtOnce(subprocess.Popen):
        def __init__(self, *args, **more) -> None:
            super().__init__(*args, **more)
            self.kill()

    monkeypatch.setattr("detect.workflows.benchmark_worker.subprocess.Popen", EndedAtOnce)
    job = Job(
        step="train", model="yolov8n", data=tiny_dataset, bundle=tmp_path / "run",
        settings=OWN, weights=None, fold=None, draw_seed=0,
    )  # fmt: skip
    with Path(os.devnull).open() as held, pytest.raises(InputError, match="signal 9"):
        run_job(job, held.fileno())


# Refusals

Change = Callable[[list[str]], list[str]]
REFUSED: dict[str, tuple[list[str], str]] = {
    "unknown model": (["--models", "yolov8n,yolo8m"], "yolov8m"),
    "no model": (["--models", " ,"], "names none"),
    "a model twice": (["--models", "yolov8n,yolov8n"], "twice"),
    "no dataset": (["--data", "gone"], "gone"),
    "other negatives in each split": (["--folds", "3"], "--negatives all"),
    "one fold": (["--folds", "1"], "--folds"),
    "no seed": (["--seeds", "0"], "--seeds"),
    "seeds that are too large": (["--seeds", "2", "--seed", str(2**31)], "--seed"),
    "learning rate": (["--lr", "-1"], "--lr"),
    "device": (["--device", "99"], "--device"),
    "protocol": (["--protocol", "lits"], "--protocol"),
    "a model that the protocol lacks": (
        ["--models", "yolov8n,rfdetr-nano", "--protocol", "limt"],
        "says nothing of rfdetr",
    ),
    "a folder of something else": (["--out", "thesis"], "no benchmark"),
    "this very folder": (["--out", "."], "--out"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind: str, tiny_dataset: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.txt").write_text("mine")
    more, named = REFUSED[kind]
    given = {
        "--data": str(tiny_dataset), "--models": "yolov8n", "--device": "cpu", "--out": "out",
    }  # fmt: skip
    given |= dict(zip(more[::2], more[1::2], strict=True))
    assert _run(["benchmark", *(word for pair in given.items() for word in pair)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and named in line
    assert [path.name for path in tmp_path.rglob("*")] == ["thesis", "text.txt"]
