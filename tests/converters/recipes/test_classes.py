"""Choice and merging of a recipe's classes, and the errors for wrong names."""

from pathlib import Path

import pytest

from converters.conversion.convert import convert
from converters.core.errors import InputError
from converters.dataset.manifest import read_manifest
from converters.recipes.catalog import find_recipe, wanted_recipe
from converters.recipes.classes import merge_classes, organ_classes
from converters.recipes.recipe import Recipe
from tests.helpers import miniatures, tiny


@pytest.fixture(scope="module")
def limt() -> Recipe:
    return find_recipe("limt")


def test_a_named_merging(limt: Recipe) -> None:
    merged = merge_classes(limt, "malignancy")
    assert merged.classes == {"malignant": [2, 3], "benign": [4, 5]}
    assert merged.class_of_label == {2: 0, 3: 0, 4: 1, 5: 1}
    assert merged.merges == {} and merged.organs == limt.organs


def test_a_merging_in_line(limt: Recipe) -> None:
    merged = merge_classes(limt, "bright = hcc + hemangioma, cyst")
    assert merged.classes == {"bright": [2, 5], "cyst": [4]}
    assert list(merged.codes) == ["cyst"]  # what is another class now has no code
    assert merge_classes(limt, "cyst=cyst+hcc").codes == {}
    assert merged.ignore == [3] and merged.known_labels == limt.known_labels


def test_one_class_of_all(limt: Recipe) -> None:
    assert merge_classes(limt, "lesion").classes == {"lesion": [2, 3, 4, 5]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("malignacy", "did you mean `malignancy`"),
        ("a=hcc+metastases,b=cyst", "did you mean `metastasis`"),
        ("a=hcc,b=hcc", "`hcc` twice"),
        ("a=hcc,a=cyst", "no list of classes"),
        ("a=", "no class or merging"),
        (",", "no list of classes"),
    ],
)
def test_a_wrong_merging_is_one_clear_line(limt: Recipe, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        merge_classes(limt, text)
    assert message in str(caught.value) and "classes" in str(caught.value)


def test_a_lesion_within_an_organ_is_part_of_it(limt: Recipe) -> None:
    assert organ_classes(limt).classes == {"liver": [1, 2, 3, 4, 5]}
    vessel = organ_classes(find_recipe("msd-hepatic-vessel"))
    assert vessel.classes == {"hepatic_vessel": [1]} and vessel.ignore == [2]


def test_organs_can_be_chosen_and_merged() -> None:
    kidneys = wanted_recipe(find_recipe("word"), "organs", "liver,kidney=left_kidney+right_kidney")
    assert kidneys.classes == {"liver": [1], "kidney": [3, 4]}


def test_no_organs_and_no_such_target(limt: Recipe) -> None:
    with pytest.raises(InputError, match="names no organ"):
        organ_classes(find_recipe("msd-colon"))
    with pytest.raises(InputError, match="use lesions or organs"):
        wanted_recipe(limt, "vessels", None)


def test_a_merged_class_joins_what_touches_and_is_recorded(tmp_path: Path) -> None:
    """Touching lesions of two labels give two boxes, or one if both labels are one class."""
    labels = miniatures.label_volume([])
    labels[2:4, 5:8, 5:8], labels[2:4, 5:8, 8:12] = 2, 3
    for n in range(3):
        miniatures.write_nii(tmp_path / "in" / "images" / f"{n}.nii.gz", miniatures.scan(n))
        miniatures.write_nii(tmp_path / "in" / "masks" / f"{n}.nii.gz", labels)
    boxes = {}
    for text in (None, "malignancy"):
        out = tmp_path / f"{text}"
        recipe = wanted_recipe(find_recipe("limt"), "lesions", text)
        convert(recipe, tmp_path / "in", out, split=(1, 1, 1))
        manifest = read_manifest(out)
        boxes[text] = manifest.cases[0].boxes
    assert boxes[None] == {"hcc": 2, "metastasis": 2, "cyst": 0, "hemangioma": 0}
    assert boxes["malignancy"] == {"malignant": 2, "benign": 0}
    assert manifest.request.recipe.classes == {"malignant": [2, 3], "benign": [4, 5]}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("merges: {m: {a: [brigt]}}", "did you mean `bright`"),
        ("merges: {m: {a: [bright, bright]}}", "`bright` twice"),
        ("within: {liver: [bright]}", "`liver` is no organ"),
        ("cases: 1-x", "1-500"),
        ("falty: {case1: broken}", "did you mean `faulty`"),
        ("shared_patients: [lits]", "shared_patients"),
    ],
)
def test_a_wrong_key_or_name_in_a_recipe(tmp_path: Path, keys: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        tiny.recipe(tmp_path, f"{tiny.RECIPE}{keys}\n")
    assert message in str(caught.value)


def test_a_recipe_needs_something_to_find(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs `classes` or `organs`"):
        tiny.recipe(tmp_path, tiny.RECIPE.replace("classes: {bright: 1, dark: 2}", ""))
