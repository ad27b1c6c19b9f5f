"""Each shipped recipe reads a miniature of its dataset, laid out as published."""

from collections import defaultdict
from pathlib import Path

import pytest

from converters.conversion.convert import convert
from converters.dataset.folder import open_dataset
from converters.recipes.catalog import find_recipe, wanted_recipe
from converters.recipes.recipe import Recipe
from tests.helpers import miniatures

LESIONS: dict[str, dict[str, int]] = {  # the labels of each dataset, by its own description
    "limt": {"hcc": 2, "metastasis": 3, "cyst": 4, "hemangioma": 5},
    "lits": {"tumour": 2},
    "msd-liver": {"tumour": 2},
    "msd-pancreas": {"mass": 2},
    "msd-hepatic-vessel": {"tumour": 2},
    "msd-colon": {"cancer": 1},
    "kits23": {"tumour": 2, "cyst": 3},
}
ORGANS = {
    "word": "liver spleen left_kidney right_kidney stomach gallbladder esophagus pancreas duodenum"
    " colon intestine adrenal rectum bladder left_femur_head right_femur_head",
    "ct-org": "liver bladder lungs kidneys bone brain",
    "flare22": "liver right_kidney spleen pancreas aorta inferior_vena_cava right_adrenal_gland"
    " left_adrenal_gland gallbladder esophagus stomach duodenum left_kidney",
    "amos": "spleen right_kidney left_kidney gallbladder esophagus liver stomach aorta"
    " inferior_vena_cava pancreas right_adrenal_gland left_adrenal_gland duodenum bladder"
    " prostate_or_uterus",
    "sliver07": "liver",
}
ORGANS["amos-mr"] = ORGANS["amos"]


def boxes(recipe: Recipe, root: Path, out: Path) -> dict[str, dict[str, list[list[int]]]]:
    """Return each case's boxes by class; check that each box is on both slices."""
    result = convert(recipe, root, out, split=(1, 1, 1), negatives="all")
    assert result.errors == []
    by_case: dict[str, dict[str, list[list[int]]]] = {c.id: {} for c in result.manifest.cases}
    seen: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for split in ("train", "val", "test"):
        content = open_dataset(out).annotations(split)
        names = {c["id"]: c["name"] for c in content["categories"]}
        images = {i["id"]: i for i in content["images"]}
        for a in content["annotations"]:
            case, name = images[a["image_id"]]["case_id"], names[a["category_id"]]
            rectangles = by_case[case].setdefault(name, [])
            if a["bbox"] not in rectangles:
                rectangles.append(a["bbox"])
            seen[case, name, str(a["bbox"])].add(images[a["image_id"]]["slice_index"])
    assert all(slices == set(miniatures.SLICES) for slices in seen.values())
    return by_case


@pytest.mark.parametrize("name", LESIONS)
def test_lesions(name: str, tmp_path: Path) -> None:
    labels = LESIONS[name]
    root = miniatures.make(name, tmp_path / "in", range(1, max(labels.values()) + 1))
    recipe = find_recipe(name)
    assert recipe.class_names == list(labels)
    *marked, empty = boxes(recipe, root, tmp_path / "out").values()
    for case in marked:
        assert case == {name: [miniatures.box(n)] for name, n in labels.items()}
    assert len(marked) == 2 and empty == {}


@pytest.mark.parametrize("name", ORGANS)
def test_organs(name: str, tmp_path: Path) -> None:
    organs = ORGANS[name].split()
    root = miniatures.make(name, tmp_path / "in", range(1, len(organs) + 1))
    recipe = wanted_recipe(find_recipe(name), "organs", None)
    assert recipe.class_names == organs
    *marked, last = boxes(recipe, root, tmp_path / "out").values()
    if name.startswith("amos"):  # the last one of these is of the other modality
        marked.append(last)
    for case in marked:
        assert case == {organ: [miniatures.box(n)] for n, organ in enumerate(organs, 1)}
    assert len(marked) == (3 if name.startswith("amos") else 2)


def test_ircadb(tmp_path: Path) -> None:
    root = miniatures.make_ircadb(tmp_path / "in")
    rectangles = boxes(find_recipe("ircadb"), root, tmp_path / "out")
    for case in ("ircadb-1", "ircadb-2"):
        assert rectangles[case] == {
            "tumour": [miniatures.box(2), miniatures.box(3)],
            "cyst": [miniatures.box(4)],
        }
    assert rectangles["ircadb-3"] == {}  # a normal case: structures, but none of a lesion
    livers = boxes(wanted_recipe(find_recipe("ircadb"), "organs", None), root, tmp_path / "organs")
    assert livers["ircadb-3"] == {"liver": [miniatures.box(1)]}
    assert len(livers["ircadb-1"]["liver"]) == 4  # the liver, and what lies within it


def test_chaos(tmp_path: Path) -> None:
    root = miniatures.make_chaos(tmp_path / "in")
    rectangles = boxes(wanted_recipe(find_recipe("chaos"), "organs", None), root, tmp_path / "out")
    assert rectangles == {f"chaos-{n}": {"liver": [miniatures.box(1)]} for n in (1, 2, 5)}


def test_chaos_mr(tmp_path: Path) -> None:
    root = miniatures.make_chaos(tmp_path / "in")
    rectangles = boxes(
        wanted_recipe(find_recipe("chaos-mr"), "organs", None), root, tmp_path / "out"
    )
    organs = ("liver", "right_kidney", "left_kidney", "spleen")
    wanted = {organ: [miniatures.box(n)] for n, organ in enumerate(organs, 1)}
    assert rectangles == {f"chaos-mr-{n}": wanted for n in (1, 2, 3)}


def test_chaos_as_normal_cases_of_lits(tmp_path: Path) -> None:
    lits = miniatures.make("lits", tmp_path / "lits", (1, 2))
    more = [(find_recipe("chaos"), miniatures.make_chaos(tmp_path / "chaos"))]
    result = convert(find_recipe("lits"), lits, tmp_path / "out", more=more)
    boxes = {case.id: case.boxes["tumour"] for case in result.manifest.cases}
    assert boxes["lits-7"] == 2 and boxes["chaos-5"] == 0 and len(boxes) == 6


@pytest.mark.parametrize("lost", ["liver_GT_000.png", "i0000,0000b.dcm"])
def test_label_pictures_must_fit_the_slices(tmp_path: Path, lost: str) -> None:
    root = miniatures.make_chaos(tmp_path / "in")
    next((root / "Train_Sets" / "CT" / "1").rglob(lost)).unlink()
    recipe = wanted_recipe(find_recipe("chaos"), "organs", None)
    result = convert(recipe, root, tmp_path / "out", split=(1, 1, 0))
    assert len(result.errors) == 1 and "pictures for a series of" in str(result.errors[0])


def test_deeplesion(tmp_path: Path) -> None:
    root = miniatures.make_deeplesion(tmp_path / "in")
    result = convert(find_recipe("deeplesion"), root, tmp_path / "out", split=(1, 1, 1))
    assert result.errors == []
    cases = {case.id: case for case in result.manifest.cases}
    assert {n: {k for k, v in c.boxes.items() if v} for n, c in cases.items()} == {
        "deeplesion-000001_01_01": {"untyped"},
        "deeplesion-000002_01_01": {"lung"},
        "deeplesion-000002_02_01": {"lung"},
        "deeplesion-000003_01_02": {"liver"},
    }
    assert len({case.patient for case in cases.values()}) == 3
    assert all(case.slices == 1 for case in cases.values())
    everything = [
        a["bbox"] for s in ("train", "val", "test")
        for a in open_dataset(tmp_path / "out").annotations(s)["annotations"]
    ]  # fmt: skip
    assert everything == [miniatures.box(5)] * 4


def test_lidc(tmp_path: Path) -> None:
    root = miniatures.make_lidc(tmp_path / "in")
    result = convert(find_recipe("lidc"), root, tmp_path / "out", split=(1, 1, 1))
    assert result.errors == []
    assert {c.id: c.boxes["nodule"] for c in result.manifest.cases} == {
        f"lidc-{n}-3{n}": 2 for n in ("0001", "0002", "0003")
    }
    assert list(result.left_out) == ["lidc-0262-30262"]
    x, y, width, height = miniatures.box(1)
    union = [x, y, width + 1, height]  # what either reader outlined
    for split in ("train", "val", "test"):
        content = open_dataset(tmp_path / "out").annotations(split)
        assert [a["bbox"] for a in content["annotations"]] == [union] * 2
