"""Each shipped recipe reads a miniature of its dataset, laid out as published."""

from collections import defaultdict
from pathlib import Path

import pytest

from converters.convert import convert
from converters.dataset import open_dataset
from converters.recipe import Recipe
from detect.recipes import find_recipe, wanted_recipe
from tests.converters import miniatures

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


def boxes(recipe: Recipe, root: Path, out: Path) -> dict[str, dict[str, list[list[int]]]]:
    """Case → class → its different boxes; every case is converted, and each box on both slices."""
    result = convert(recipe, root, out, split=(1, 1, 1), negatives="all", quiet=True)
    assert result.errors == []
    found: dict[str, dict[str, list[list[int]]]] = {c.id: {} for c in result.manifest.cases}
    seen: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for split in ("train", "val", "test"):
        content = open_dataset(out).annotations(split)
        names = {c["id"]: c["name"] for c in content["categories"]}
        images = {i["id"]: i for i in content["images"]}
        for a in content["annotations"]:
            case, name = images[a["image_id"]]["case_id"], names[a["category_id"]]
            own = found[case].setdefault(name, [])
            if a["bbox"] not in own:
                own.append(a["bbox"])
            seen[case, name, str(a["bbox"])].add(images[a["image_id"]]["slice_index"])
    assert all(slices == set(miniatures.SLICES) for slices in seen.values())
    return found


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
    if name == "amos":  # where the last one is an MR scan, which is another dataset
        marked.append(last)
    for case in marked:
        assert case == {organ: [miniatures.box(n)] for n, organ in enumerate(organs, 1)}
    assert len(marked) == (3 if name == "amos" else 2)
