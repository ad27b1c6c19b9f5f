"""3D boxes without masks: LLD-MMRI's table, in file voxels of any orientation."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from converters.conversion.convert import ConvertResult, convert
from converters.core.errors import InputError
from converters.dataset.folder import open_dataset
from converters.recipes.catalog import find_recipe
from tests.helpers import miniatures, tiny

RECIPE = """
name: lld
title: 3D boxes
image: "**/images/{patient}/*/{case}.nii.gz"
mask: "**/labels/Annotation.json"
mask_kind: cuboids
phase: C+A
case_id: "lld-{patient}"
classes: {cyst: [4, Hepatic_cyst], hcc: 6}
ignore: -1
window: {level: 60, width: 200}
"""


def make(root: Path, axes: str = "LPS", **changed: object) -> Path:
    """Four patients with two series each; every arterial one has a cyst in cell 6."""
    x, y, width, height = miniatures.box(6)
    low, high = (x, y, 1), (x + width, y + height, 3)  # beyond in x and y, the last in z
    table: dict[str, list[object]] = {}
    for n in range(4):
        patient = f"MR-{n}"
        for phase in ("C+A", "DWI"):
            series = f"1.2.{n}.{len(phase)}{phase[0]}"
            path = root / "images" / patient / f"1.2.{n}" / f"{series}.nii.gz"
            miniatures.write_nii(path, miniatures.scan(n))
            stored = nib.load(path)
            turned = stored.as_reoriented(
                nib.orientations.ornt_transform(
                    nib.io_orientation(stored.affine), nib.orientations.axcodes2ornt(axes)
                )
            )
            nib.save(turned, path)
            corners = np.array([[*low, 1.0], [high[0] - 1, high[1] - 1, high[2], 1.0]])
            here = (corners @ (np.linalg.inv(turned.affine) @ stored.affine).T)[:, :3].round()
            start = here.min(axis=0).astype(int)
            end = here.max(axis=0).astype(int) + np.array([1, 1, 0])
            box = {f"{a}_min": str(v) for a, v in zip("xyz", start, strict=True)}
            box |= {f"{a}_max": int(v) for a, v in zip("xyz", end, strict=True)}
            lesion = {"category": 4, "bbox": {"3D_box": box | changed}}
            table.setdefault(patient, []).append(
                {
                    "studyUID": f"1.2.{n}", "seriesUID": series, "phase": phase,
                    "annotation": {"num_targets": 1, "lesion": {"0": lesion}},
                }
            )  # fmt: skip
    (root / "labels").mkdir()
    text = json.dumps({"Annotation_info": table})
    (root / "labels" / "Annotation.json").write_text(text, encoding="utf-8")
    return root


def run(tmp_path: Path, root: Path) -> ConvertResult:
    recipe = tiny.recipe(tmp_path, RECIPE)
    return convert(recipe, root, tmp_path / "out", split=(2, 1, 1))


@pytest.mark.parametrize("axes", ["LPS", "RAS", "LAI"])
def test_boxes_come_out_whichever_way_the_file_lies(tmp_path: Path, axes: str) -> None:
    result = run(tmp_path, make(tmp_path / "in", axes))
    assert result.errors == []
    assert {c.id: c.boxes for c in result.manifest.cases} == {
        f"lld-MR-{n}": {"cyst": 3, "hcc": 0} for n in range(4)
    }
    for split in ("train", "val", "test"):
        content = open_dataset(tmp_path / "out").annotations(split)
        slices = {image["id"]: image["slice_index"] for image in content["images"]}
        assert all(a["bbox"] == miniatures.box(6) for a in content["annotations"])
        assert {slices[a["image_id"]] for a in content["annotations"]} == {1, 2, 3}


def test_the_shipped_recipe_reads_it(tmp_path: Path) -> None:
    root = make(tmp_path / "in")
    result = convert(find_recipe("lld-mmri"), root, tmp_path / "out", split=(2, 1, 1))
    assert result.errors == [] and result.manifest.class_names[4] == "cyst"
    assert [case.boxes["cyst"] for case in result.manifest.cases] == [3] * 4


def test_no_uid_gets_into_the_dataset(tmp_path: Path) -> None:
    run(tmp_path, make(tmp_path / "in"))
    for path in (tmp_path / "out").rglob("*"):
        assert "1.2." not in path.name
        if path.suffix in (".json", ".csv", ".txt"):
            assert "1.2.0" not in path.read_text(encoding="utf-8").replace("11.2.0", "")


@pytest.mark.parametrize("changed", [{"x_min": 30, "x_max": 40}, {"x_max": "0"}])
def test_a_box_outside_its_scan_is_the_cases_fault(tmp_path: Path, changed: object) -> None:
    with pytest.raises(InputError, match="empty or outside its scan"):
        run(tmp_path, make(tmp_path / "in", **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"3D_box"', '"box"', "not laid out"),
        ('"category": 4', '"category": 9', "of types 9"),
        ('"x_max": 11', '"x_max": NaN', "not laid out"),
        ('"C+A"', '"C+B"', "names no series of phase"),
    ],
)
def test_a_wrong_table(tmp_path: Path, old: str, new: str, message: str) -> None:
    root = make(tmp_path / "in")
    file = root / "labels" / "Annotation.json"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        run(tmp_path, root)
