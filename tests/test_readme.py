"""Every command in the README runs, on a dataset small enough for a test."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.imaging.nifti import write_nifti
from detect.families.ultralytics.network import build_network
from tests.helpers.dicom_series import write_dicom
from tests.helpers.miniatures import make_chaos

README = Path(__file__).parents[1] / "README.md"


PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    text = PYTHON.sub("", README.read_text(encoding="utf-8"))
    blocks = re.findall(r"(?:^    \S.*\n)+", text, re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines()]


def test_the_readme_shows_the_commands_that_are_run_here() -> None:
    assert {shlex.split(line)[0] for line in commands()} == {"make", "detect"}


@pytest.mark.parametrize("target", [c.split()[1] for c in commands() if c.startswith("make")])
def test_make_target_exists_and_sets_itself_up(target: str) -> None:
    plan = subprocess.run(
        ["make", "--dry-run", target, "VENV=elsewhere"],
        cwd=README.parent, capture_output=True, encoding="utf-8", check=True,
    ).stdout  # fmt: skip
    assert "-m venv elsewhere" in plan and "pip install" in plan
    assert {"demo": "elsewhere/bin/detect demo", "test": "-m pytest"}[target] in plan


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the README's commands name."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("LITS", "FOLDER_OF_MANY"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    affine = np.diag([4.0, 4.0, 5.0, 1.0])
    for number in range(8):
        hu = rng.normal(60, 10, (6, 64, 64)).astype(np.int16)
        mask = np.ones(hu.shape, np.uint8)
        if number < 7:
            x, y = rng.integers(8, 40, 2)
            hu[2:4, y : y + 14, x : x + 12] += 90
            mask[2:4, y : y + 14, x : x + 12] = 2
        write_nifti(folder / "LITS" / f"volume-{number}.nii.gz", hu, affine)
        write_nifti(folder / "LITS" / f"segmentation-{number}.nii.gz", mask, affine)
        if number < 2:
            write_nifti(folder / "FOLDER_OF_MANY" / f"scan-{number}.nii.gz", hu, affine)
    write_nifti(folder / "SCAN.nii.gz", hu, affine)
    write_dicom(folder / "DICOM_FOLDER", hu)
    recipe = (README.parent / "datasets_yaml" / "lits.yaml").read_text(encoding="utf-8")
    (folder / "my-recipe.yaml").write_text(recipe, encoding="utf-8")
    shutil.copytree(folder / "LITS", folder / "NNUNET", ignore=shutil.ignore_patterns("volume-*"))
    (folder / "SCANS").symlink_to(folder / "LITS")
    make_chaos(folder / "CHAOS")
    for model in ("yolov8n", "rtdetr-l"):
        torch.save({"model": build_network(model, 80, 640), "ema": None}, folder / f"{model}.pt")
    return folder


def test_every_detect_command_of_the_readme_runs(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECT_WEIGHTS", str(workplace / "weights"))
    for command in (c for c in commands() if c.startswith("detect")):
        command = command.replace("--epochs 100", "--epochs 2")  # the one thing cut short
        words = [sys.executable, "-m", "detect", *shlex.split(command)[1:]]
        done = subprocess.run(words, cwd=workplace, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, (command, done.stderr)
        assert done.stderr == "", command
    assert {p.name for p in (workplace / "weights").iterdir()} == {"index.json", "rtdetr-l.pt"}
    assert {p.name for p in (workplace / "results").iterdir()} > {"SCAN", "scan-0", "summary.csv"}


def test_the_python_of_the_readme_runs(workplace: Path) -> None:
    (script,) = PYTHON.findall(README.read_text(encoding="utf-8"))
    train = 'out="runs/yolov8n"'
    assert train in script
    script = script.replace(train, f"{train}, settings=TrainSettings(epochs=2)")  # cut short
    script = f"from detect.detectors.settings import TrainSettings\n{script}"
    folder = workplace / "python"
    folder.mkdir()
    for name in ("LITS", "SCAN.nii.gz"):
        (folder / name).symlink_to(workplace / name)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert (folder / "runs" / "yolov8n" / "evaluation-test" / "metrics.json").is_file()
