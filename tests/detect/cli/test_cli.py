"""The command line refuses wrong requests, models, datasets and scans, and full disks.

Each entry of `REFUSED` is a command; files and folders it names in braces are made by `pantry`.
"""

import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.conversion.convert import convert
from converters.imaging.nifti import write_nifti
from detect.cli.main import main
from tests.helpers.dicom_series import SECRETS, write_series
from tests.helpers.tiny import RECIPE, make_scans, recipe

SEEN: list[tuple[str, int, str]] = []


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Append the printed lines, as Markdown rows, to the file that DETECT_CLI_TABLE names."""
    yield
    if name := os.environ.get("DETECT_CLI_TABLE"):
        with Path(name).open("a", encoding="utf-8") as file:
            file.writelines(f"| {kind} | {code} | `{line}` |\n" for kind, code, line in SEEN)


class Runs:
    """Creates a file when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("it-ran",)


@pytest.fixture(scope="module")
def pantry(
    tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path, tiny_run: Path
) -> dict[str, Path]:
    """A folder with all inputs of the commands; nothing in it may change."""
    folder = tmp_path_factory.mktemp("pantry")
    items = {"data": tiny_dataset, "run": tiny_run}

    def new(name: str, content: str | bytes | None = None) -> Path:
        path = items[name.replace(".", "_").replace("-", "_")] = folder / name
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif content is not None:
            path.write_bytes(content)
        return path

    def copy(name: str, source: Path) -> Path:
        return Path(shutil.copytree(source, new(name)))

    new("empty").mkdir()
    new("file.txt", "some text")
    make_scans(new("scans"), cases=3)
    items["scan"] = items["scans"] / "case0-scan.nii"
    new("recipe.yaml", RECIPE)
    new("not-yaml.yaml", "name: [")
    new("list.yaml", "- a\n- b\n")
    new("double.yaml", RECIPE.replace("dark: 2", "dark: 1"))
    new("split.yaml", "train: [case0, case1]\nval: [case9]\n")
    new("split-twice.yaml", "train: [case0, case1]\nval: [case0]\ntest: [case2]\n")

    other = new("other-window")
    other.mkdir()
    narrow = recipe(other, RECIPE.replace("width: 400", "width: 100"))
    convert(narrow, items["scans"], other / "dataset", split=(1, 1, 1))
    items["other_window"] = other / "dataset"
    all_train = folder / "all-train"
    all_train.mkdir()
    convert(recipe(all_train), items["scans"], all_train / "dataset", split=(1, 0, 0))
    items["all_train"] = all_train / "dataset"

    def coco_of(dataset: Path) -> Path:
        return dataset / "annotations" / "instances_test.json"

    gone = copy("picture-gone", tiny_dataset)
    next((gone / "images" / "test").iterdir()).unlink()
    short = next((copy("picture-cut", tiny_dataset) / "images" / "test").iterdir())
    short.write_bytes(short.read_bytes()[:-20])
    leaves = coco_of(copy("coco-leaves", tiny_dataset))
    leaves.write_text(leaves.read_text(encoding="utf-8").replace("case", "../case"))
    lacks = coco_of(copy("coco-lacks", tiny_dataset))
    content = json.loads(lacks.read_text(encoding="utf-8"))
    del content["images"][0]["file_name"]
    lacks.write_text(json.dumps(content))
    coco_of(copy("coco-text", tiny_dataset)).write_text("[]")
    (copy("manifest-cut", tiny_dataset) / "dataset.json").write_text('{"schema": ')

    def card(name: str, **changes: object) -> None:
        path = copy(name, tiny_run) / "model.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content["spec"] |= changes.pop("spec", {})
        path.write_text(json.dumps(content | changes))

    card("run-absolute", weights="/etc/passwd")
    card("run-nul", weights="weights/\0")
    card("run-huge", spec={"imgsz": 3_200_000})
    card("run-unknown", spec={"model": "yolov99"})
    card("run-other", spec={"model": "yolo11n"})
    card("run-newer", schema="detect-model/9")
    (copy("run-without", tiny_run) / "weights" / "last.safetensors").unlink()

    torch.save({"model": Runs()}, new("unsafe.pt"))
    new("weights.onnx", b"onnx")
    new("cut.safetensors", (tiny_run / "weights/best.safetensors").read_bytes()[:5000])

    pixels = np.full((4, 16, 16), 1000, np.uint16)

    def magnetic(_: int, ds):
        ds.Modality = "MR"
        return ds

    write_series(new("mr"), pixels, magnetic)
    items["slice"] = write_series(new("series"), pixels)[0]
    grid = np.diag([np.nan, 1.0, 1.0, 1.0])
    write_nifti(new("not-finite.nii"), np.zeros((2, 4, 4), np.int16), np.eye(4))
    data = bytearray(items["not_finite_nii"].read_bytes())
    data[280:284] = np.float32(grid[0, 0]).tobytes()  # srow_x
    items["not_finite_nii"].write_bytes(data)
    return items


CONVERT = "convert {recipe_yaml} --root {scans} --out {out} --workers 1 "
TRAIN = "train --model yolov8n --data {data} --out {out} --device cpu --imgsz 64 "
EVALUATE = "evaluate --model {run} --data {data} --out {out} --device cpu "
PREDICT = "predict --model {run} --out {out} --device cpu "
ON = "evaluate --data {data} --out {out} --model "

REFUSED: dict[str, tuple[str, int, str]] = {
    # the command line itself
    "no argument": ("convert", 2, "recipe"),
    "missing option": ("predict {scan}", 2, "--model"),
    "number expected": (TRAIN + "--epochs many", 2, "--epochs"),
    "no epochs": (TRAIN + "--epochs 0", 2, "--epochs"),
    "no worker": (CONVERT + "--workers 0", 2, "--workers"),
    "negative seed": (TRAIN + "--seed -1", 2, "--seed"),
    "seed too large": (CONVERT + "--seed 99999999999", 2, "--seed"),
    # convert
    "recipe is not YAML": ("convert {not_yaml_yaml} --root {scans} --out {out}", 2, "not-yaml"),
    "recipe is a list": ("convert {list_yaml} --root {scans} --out {out}", 2, "list.yaml"),
    "label named twice": ("convert {double_yaml} --root {scans} --out {out}", 2, "[1]"),
    "recipe file is missing": ("convert gone.yaml --root {scans} --out {out}", 2, "gone.yaml"),
    "root is missing": ("convert {recipe_yaml} --root gone --out {out}", 2, "gone"),
    "two split weights": (CONVERT + "--split 70,30", 2, "--split"),
    "split weights that are no numbers": (CONVERT + "--split nan,1,1", 2, "--split"),
    "negative split weight": (CONVERT + "--split 2,-1,1", 2, "--split"),
    "negatives for one split only": (CONVERT + "--negatives train=1", 2, "--negatives"),
    "window without width": (CONVERT + "--window 60,0", 2, "--window"),
    "window that is no number": (CONVERT + "--window nan,200", 2, "--window"),
    "negative size": (CONVERT + "--min-size-mm -1", 2, "--min-size-mm"),
    "split file names nobody": (CONVERT + "--split-file {split_yaml}", 2, "case9"),
    "patient on two sides": (CONVERT + "--split-file {split_twice_yaml}", 2, "case0"),
    "split file is missing": (CONVERT + "--split-file gone.yaml", 2, "gone.yaml"),
    "output is a file": (CONVERT.replace("{out}", "{file_txt}"), 2, "file.txt"),
    "output below a file": (CONVERT.replace("{out}", "{file_txt}/new"), 2, "file.txt"),
    "check: no dataset": ("check {scans}", 2, "scans"),
    "check: no second dataset": ("check {data} {scans}", 2, "scans"),
    "check: output exists": ("check {data} --out {run}", 2, "exists"),
    # train
    "model of another family of names": (TRAIN.replace("yolov8n", "yolo12z"), 2, "yolo1"),
    "train: dataset is missing": (TRAIN.replace("{data}", "gone"), 2, "gone"),
    "train: dataset is a file": (TRAIN.replace("{data}", "{file_txt}"), 2, "file.txt"),
    "train: no val images": (TRAIN.replace("{data}", "{all_train}"), 2, "no val images"),
    "train: manifest cut short": (TRAIN.replace("{data}", "{manifest_cut}"), 2, "dataset.json"),
    "no fold": (TRAIN + "--fold 2", 2, "--fold"),
    "a fold that is not there": (TRAIN + "--fold 6/5", 2, "--fold"),
    "a fold of splits sampled differently": (TRAIN + "--fold 1/3", 2, "--negatives all"),
    "learning rate below 0": (TRAIN + "--lr -1", 2, "--lr"),
    "learning rate above 1": (TRAIN + "--lr 5", 2, "--lr"),
    "learning rate nan": (TRAIN + "--lr nan", 2, "--lr"),
    "input too large": (TRAIN + "--imgsz 320000", 2, "--imgsz"),
    "train: output exists": (TRAIN.replace("{out}", "{run}"), 2, "tiny"),
    "train: output is here": (TRAIN.replace("{out}", ".") + "--overwrite", 2, "--out"),
    "train: output below a file": (TRAIN.replace("{out}", "{file_txt}/new"), 2, "file.txt"),
    "resume a finished model": (TRAIN.replace("{out}", "{run}") + "--resume", 2, "finished"),
    "resume and overwrite": (TRAIN + "--resume --overwrite", 2, "--resume"),
    "weights that would run code": (TRAIN + "--weights {unsafe_pt}", 2, "--trust"),
    "weights of another format": (TRAIN + "--weights {weights_onnx}", 2, "weights.onnx"),
    "weights cut short": (TRAIN + "--weights {cut_safetensors}", 2, "cut.safetensors"),
    "weights are a folder": (TRAIN + "--weights {empty}", 2, "empty"),
    # evaluate
    "unknown split": (EVALUATE + "--split all", 2, "--split"),
    "split without images": (
        EVALUATE.replace("{data}", "{all_train}") + "--split test", 2, "no test images",
    ),
    "dataset of another window": (EVALUATE.replace("{data}", "{other_window}"), 2, "window"),
    "picture missing": (EVALUATE.replace("{data}", "{picture_gone}"), 2, ".png"),
    "picture cut short": (EVALUATE.replace("{data}", "{picture_cut}"), 2, ".png"),
    "picture outside the dataset": (EVALUATE.replace("{data}", "{coco_leaves}"), 2, "leads out"),
    "COCO without file names": (EVALUATE.replace("{data}", "{coco_lacks}"), 2, "instances_test"),
    "COCO is a list": (EVALUATE.replace("{data}", "{coco_text}"), 2, "instances_test"),
    "evaluate: output exists": (EVALUATE.replace("{out}", "{run}"), 2, "tiny"),
    # models
    "model is missing": (ON + "gone", 2, "gone"),
    "model is a file": (ON + "{file_txt}", 2, "file.txt"),
    "weights are an absolute path": (ON + "{run_absolute}", 2, "model.json"),
    "weights with a zero byte": (ON + "{run_nul}", 2, "model.json"),
    "model with a huge input": (ON + "{run_huge}", 2, "imgsz"),
    "model unknown to this version": (ON + "{run_unknown}", 2, "yolov99"),
    "model.json of another network": (ON + "{run_other}", 2, "does not fit"),
    "model.json of a later schema": (ON + "{run_newer}", 2, "schema"),
    "model without its weights": (ON + "{run_without}", 2, "last.safetensors"),
    # predict
    "confidence above 1": (PREDICT + "{scan} --confidence 2", 2, "--confidence"),
    "confidence nan": (PREDICT + "{scan} --confidence nan", 2, "--confidence"),
    "predict: output is a file": (PREDICT.replace("{out}", "{file_txt}") + "{scan}", 2, "file.txt"),
    "predict: MR series": (PREDICT + "{mr}", 1, "MR"),
    "predict: one slice of a series": (PREDICT + "{slice}", 1, "single DICOM file"),
    "predict: geometry that is no number": (PREDICT + "{not_finite_nii}", 1, "not-finite.nii"),
    "predict: a device": (PREDICT + "/dev/null", 1, "/dev/null"),
    "predict: name too long": (PREDICT + "x" * 300 + ".nii", 1, "xxx"),
}  # fmt: skip


def state(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(
    kind: str,
    pantry: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command, code, named = REFUSED[kind]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECT_WEIGHTS", str(tmp_path / "no-weights"))
    out = tmp_path / "out"
    words = [word.format(out=out, **pantry) for word in shlex.split(command)]
    before = state(pantry["empty"].parent)
    with pytest.raises(SystemExit) as end:
        main(words)
    printed = capfd.readouterr()
    (line,) = printed.err.splitlines()
    assert end.value.code == code, line
    assert line.startswith("error: " if code == 2 else "failed: ")
    assert named in line
    assert not any(secret in printed.out + line for secret in SECRETS)
    assert state(pantry["empty"].parent) == before
    left = {path.name for path in tmp_path.rglob("*")}
    if code == 2:
        assert not left
    else:  # a batch: nothing of the bad scan, and the summary of the others
        assert left <= {"out", "summary.csv", "report.html"}
    line = line.replace(str(pantry["empty"].parent), "…").replace(str(tmp_path), ".")
    SEEN.append((kind, code, line.replace(str(pantry["data"].parent), "…")))


LIMITED = f"""
import resource, sys
from detect.cli.main import main
import detect.workflows.train, detect.workflows.evaluate, detect.workflows.predict
import detect.families.ultralytics.detector
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, {resource.RLIM_INFINITY}))
main(sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("kind", "limit", "command"),
    [
        ("no space left for a model", 20_000_000, TRAIN + "--epochs 1"),
        ("no space left for an evaluation", 2_000, EVALUATE),
        ("no space left for a scan's results", 1_000, PREDICT + "{scan} --confidence 0.001"),
    ],
)
def test_no_space_left(
    kind: str, limit: int, command: str, pantry: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = [word.format(out=out, **pantry) for word in shlex.split(command)]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *words],
        cwd=tmp_path, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    line, *more = done.stderr.splitlines()
    batch = words[0] == "predict"  # lists the scan, and the report that found no room either
    assert (done.returncode, len(more)) == ((1, 1) if batch else (2, 0)), done.stderr
    for failure in (line, *more):
        assert failure.startswith("failed: " if batch else "error: ")
        assert "too large" in failure and str(out) in failure
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]
    if batch:
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["summary.csv"]
    elif words[0] == "train":  # an interrupted run, which the next one may resume or overwrite
        assert {path.name for path in tmp_path.iterdir()} == {"out.partial"}
    else:
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    SEEN.append((f"{kind} (file size limit)", done.returncode, line.replace(str(tmp_path), ".")))


def test_an_interrupt_is_one_line_and_says_how_to_go_on(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "detect", "demo", "--out", str(tmp_path / "d"), "--quiet"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # in the background it is not
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, encoding="utf-8", preexec_fn=heard
    ) as process:
        try:
            while not (tmp_path / "d").exists():
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert errors == "error: interrupted; run the same command again to go on\n"
