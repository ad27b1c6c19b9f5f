"""`detect check` lists the faults of a dataset."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from converters.core.errors import InputError
from converters.dataset.audit import check


@pytest.fixture
def dataset(tiny_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_dataset, tmp_path / "d"))


def edit(path: Path, change: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def first(dataset: Path, kind: str) -> Path:
    files = sorted((dataset / kind / "train").iterdir())
    return next(f for f in files if kind != "labels" or f.stat().st_size)


def test_a_sound_dataset_has_no_problem(dataset: Path) -> None:
    assert check(dataset) == []


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no dataset"):
        check(tmp_path)


def damage_png(dataset: Path) -> str:
    path = first(dataset, "images")
    path.write_bytes(path.read_bytes()[:-20])
    return path.name


def remove_png(dataset: Path) -> str:
    path = first(dataset, "images")
    path.unlink()
    return path.name


def stray_png(dataset: Path) -> str:
    shutil.copy(first(dataset, "images"), dataset / "images/train/stray.png")
    return "stray.png"


def shift_label(dataset: Path) -> str:
    path = first(dataset, "labels")
    label, cx, rest = path.read_text(encoding="utf-8").split(" ", 2)
    path.write_text(f"{label} {float(cx) + 0.02} {rest}")
    return path.stem


def garbage_label(dataset: Path) -> str:
    path = first(dataset, "labels")
    path.write_text("not a label\n")
    return path.stem


def box_outside(dataset: Path) -> str:
    edit(
        dataset / "annotations/instances_train.json",
        lambda c: c["annotations"][0].update(bbox=[60, 40, 30, 30]),
    )
    return "leaves the image"


def unknown_class(dataset: Path) -> str:
    edit(
        dataset / "annotations/instances_train.json",
        lambda c: c["annotations"][0].update(category_id=9),
    )
    return "class"


def patient_on_two_sides(dataset: Path) -> str:
    content = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    val = next(c["patient"] for c in content["cases"] if c["split"] == "val")
    edit(
        dataset / "annotations/instances_train.json",
        lambda c: c["images"][0].update(patient_id=val),
    )
    return val


DAMAGES = [
    damage_png, remove_png, stray_png, shift_label, garbage_label, box_outside, unknown_class,
    patient_on_two_sides,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_damage_is_found_and_named(dataset: Path, damage: Any) -> None:
    named = damage(dataset)
    problems = check(dataset)
    assert problems and any(named in problem for problem in problems), problems
