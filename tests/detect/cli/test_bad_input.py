"""Bad input at the command line: one clear line, the right exit code, and nothing half-written."""

import gzip
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.imaging.nifti import write_nifti
from detect.cli.main import _run
from detect.families.ultralytics.network import build_network
from tests.helpers import tiny
from tests.helpers.studies import four_dimensional

AFFINE = np.diag([0.8, 0.8, 2.0, 1.0])
SEEN: list[tuple[str, int, str]] = []


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Write the cases as a Markdown table to the file that DETECT_BAD_INPUT_TABLE names."""
    yield
    if name := os.environ.get("DETECT_BAD_INPUT_TABLE"):
        rows = [f"| {kind} | {code} | `{line}` |\n" for kind, code, line in SEEN]
        head = "| input | exit | printed |\n|---|---|---|\n"
        Path(name).write_text(head + "".join(rows), encoding="utf-8")


class Place:
    """A folder with all inputs of a command; each case spoils one of them."""

    def __init__(self, folder: Path, dataset: Path, bundle: Path) -> None:
        self.folder, self.dataset, self.bundle = folder, dataset, bundle
        self.scans = tiny.make_scans(folder / "scans", cases=4)
        self.recipe = folder / "recipe.yaml"
        self.recipe.write_text(tiny.RECIPE, encoding="utf-8")
        self.out = folder / "out"
        self.scan = self.scans / "case0-scan.nii"

    def copied(self, what: Path) -> Path:
        return Path(shutil.copytree(what, self.folder / f"own-{what.name}"))

    def convert(self, *more: str) -> list[str]:
        words = ["convert", str(self.recipe), "--root", str(self.scans), "--out", str(self.out)]
        return [*words, "--workers", "1", *more]

    def train(self, *more: str, model: str = "yolov8n") -> list[str]:
        words = ["train", "--model", model, "--data", str(self.dataset), "--out", str(self.out)]
        return [*words, "--device", "cpu", "--epochs", "1", "--imgsz", "64", *more]

    def predict(self, *scans: Path, bundle: Path | None = None) -> list[str]:
        words = ["predict", "--model", str(bundle or self.bundle), "--out", str(self.out)]
        return [*words, *map(str, scans)]

    def evaluate(self, bundle: Path | None = None, data: Path | None = None) -> list[str]:
        words = ["evaluate", "--model", str(bundle or self.bundle)]
        return [*words, "--data", str(data or self.dataset), "--out", str(self.out)]


@pytest.fixture
def place(tmp_path: Path, tiny_dataset: Path, tiny_run: Path) -> Place:
    return Place(tmp_path, tiny_dataset, tiny_run)


Case = Callable[[Place], tuple[list[str], int, str]]
CASES: dict[str, Case] = {}


def case(kind: str) -> Callable[[Case], Case]:
    def keep(function: Case) -> Case:
        CASES[kind] = function
        return function

    return keep


def scan_as(kind: str, change: Callable[[Path], Path], message: str) -> None:
    CASES[kind] = lambda place: (place.predict(change(place.scan)), 1, message)


def rewritten(content: Callable[[bytes], bytes], name: str = "bad.nii") -> Callable[[Path], Path]:
    def change(scan: Path) -> Path:
        bad = scan.with_name(name)
        bad.write_bytes(content(scan.read_bytes()))
        return bad

    return change


def flipped_bit(data: bytes) -> bytes:
    packed = bytearray(gzip.compress(data, mtime=0))
    packed[-8] ^= 1  # in the checksum
    return bytes(packed)


scan_as("empty file", rewritten(lambda data: b""), "empty")
scan_as("text named .nii", rewritten(lambda data: b"no scan " * 99), "bad.nii")
scan_as("truncated .nii", rewritten(lambda data: data[:-500]), "cut short")
scan_as("truncated .nii.gz", rewritten(lambda d: gzip.compress(d)[:-90], "bad.nii.gz"), "bad.nii")
scan_as("wrong gzip checksum", rewritten(flipped_bit, "bad.nii.gz"), "checksum")
scan_as("4D scan", rewritten(four_dimensional), "bad.nii")
scan_as("missing scan", lambda scan: scan.with_name("gone.nii"), "gone.nii")
scan_as("a document", rewritten(lambda data: b"no scan", "note.txt"), "note.txt")


@case("empty folder")
def _(place: Place) -> tuple[list[str], int, str]:
    (place.folder / "empty").mkdir()
    return place.predict(place.folder / "empty"), 1, "no scan"


@case("DICOM series of two stacks")
def _(place: Place) -> tuple[list[str], int, str]:
    from tests.helpers.dicom_series import write_dicom

    write_dicom(place.folder / "one", np.zeros((3, 8, 8), np.int16))
    write_dicom(place.folder / "two", np.zeros((3, 9, 9), np.int16))
    for file in (place.folder / "two").iterdir():
        file.rename(place.folder / "one" / f"other-{file.name}")
    return place.predict(place.folder / "one"), 1, "mixes slices of different sizes"


@case("DICOM with a missing slice")
def _(place: Place) -> tuple[list[str], int, str]:
    from tests.helpers.dicom_series import write_dicom

    write_dicom(place.folder / "gap", np.zeros((6, 8, 8), np.int16))
    (place.folder / "gap" / "3.dcm").unlink()
    return place.predict(place.folder / "gap"), 1, "misses"


@case("one bad mask among good ones: wrong grid")
def _(place: Place) -> tuple[list[str], int, str]:
    write_nifti(place.scans / "case1-mask.nii", np.ones((6, 40, 64), np.uint8), AFFINE)
    return place.convert(), 1, "grid"


@case("unknown label in one mask")
def _(place: Place) -> tuple[list[str], int, str]:
    write_nifti(place.scans / "case1-mask.nii", np.full(tiny.SHAPE, 7, np.uint8), AFFINE)
    return place.convert(), 1, "[7]"


@case("scan without a mask")
def _(place: Place) -> tuple[list[str], int, str]:
    (place.scans / "case1-mask.nii").unlink()
    return place.convert(), 1, "no mask"


@case("no lesion anywhere")
def _(place: Place) -> tuple[list[str], int, str]:
    for mask in place.scans.glob("*-mask.nii"):
        write_nifti(mask, np.zeros(tiny.SHAPE, np.uint8), AFFINE)
    return place.convert(), 2, "lesion"


@case("folder without such scans")
def _(place: Place) -> tuple[list[str], int, str]:
    shutil.rmtree(place.scans)
    place.scans.mkdir()
    return place.convert(), 2, "no scan"


@case("root is a file")
def _(place: Place) -> tuple[list[str], int, str]:
    shutil.rmtree(place.scans)
    place.scans.touch()
    return place.convert(), 2, "not a folder"


@case("recipe with a wrong key")
def _(place: Place) -> tuple[list[str], int, str]:
    place.recipe.write_text(tiny.RECIPE.replace("window:", "windov:"))
    return place.convert(), 2, "did you mean `window`"


CASES |= {
    "unknown recipe": lambda p: (["convert", "lit", "--root", "x", "--out", str(p.out)], 2, "lits"),
    "wrong --split": lambda p: (p.convert("--split", "70;30"), 2, "--split"),
    "wrong --negatives": lambda p: (p.convert("--negatives", "few"), 2, "--negatives"),
    "wrong --window": lambda p: (p.convert("--window", "60"), 2, "--window"),
    "unknown model": lambda p: (p.train(model="yolo8n"), 2, "yolov8n"),
    "no dataset": lambda p: (p.evaluate(data=p.scans), 2, "no dataset"),
    "no model": lambda p: (p.evaluate(bundle=p.scans), 2, "no model"),
    "input size not a multiple of 32": lambda p: (p.train("--imgsz", "65"), 2, "--imgsz"),
    "unknown device": lambda p: (p.train("--device", "gpu"), 2, "--device"),
    "missing GPU": lambda p: (p.train("--device", "99"), 2, "--device"),
    "nothing to resume": lambda p: (p.train("--resume"), 2, "--resume"),
    "unknown weights": lambda p: (p.train("--weights", "x.pt"), 2, "x.pt"),
    "known weights that are not here": lambda p: (p.train("--weights", "yolov8n.pt"), 2, "https"),
    "unknown verb": lambda p: (["trian"], 2, "trian"),
    "unknown option": lambda p: (p.train("--epoks", "3"), 2, "--epoks"),
}


@case("weights of another architecture")
def _(place: Place) -> tuple[list[str], int, str]:
    torch.save({"model": build_network("yolo11n", 80, 640)}, place.folder / "w.pt")
    return place.train("--weights", str(place.folder / "w.pt")), 2, "another architecture"


@case("weights with foreign objects")
def _(place: Place) -> tuple[list[str], int, str]:
    torch.save({"model": Path("x"), "f": Place}, place.folder / "w.pt")
    return place.train("--weights", str(place.folder / "w.pt")), 2, "w.pt"


@case("text as weights")
def _(place: Place) -> tuple[list[str], int, str]:
    (place.folder / "w.pt").write_text("no weights")
    return place.train("--weights", str(place.folder / "w.pt")), 2, "w.pt"


@case("dataset of other classes")
def _(place: Place) -> tuple[list[str], int, str]:
    data = place.copied(place.dataset)
    text = (data / "dataset.json").read_text(encoding="utf-8").replace('"bright"', '"light"')
    (data / "dataset.json").write_text(text)
    return place.evaluate(data=data), 2, "classes"


@case("damaged model.json")
def _(place: Place) -> tuple[list[str], int, str]:
    bundle = place.copied(place.bundle)
    (bundle / "model.json").write_text("{}")
    return place.predict(place.scan, bundle=bundle), 2, "model card"


@case("weights changed after training")
def _(place: Place) -> tuple[list[str], int, str]:
    bundle = place.copied(place.bundle)
    with (bundle / "weights/last.safetensors").open("ab") as file:
        file.write(b"x")
    return place.predict(place.scan, bundle=bundle), 2, "last.safetensors"


@case("model.json that leads outside")
def _(place: Place) -> tuple[list[str], int, str]:
    bundle = place.copied(place.bundle)
    card = json.loads((bundle / "model.json").read_text(encoding="utf-8")) | {
        "weights": "../../etc/passwd"
    }
    (bundle / "model.json").write_text(json.dumps(card))
    return place.predict(place.scan, bundle=bundle), 2, "outside"


@pytest.mark.parametrize("kind", CASES)
def test_bad_input(
    kind: str, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DETECT_WEIGHTS", str(place.folder / "weights"))
    words, code, message = CASES[kind](place)
    assert _run(words) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0], lines
    assert lines[0].startswith("error: " if code == 2 else "failed: ")
    if code == 2:
        assert not place.out.exists()
    assert not list(place.folder.rglob("*.partial"))
    shown = lines[0].replace(str(place.folder), "…").replace(str(place.bundle.parent), "…")
    SEEN.append((kind, code, shown.replace(str(place.dataset.parent), "…")))


def test_one_slice_is_a_scan(place: Place) -> None:
    write_nifti(place.folder / "one.nii", np.zeros((1, 48, 64), np.int16), AFFINE)
    assert _run(place.predict(place.folder / "one.nii")) == 0


def test_an_existing_folder_is_not_touched(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.out.mkdir()
    (place.out / "thesis.txt").write_text("mine")
    for words in (place.convert("--overwrite"), place.train("--overwrite"), place.evaluate()):
        assert _run(words) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert (place.out / "thesis.txt").read_text(encoding="utf-8") == "mine"


def test_no_space_left_and_resumed(place: Place) -> None:
    def full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))  # bytes a file

    words = [sys.executable, "-m", "detect", *place.convert()]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", preexec_fn=full_disk)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == 1 and "run the same command again" in lines[0]
    assert not place.out.exists()
    shown = lines[0].replace(str(place.folder), "…")
    SEEN.append(("no space left (file size limit)", done.returncode, shown))
    assert subprocess.run(words, capture_output=True).returncode == 0 and place.out.exists()


def test_help_is_quick_to_come() -> None:
    code = (
        "import sys; from detect.cli.main import _run; _run(['--help']);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'ultralytics', 'SimpleITK')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
