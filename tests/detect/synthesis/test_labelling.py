"""The recipe of synthetic scans: classes, organs and patients."""

import pytest

from converters.core.errors import InputError
from converters.recipes.catalog import find_recipe, with_pictures
from converters.recipes.recipe import Recipe, load_recipe
from datasets_yaml import recipe_files
from detect.synthesis.kinds import KINDS
from detect.synthesis.labelling import (
    choose_organ,
    output_recipe,
    real_labels,
    recipe_text,
    with_organ,
    with_patients,
)


@pytest.mark.parametrize("channels", ["gray", "adjacent:2", "windows"])
def test_what_is_written_is_read_as_it_was(tmp_path, channels) -> None:
    source = with_pictures(find_recipe("lits"), channels=channels, crop="body", spacing=0.8)
    recipe = output_recipe(source, "liver", list(KINDS), True, "lesion")
    recipe = with_patients(recipe, source, {"lits-7-synth1": "lits-7"}, {"lits-7": "lits-7"})
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe_text(recipe), encoding="utf-8")
    assert load_recipe(file) == recipe
    assert recipe.representation == source.representation


def test_people_are_known_beside_the_source_and_its_relatives() -> None:
    source = find_recipe("lits")
    recipe = output_recipe(source, "liver", list(KINDS), False, None)
    scans = {f"lits-{n}-synth{c}": f"lits-{n}" for n in (7, 8, 30) for c in (1, 2)}
    patients = {"lits-7": "lits-7", "lits-8": "lits-7", "lits-30": "lits-30"}
    linked = with_patients(recipe, source, scans, patients)
    assert sorted(map(len, linked.patients)) == [2, 4]
    assert linked.shared_patients["lits"]["lits-8-synth2"] == "8"
    assert linked.shared_patients["ct-org"] == {} == linked.shared_patients["msd-liver"]
    # 3D-IRCADb patient 3 is LiTS 30, as ircadb's own recipe says; 7 and 8 are not in it
    assert linked.shared_patients["ircadb"] == {"lits-30-synth1": "3", "lits-30-synth2": "3"}


def test_where_the_name_of_a_case_says_too_little_the_sets_are_kept_apart() -> None:
    source = find_recipe("lidc").model_copy(update={"organs": {"lung": ["lung"]}})
    recipe = output_recipe(source, "lung", ["metastasis"], False, None)
    linked = with_patients(recipe, source, {"lidc-1-2-synth1": "lidc-1-2"}, {"lidc-1-2": "1"})
    assert linked.shared_patients["lidc"] == {}


def test_real_classes_of_a_kinds_name_are_of_that_kind() -> None:
    limt = find_recipe("limt")
    assert real_labels(limt) == {"hcc": 2, "metastasis": 3, "cyst": 4, "hemangioma": 5}
    recipe = output_recipe(limt, "liver", ["cyst"], True, None)
    assert recipe.classes == limt.classes and recipe.merges == limt.merges
    assert output_recipe(find_recipe("lits"), "liver", list(KINDS), False, None).codes == limt.codes
    assert output_recipe(limt, "liver", ["cyst"], False, None).classes == {"cyst": [4]}
    merged = output_recipe(limt, "liver", list(KINDS), True, "malignancy")
    assert merged.classes == {"malignant": [2, 3], "benign": [4, 5]}


@pytest.mark.parametrize("name", recipe_files())
def test_every_shipped_recipe_with_organs_gives_a_recipe(name: str) -> None:
    source = find_recipe(name)
    if not source.organs:
        with pytest.raises(InputError, match="names no organ"):
            choose_organ(source, None)
        return
    for organ in source.organs:
        alone = with_organ(source, choose_organ(source, organ))
        assert list(alone.organs) == [organ]
        assert isinstance(output_recipe(source, organ, list(KINDS), True, "lesion"), Recipe)
