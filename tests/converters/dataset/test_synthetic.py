"""Synthetic cases are only trained on: no split, choice or measurement uses them."""

from pathlib import Path

import pytest

from converters.conversion.convert import ConvertResult, convert
from converters.dataset.folder import open_dataset
from converters.dataset.folds import Fold, fold_splits
from converters.recipes.recipe import Recipe, load_recipe
from tests.helpers.tiny import RECIPE, make_scans, recipe

CASES = 9
SETTINGS = {"split": (5, 2, 2), "negatives": "all"}


def made_up(folder: Path, people: str = "") -> Recipe:
    """Make synthetic scans of the same layout: one for each patient, and two of no patient."""
    text = RECIPE.replace("name: tiny", "name: made-up") + "synthetic: true\n"
    text += 'case_id: "made-{case}"\n'
    text += "shared_patients: {tiny: {%s}}\n" % (
        people or ", ".join(f"case{k}: case{k}" for k in range(CASES))
    )
    file = folder / "made-up.yaml"
    file.write_text(text, encoding="utf-8")
    return load_recipe(file)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("roots")
    return make_scans(folder / "real", CASES), make_scans(folder / "made", CASES + 2, seed=7)


def both(roots: tuple[Path, Path], folder: Path, **more: object) -> ConvertResult:
    given = SETTINGS | more
    return convert(  # type: ignore[arg-type]
        recipe(folder), roots[0], folder / "both", more=[(made_up(folder), roots[1])], **given
    )


def files(folder: Path, *parts: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for part in parts
        for path in sorted(folder.glob(part))
    }


def test_they_go_to_train_and_change_nothing_else(roots: tuple[Path, Path], tmp_path: Path) -> None:
    alone = convert(recipe(tmp_path), roots[0], tmp_path / "real", **SETTINGS)  # type: ignore[arg-type]
    result = both(roots, tmp_path)
    split_of = {case.id: case.split for case in alone.manifest.cases}
    cases = {case.id: case for case in result.manifest.cases}
    assert {c: cases[c].split for c in split_of} == split_of
    trained_on = {f"made-{case}" for case, split in split_of.items() if split == "train"}
    nobodys = {f"made-case{k}" for k in (CASES, CASES + 1)}
    assert cases.keys() - split_of.keys() == trained_on | nobodys
    assert {case.split for name, case in cases.items() if name.startswith("made-")} == {"train"}
    assert all(case.synthetic == name.startswith("made-") for name, case in cases.items())
    assert result.left_out == {
        f"made-{case}": f"synthetic, and its patient is in {split}"
        for case, split in split_of.items()
        if split != "train"
    }
    scored = ("*/val/*", "*/test/*", "annotations/instances_val.json")
    scored += ("annotations/instances_test.json",)
    assert files(tmp_path / "both", *scored) == files(tmp_path / "real", *scored)


def test_a_second_run_and_workers(roots: tuple[Path, Path], tmp_path: Path) -> None:
    first = both(roots, tmp_path)
    before = files(tmp_path / "both", "**/*.*")
    again = both(roots, tmp_path)
    assert again.up_to_date and again.left_out == first.left_out
    both(roots, tmp_path, workers=2, overwrite=True)
    assert files(tmp_path / "both", "**/*.*") == before


def test_alone_they_are_a_dataset_like_any_other(roots: tuple[Path, Path], tmp_path: Path) -> None:
    result = convert(made_up(tmp_path), roots[1], tmp_path / "made", **SETTINGS)  # type: ignore[arg-type]
    assert {case.split for case in result.manifest.cases} == {"train", "val", "test"}
    assert not any(case.synthetic for case in result.manifest.cases)


def test_folds_train_on_those_of_their_own_patients(
    roots: tuple[Path, Path], tmp_path: Path
) -> None:
    both(roots, tmp_path, split=(1, 0, 0))  # all patients, so that none of them is left out
    convert(recipe(tmp_path), roots[0], tmp_path / "real", **SETTINGS)  # type: ignore[arg-type]
    mixed, real = open_dataset(tmp_path / "both"), open_dataset(tmp_path / "real")
    for number in (1, 2, 3):
        fold = Fold(number=number, of=3, seed=0)
        with_synthetic, plain = fold_splits(mixed, fold), fold_splits(real, fold)
        for name in ("val", "test"):
            assert sorted(p.name for p in with_synthetic[name].paths) == sorted(
                p.name for p in plain[name].paths
            )
        learnt = set(with_synthetic["train"].case_ids)
        synthetic = {case for case in learnt if case.startswith("made-")}
        patients = set(plain["train"].patient_ids)
        assert learnt - synthetic == set(plain["train"].case_ids)
        assert synthetic == {f"made-{p}" for p in patients} | {
            f"made-case{k}" for k in (CASES, CASES + 1)
        }
