"""Several recipes in one dataset: classes, normal cases, and people that two sets share."""

from pathlib import Path

import pytest

from converters.conversion.convert import ConvertResult, convert
from converters.conversion.gather import gather
from converters.core.errors import InputError
from converters.dataset.audit import check
from converters.recipes.recipe import Recipe
from tests.helpers import miniatures, tiny

SET = """
name: {name}
title: a set
image: "{{case}}-scan.nii"
mask: "{{case}}-mask.nii"
case_id: "{name}-{{case}}"
window: {{level: 0, width: 400}}
"""
LESIONS = "classes: {bright: 1, dark: 2}\n"
NORMAL = "organs: {liver: 3}\nnormal: healthy people\n"


def recipe(folder: Path, name: str, keys: str) -> Recipe:
    folder.mkdir(exist_ok=True)
    return tiny.recipe(folder, SET.format(name=name) + keys)


def scans(folder: Path, cases: int, *labels: int) -> Path:
    for n in range(1, cases + 1):
        miniatures.write_nii(folder / f"{n}-scan.nii", miniatures.scan(100 * ord(folder.name) + n))
        miniatures.write_nii(folder / f"{n}-mask.nii", miniatures.label_volume(labels))
    return folder


def both(tmp_path: Path, first: str, second: str, labels: tuple[int, ...]) -> ConvertResult:
    a, b = recipe(tmp_path / "ra", "aa", first), recipe(tmp_path / "rb", "bb", second)
    return convert(
        a,
        scans(tmp_path / "a", 4, 1, 2),
        tmp_path / "out",
        more=[(b, scans(tmp_path / "b", 4, *labels))],
        split=(2, 1, 1),
    )


def test_normal_cases_of_another_set(tmp_path: Path) -> None:
    result = both(tmp_path, LESIONS, NORMAL, (3,))
    assert check(tmp_path / "out") == []
    boxes = {c.id: sum(c.boxes.values()) for c in result.manifest.cases}
    assert boxes == {f"aa-{n}": 4 for n in range(1, 5)} | {f"bb-{n}": 0 for n in range(1, 5)}
    assert {c.split for c in result.manifest.cases if c.id.startswith("bb")} == {
        "train",
        "val",
        "test",
    }
    assert result.manifest.class_names == ["bright", "dark"]
    assert [r.name for r in result.manifest.request.more] == ["bb"]
    again = both(tmp_path, LESIONS, NORMAL, (3,))
    assert again.up_to_date and again.manifest == result.manifest


def test_the_order_of_the_classes_is_the_first_ones(tmp_path: Path) -> None:
    result = both(tmp_path, LESIONS, "classes: {dark: 1, bright: 2}\n", (1,))
    boxes = {c.id: c.boxes for c in result.manifest.cases}
    assert boxes["aa-1"] == {"bright": 2, "dark": 2} and boxes["bb-1"] == {"bright": 0, "dark": 2}


def test_the_set_with_lesions_may_come_second(tmp_path: Path) -> None:
    result = both(tmp_path, "organs: {liver: [1, 2]}\nnormal: healthy\n", LESIONS, (1,))
    assert result.manifest.request.recipe.name == "bb"
    assert result.manifest.class_names == ["bright", "dark"]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (LESIONS, "classes: {bright: 1}\n", "merge them with --classes"),
        (LESIONS, "organs: {liver: 3}\n", "not known to be free"),
        (LESIONS, NORMAL + "modality: MR\n", "is MR"),
        (LESIONS, NORMAL + "shared_patients: {aa: {}}\n", "nobody knows who is who"),
        (LESIONS + "shared_patients: {bb: {}}\n", NORMAL, "nobody knows who is who"),
        (NORMAL, NORMAL, "use --targets organs"),
    ],
)
def test_sets_that_do_not_go_together(
    tmp_path: Path, first: str, second: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        both(tmp_path, first, second, (3,))
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_case_names_must_not_collide(tmp_path: Path) -> None:
    recipe_file = recipe(tmp_path / "r", "aa", LESIONS)
    with pytest.raises(InputError, match="second case `aa-1`"):
        gather(
            [(recipe_file, scans(tmp_path / "a", 1, 1)), (recipe_file, scans(tmp_path / "b", 1, 1))]
        )


@pytest.mark.parametrize("turned", [False, True])
def test_one_person_in_two_sets_stays_on_one_side(tmp_path: Path, turned: bool) -> None:
    """Three names of one patient share a split: bb-1 is aa-2, bb-3 is aa-4, bb-1 is bb-2."""
    shared = "shared_patients: {aa: {1: 2, 3: 4}}\n"
    back = "shared_patients: {bb: {2: 1, 4: 3}}\n"
    first = recipe(tmp_path / "ra", "aa", LESIONS + (back if turned else ""))
    second = recipe(
        tmp_path / "rb", "bb", LESIONS + ("" if turned else shared) + "patients: [[1, 2]]\n"
    )
    gathered = gather([(first, scans(tmp_path / "a", 4, 1)), (second, scans(tmp_path / "b", 4, 1))])
    patient = {case.case_id: case.patient_id for case in gathered.cases}
    groups = {frozenset(c for c, q in patient.items() if q == p) for p in patient.values()}
    assert groups == {
        frozenset(group)
        for group in (["aa-1"], ["aa-2", "bb-1", "bb-2"], ["aa-3"], ["aa-4", "bb-3"], ["bb-4"])
    }


def test_faulty_cases_are_left_out_with_their_reason(tmp_path: Path) -> None:
    recipe_file = recipe(tmp_path / "r", "aa", LESIONS + "faulty: {2: mask of another scan}\n")
    result = convert(recipe_file, scans(tmp_path / "a", 4, 1, 2), tmp_path / "out", split=(1, 1, 1))
    assert [c.id for c in result.manifest.cases] == ["aa-1", "aa-3", "aa-4"]
    assert result.left_out == {"aa-2": "mask of another scan"} and result.errors == []
    assert result.manifest.request.recipe.faulty == {"2": "mask of another scan"}
    again = convert(recipe_file, tmp_path / "a", tmp_path / "out", split=(1, 1, 1))
    assert again.up_to_date and again.left_out == result.left_out


def test_only_the_numbers_of_the_set(tmp_path: Path) -> None:
    recipe_file = recipe(tmp_path / "r", "aa", LESIONS + "cases: 2-3, 007\n")
    gathered = gather([(recipe_file, scans(tmp_path / "a", 7, 1))])
    assert [case.case_id for case in gathered.cases] == ["aa-2", "aa-3", "aa-7"]
