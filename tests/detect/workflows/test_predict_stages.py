"""Prediction in stages, threads, processes and on a cluster: the same bytes, whatever happens."""

import errno
import hashlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from distributed import LocalCluster

import detect.workflows.predict
from converters.core.errors import InputError
from converters.core.files import sha256
from converters.imaging.nifti import write_nifti
from converters.preprocessing.windowing import Window
from detect.detectors.card import ModelCard, ModelSpec, OperatingPoint, Parameters
from detect.detectors.registry import create_detector
from detect.inference import process_scan as writing
from detect.inference import scan as one_scan
from detect.inference.find_scans import ScanTask
from detect.inference.job import PredictSettings, prepare_job
from detect.inference.process_scan import process_scan
from detect.workflows.predict import predict
from tests.helpers.dicom_series import write_series
from tests.helpers.threshold_detector import run
from tests.helpers.tiny import make_scans

CASES = [f"case{n}-{kind}" for n in range(4) for kind in ("mask", "scan")]


def tree(folder: Path) -> dict[str, str]:
    """Hash of each file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module", autouse=True)
def single_thread() -> Iterator[None]:
    """Run every network in one thread: on some CPUs oneDNN's sums depend on the number of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scans(tmp_path_factory.mktemp("source") / "scans", cases=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOv8n that has learnt nothing, and finds much: other processes can load it."""
    bundle = tmp_path_factory.mktemp("models") / "fresh"
    bundle.mkdir()
    spec = ModelSpec(
        family="ultralytics", model="yolov8n", classes=["bright", "dark"],
        window=Window(level=0, width=400), imgsz=64,
    )  # fmt: skip
    torch.manual_seed(5)
    create_detector(spec, "cpu").save(bundle / "weights.safetensors")
    ModelCard(
        spec=spec, parameters=Parameters(unfused=0, fused=0), weights="weights.safetensors",
        weights_sha256=sha256(bundle / "weights.safetensors"),
        operating_point=OperatingPoint(confidence=0.02),
        started_from="scratch", training={}, dataset_sha256="", versions={},
    ).write(bundle)  # fmt: skip
    return bundle


@pytest.fixture(scope="module")
def expected(model: Path, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The hashes of a prediction without threads or processes, one scan after the other."""
    out = tmp_path_factory.mktemp("expected") / "out"
    job = prepare_job(PredictSettings([model], out, device="cpu"))
    rows = [
        process_scan(job, ScanTask(scan, name=scan.name.removesuffix(".nii"))).rows
        for scan in sorted(scans.iterdir())
    ]
    assert sum(map(len, rows)) > 10
    return tree(out)


def cases_of(out: Path) -> dict[str, str]:
    """Return the hashes of the files of single cases."""
    return {name: content for name, content in tree(out).items() if "/" in name}


def test_overlapped_gives_the_same_bytes(
    model: Path, scans: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    result = predict(model, [scans], out=tmp_path / "out", device="cpu")
    assert list(result.rows) == CASES and not result.existing and not result.errors
    assert cases_of(tmp_path / "out") == expected


def test_two_processes_give_the_same_bytes_and_resume(
    model: Path, scans: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    given = tmp_path / "scans"
    shutil.copytree(scans, given)
    (given / "broken.nii").write_bytes(b"no scan")
    single, double = tmp_path / "one", tmp_path / "two"
    first = predict(model, [given], out=single, device="cpu")
    second = predict(model, [given], out=double, device="cpu", workers=2)
    assert list(second.rows) == CASES and second.rows == first.rows
    assert [str(e) for e in second.errors] == [str(e) for e in first.errors] != []
    assert cases_of(double) == expected
    assert tree(double) == tree(single)  # summary and report, too
    shutil.rmtree(double / CASES[2])
    again = predict(model, [given], out=double, device="cpu", workers=2)
    assert again.existing == [name for name in CASES if name != CASES[2]]
    assert tree(double) == tree(single)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        yield str(cluster.scheduler_address)


def test_a_cluster_gives_the_same_bytes(
    model: Path, scans: Path, expected: dict[str, str], address: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(scans.parent)  # not where the workers are
    words = ["--model", os.path.relpath(model), "--out", os.path.relpath(tmp_path / "out")]
    words += ["--device", "cpu", "--scheduler", address]
    for message in ("lesions\n", "(there already)"):
        assert run("predict", "scans", *words) == 0
        printed = capsys.readouterr()
        assert message in printed.out and not printed.err
    assert cases_of(tmp_path / "out") == expected
    assert not list((tmp_path / "out").glob(".*"))
    # what no worker could do ends the run, and is said once
    assert run("predict", "scans", *words, "--runtime", "onnx", "--overwrite") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds no onnx export" in line
    assert cases_of(tmp_path / "out") == expected


def test_a_cluster_of_other_versions_is_refused(
    model: Path, scans: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect.workflows.predict, "version", lambda part: "1.0")
    with pytest.raises(InputError, match="scheduler: the scheduler has numpy"):
        predict(model, [scans], out=tmp_path / "out", scheduler=address)


# What goes wrong on the way


def test_no_stage_that_fails_stops_the_other_scans(
    threshold_model: Path,
    scans: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, write = one_scan.read_volume, writing.write_label_volume
    find = one_scan.find_lesions
    volumes: dict[int, str] = {}

    def bad_read(path: Path) -> Any:
        if path.stem == "case0-mask":
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        if path.stem == "case0-scan":
            raise ValueError("DOE^JANE")  # what a library may quote from a header
        volume = read(path)
        volumes[id(volume.array)] = path.stem
        return volume

    def bad_find(detector: Any, pictures: Any, *rest: Any) -> Any:
        if volumes[id(pictures.volume.array)] == "case1-scan":
            raise MemoryError
        return find(detector, pictures, *rest)

    def bad_write(path: Path, *rest: Any) -> None:
        if "case2-scan" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, *rest)

    monkeypatch.setattr(one_scan, "read_volume", bad_read)
    monkeypatch.setattr(one_scan, "find_lesions", bad_find)
    monkeypatch.setattr(writing, "write_label_volume", bad_write)
    result = predict(threshold_model, [scans], out=tmp_path / "out")
    messages = [str(error) for error in result.errors]
    assert len(messages) == 4
    assert "case0-mask.nii: cannot be read (No such file or directory)" in messages[0]
    assert "case0-scan.nii: cannot be processed (ValueError in test_predict_stages" in messages[1]
    assert "case1-scan.nii: does not fit into the memory" in messages[2]
    assert "case2-scan: cannot be written (No space left on device)" in messages[3]
    assert "DOE" not in "".join(messages)
    good = [name for name in CASES if not any(f"{name}" in line for line in messages)]
    assert list(result.rows) == good and len(good) == 4
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *good, "summary.csv", "report.html",
    }  # fmt: skip
    monkeypatch.undo()


def test_one_series_under_two_names_is_one_result(
    threshold_model: Path,
    tmp_path: Path,
) -> None:
    pixels = np.full((4, 48, 64), 1024, np.uint16)
    pixels[1:3, 10:30, 10:30] = 1300
    write_series(tmp_path / "a", pixels)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    given = [tmp_path / "a", tmp_path / "b"]
    result = predict(threshold_model, given, out=tmp_path / "out")
    assert len(result.rows) == 1 and not result.errors and not result.existing
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_killed_ten_times_it_ends_with_the_same_results_and_none_twice(
    threshold_model: Path,
    tmp_path: Path,
) -> None:
    """The processes are forked, so that a kill costs no start of Python."""
    given, out, whole = make_scans(tmp_path / "scans", cases=20), tmp_path / "out", tmp_path / "all"
    start = time.monotonic()
    predict(threshold_model, [given], out=whole)
    takes = time.monotonic() - start
    rng = np.random.default_rng(11)
    finished: dict[Path, int] = {}
    seen = []
    for _ in range(10):
        child = os.fork()
        if child == 0:
            try:
                cv2.setNumThreads(0)  # its threads are not forked
                predict(threshold_model, [given], out=out)
            finally:
                os._exit(0)
        time.sleep(float(rng.uniform(0.05, 0.3)) * takes)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        now = {path: path.stat().st_mtime_ns for path in out.glob("case*/detections.json")}
        assert {path: now[path] for path in finished} == finished  # none is done again
        finished = now
        seen.append(len(now))
    assert seen[0] < 40 and seen[-1] > 0
    result = predict(threshold_model, [given], out=out)
    assert len(result.rows) == 40 and len(result.existing) == seen[-1] and not result.errors
    assert tree(out) == tree(whole)
    assert not list(out.glob(".*"))


# Test-time augmentation


def test_augmented_boxes_are_those_of_all_views(
    threshold_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The detector of the tests finds the same in each view, less sure in a larger picture."""
    hu = np.zeros((6, 48, 64), np.int16)
    hu[1:4, 10:20, 5:15] = 250
    write_nifti(tmp_path / "scan.nii", hu, np.eye(4))
    given = [tmp_path / "scan.nii"]
    plain = predict(threshold_model, given, out=tmp_path / "a")
    words = ["--model", threshold_model, "--out", tmp_path / "b"]
    assert run("predict", *given, *words, "--augment") == 0
    both = predict(threshold_model, given, out=tmp_path / "b", augment=True)
    assert both.existing == ["scan"]
    (alone,), (augmented,) = plain.rows["scan"], both.rows["scan"]
    assert alone["score"] > augmented["score"] > 0 and alone["boxes"] == augmented["boxes"] == 3
    assert augmented["centre_mm"] == pytest.approx(alone["centre_mm"])
    assert augmented["size_mm"] == pytest.approx(alone["size_mm"])
    (refused,) = predict(threshold_model, given, out=tmp_path / "b").errors
    assert "another scan's or model's" in str(refused)
