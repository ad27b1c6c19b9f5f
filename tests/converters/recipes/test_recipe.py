"""The shipped recipes, and the errors for wrong ones."""

from pathlib import Path

import pytest

from converters.core.errors import InputError
from converters.recipes.recipe import load_recipe
from converters.recipes.templates import template_pattern
from datasets_yaml import recipe_files
from tests.helpers.tiny import RECIPE


@pytest.mark.parametrize("name", recipe_files())
def test_shipped_recipes_load(name: str) -> None:
    recipe = load_recipe(recipe_files()[name])
    assert recipe.name == name and recipe.licence and recipe.citation and recipe.tried


def test_lits_knows_which_scans_are_of_one_patient() -> None:
    groups = load_recipe(recipe_files()["lits"]).patients
    assert groups == [["7", "8", "9", "10"], ["14", "15"]]


def test_limt_has_the_four_lesion_classes() -> None:
    names = load_recipe(recipe_files()["limt"]).class_names
    assert names == ["hcc", "metastasis", "cyst", "hemangioma"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("window:", "windw:", "unknown key `windw`. did you mean `window`"),
        ("window:", "representation: {}\nwindow:", "unknown key `representation`"),
        ("dark: 2", "dark: 1", "[1]"),
        ("{case}-mask", "mask", "mask"),
        ("width: 400", "width: 0", "`window.width`"),
        ("codes: {dark", "codes: {drak", "did you mean `dark`"),
        ("value: 85057007", "valeu: 85057007", "did you mean `value`"),
    ],
)
def test_a_wrong_recipe_is_one_clear_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_recipe(file)
    assert message in str(caught.value) and str(file) in str(caught.value)


def test_templates() -> None:
    pattern = template_pattern("**/volume-{case}.nii*")
    for path in ("volume-7.nii", "a/b/volume-7.nii.gz"):
        match = pattern.fullmatch(path)
        assert match and match["case"] == "7"
    assert not pattern.fullmatch("volume-7xnii/other")
