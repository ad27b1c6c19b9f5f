"""Wrong files of foreign detections are refused in one line, and nothing is left behind."""

import contextlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters.dataset.folder import open_dataset
from converters.dataset.split import load_split
from converters.imaging.nifti import write_nifti
from detect.cli.main import _run
from tests.helpers.tiny import AFFINE

Make = Callable[[Path, Path], list[str]]
BAD: dict[str, tuple[Make, str]] = {}


def bad(kind: str, message: str) -> Callable[[Make], Make]:
    def keep(make: Make) -> Make:
        BAD[kind] = make, message
        return make

    return keep


def coco(change: Callable[[dict[str, object]], object]) -> Make:
    def make(folder: Path, dataset: Path) -> list[str]:
        entry = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.5}
        good = dict(entry)
        entry = change(entry) or entry
        (folder / "r.json").write_text(json.dumps([good, entry]))
        return ["--predictions", str(folder / "r.json")]

    return make


def yolo(line: str, name: str | None = None) -> Make:
    def make(folder: Path, dataset: Path) -> list[str]:
        stem = load_split(open_dataset(dataset), "test").paths[0].stem
        (folder / "labels").mkdir()
        text = f"0 0.5 0.5 0.1 0.1 0.9\n{line}\n"
        (folder / "labels" / (name or f"{stem}.txt")).write_text(text)
        return ["--predictions", str(folder / "labels")]

    return make


def volumes(
    change: Callable[[np.ndarray], np.ndarray] = lambda v: v,
    affine: np.ndarray = AFFINE,
    only: int = 9,
    more: tuple[str, ...] = (),
    then: Callable[[Path], object] = lambda folder: None,
) -> Make:
    def make(folder: Path, dataset: Path) -> list[str]:
        (folder / "seg").mkdir()
        cases = dict.fromkeys(load_split(open_dataset(dataset), "test").case_ids)
        for case in list(cases)[:only]:
            values = np.zeros((6, 48, 64), np.uint8)
            values[2, 10:20, 10:20] = 1
            write_nifti(folder / "seg" / f"{case}.nii.gz", change(values), affine)
        then(folder / "seg")
        return ["--predictions", str(folder / "seg"), *more]

    return make


def npz(array: object, member: str = "probabilities", score: str = "mean") -> Make:
    def then(folder: Path) -> None:
        for file in folder.glob("*.nii.gz"):
            name = file.name.removesuffix(".nii.gz")
            np.savez_compressed(folder / f"{name}.npz", **{member: array})

    return volumes(then=then, more=("--score", score))


def uniform(value: float = 0.9, shape: tuple[int, ...] = (3, 6, 48, 64)) -> np.ndarray:
    return np.full(shape, value, np.float32)


GOOD = "0 0.5 0.5 0.1 0.1 0.9"
BAD |= {
    "coco: unknown image id": (coco(lambda e: e | {"image_id": 999}), "image_id 999"),
    "coco: unknown file name": (coco(lambda e: e | {"file_name": "x.png"}), "`x.png`"),
    "coco: score above 1": (coco(lambda e: e | {"score": 1.5}), "result 1 has the score 1.5"),
    "coco: score NaN": (coco(lambda e: e | {"score": float("nan")}), "the score nan"),
    "coco: place NaN": (coco(lambda e: e | {"bbox": [float("nan"), 1, 5, 5]}), "impossible bbox"),
    "coco: place beyond floats": (coco(lambda e: e | {"bbox": [10**400, 1, 5, 5]}), "bbox"),
    "coco: unknown class": (coco(lambda e: e | {"category_id": 3}), "category_id 3"),
    "coco: no score": (coco(lambda e: e.pop("score") and None), "no score"),
    "coco: text": (coco(lambda e: "x"), "not an object"),
    "yolo: no confidence": (yolo("0 0.5 0.5 0.1 0.1"), "line 2 has no confidence"),
    "yolo: a word": (yolo("0 0.5 0.5 0.1 wide 0.9"), "line 2 is not a class and five numbers"),
    "yolo: a polygon": (yolo("0 0.1 0.1 0.2 0.1 0.2 0.2 0.9"), "line 2 is not a class"),
    "yolo: class beyond": (yolo("2 0.5 0.5 0.1 0.1 0.9"), "line 2 has the class 2"),
    "yolo: NaN": (yolo("0 nan 0.5 0.1 0.1 0.9"), "line 2 has a box that is not in fractions"),
    "yolo: pixels": (yolo("0 30 20 12 12 0.9"), "line 2 has a box that is not in fractions"),
    "yolo: score above 1": (yolo("0 0.5 0.5 0.1 0.1 1.9"), "line 2 has the confidence 1.9"),
    "yolo: score NaN": (yolo("0 0.5 0.5 0.1 0.1 nan"), "line 2 has the confidence nan"),
    "yolo: unknown file": (yolo(GOOD, "other.txt"), "other.txt"),
    "volume: wrong shape": (volumes(lambda v: v[:5]), "shapes differ"),
    "volume: wrong place": (volumes(affine=np.diag([0.9, 0.8, 2.0, 1.0])), "is not on the grid"),
    "volume: unmapped label": (volumes(lambda v: v * 9), "labels [9] that have no meaning"),
    "volume: not whole numbers": (volumes(lambda v: v * np.float32(0.5)), ".nii.gz"),
    "volume: missing case": (volumes(only=1), "has no volume of case"),
    "labels: unknown class": (volumes(more=("--labels", "tumour=2")), "`tumour=2` names no class"),
    "labels: no number": (volumes(more=("--labels", "dark=x")), "`dark=x` names no label"),
    "labels: background": (volumes(more=("--labels", "dark=0")), "`dark=0` names no label"),
    "labels: of two classes": (volumes(more=("--labels", "dark=1,bright=1")), "to two classes"),
    "score: unknown": (volumes(more=("--score", "median")), "`median` is no score"),
    "score: no probabilities": (volumes(more=("--score", "max")), "needs nnU-Net's .npz"),
    "npz: other member": (npz(uniform(), "softmax"), "cannot be read"),
    "npz: other grid": (npz(uniform(shape=(3, 48, 6, 64))), "has 64 x 6 x 48 voxels"),
    "npz: too few channels": (npz(uniform(shape=(1, 6, 48, 64))), "no channel for label 1"),
    "npz: pickled": (npz(np.array([{}], object)), "cannot be read"),
    "npz: NaN": (npz(uniform(float("nan"))), "no probabilities"),
    "npz: logits": (npz(uniform(7.0)), "no probabilities"),
    "npz: of another case": (npz(uniform(0.01)), "does not belong to"),
    "confidence above 1": (lambda f, d: [*volumes()(f, d), "--confidence", "2"], "--confidence"),
    "confidence and a rule": (
        lambda f, d: [*volumes()(f, d), "--confidence", "0.5", "--operating-point", "f1"],
        "--confidence",
    ),
    "rule without val": (
        lambda f, d: [*volumes()(f, d), "--operating-point", "f1"], "--val-predictions",
    ),
    "unknown rule": (
        lambda f, d: [*(v := volumes()(f, d)), "--val-predictions", v[1], "--operating-point", "x"],
        "`x` is no rule",
    ),
    "labels for COCO": (
        lambda f, d: [*coco(lambda e: e)(f, d), "--labels", "dark=1"], "is for label volumes",
    ),
    "no model and no predictions": (lambda f, d: [], "--model, --predictions"),
    "both": (lambda f, d: ["--model", "x", "--predictions", "y"], "--model, --predictions"),
    "labels for a model": (lambda f, d: ["--model", "x", "--labels", "a=1"], "--labels"),
    "missing": (lambda f, d: ["--predictions", str(f / "gone")], "does not exist"),
}  # fmt: skip


@bad("empty folder", "neither label volumes nor YOLO label files")
def _(folder: Path, dataset: Path) -> list[str]:
    (folder / "empty").mkdir()
    return ["--predictions", str(folder / "empty")]


@bad("coco: no JSON", "cannot be read as JSON")
def _(folder: Path, dataset: Path) -> list[str]:
    (folder / "r.json").write_text("[" * 100_000)
    return ["--predictions", str(folder / "r.json")]


@bad("npz: claims more than it holds", "cut short")
def _(folder: Path, dataset: Path) -> list[str]:
    words = volumes(more=("--score", "mean"))(folder, dataset)
    head = "{'descr': '<f4', 'fortran_order': False, 'shape': (9, 6, 48, 64), }".ljust(117) + "\n"
    for file in (folder / "seg").glob("*.nii.gz"):
        path = file.with_name(file.name.removesuffix(".nii.gz") + ".npz")
        with zipfile.ZipFile(path, "w") as archive:
            data = b"\x93NUMPY\x01\x00" + bytes([118, 0]) + head.encode() + b"\0" * 99
            archive.writestr("probabilities.npy", data)
    return words


@pytest.mark.parametrize("kind", BAD)
def test_bad_input(
    kind: str, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = BAD[kind]
    words = make(tmp_path, tiny_dataset)
    out = tmp_path / "out"
    with contextlib.chdir(tmp_path):
        code = _run(["evaluate", "--data", str(tiny_dataset), "--out", str(out), *words])
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1 and message in lines[0], lines
    assert lines[0].startswith("error: ") and len(lines[0]) < 700
    assert not out.exists() and not list(tmp_path.rglob("*.partial"))
