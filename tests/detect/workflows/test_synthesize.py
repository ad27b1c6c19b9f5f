"""`detect synthesize`: from scans to scans with lesions, and on to a dataset."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from converters.conversion.convert import convert
from converters.core.errors import InputError
from converters.dataset.folder import open_dataset
from converters.imaging.nifti import write_nifti
from converters.recipes.catalog import find_recipe
from converters.recipes.recipe import Recipe, load_recipe
from detect.cli.main import _run
from detect.synthesis import KINDS
from detect.workflows.synthesize import synthesize
from tests.helpers.livers import RECIPE, liver, write_livers
from tests.helpers.miniatures import make_chaos


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    return write_livers(tmp_path_factory.mktemp("normal"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    return write_livers(tmp_path_factory.mktemp("mixed"), tumour=(2,))


@pytest.fixture(scope="module")
def synthetic_set(normal: tuple[Recipe, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "scans"
    result = synthesize(*normal, out, only_normal="cases", copies=2, lesions=(1, 4))
    assert result.scans == 6 and not result.errors and not result.left_out
    return out


def test_scans_keep_their_grid_and_change_in_the_organ_alone(
    synthetic_set: Path, normal: tuple[Recipe, Path]
) -> None:
    for scan in sorted((synthetic_set / "images").iterdir()):
        case = scan.name.split("-")[1]
        old, new = nib.load(normal[1] / f"{case}-scan.nii.gz"), nib.load(scan)
        assert np.array_equal(old.affine, new.affine)  # type: ignore[attr-defined]
        organ, mask = (
            read(normal[1] / f"{case}-mask.nii.gz"),
            read(synthetic_set / "masks" / scan.name),
        )
        before, after = read(normal[1] / f"{case}-scan.nii.gz"), read(scan)
        assert before.dtype == after.dtype == np.int16
        assert np.array_equal(before[organ == 0], after[organ == 0])
        assert np.array_equal(mask > 0, organ > 0)
        assert (before != after)[mask > 1].mean() > 0.8


def test_a_dataset_of_them_has_the_lesions_that_grew_and_the_same_patients(
    synthetic_set: Path, tmp_path: Path
) -> None:
    record = json.loads((synthetic_set / "synthesis.json").read_text(encoding="utf-8"))
    grown = {scan["name"]: scan["lesions"] for case in record["cases"] for scan in case["scans"]}
    counted = {}
    for name in grown:  # an independent count
        mask = read(synthetic_set / "masks" / f"{name}.nii.gz")
        counted[name] = sum(ndimage.label(mask == n, np.ones((3, 3, 3)))[1] for n in range(2, 6))
    assert counted == {name: len(lesions) for name, lesions in grown.items()}
    recipe = load_recipe(synthetic_set / "recipe.yaml")
    assert recipe.class_names == list(KINDS)
    result = convert(recipe, synthetic_set, tmp_path / "data", split=(1, 0, 1), negatives="all")
    cases = {case.id: case for case in result.manifest.cases}
    assert {name: sum(case.lesions.values()) for name, case in cases.items()} == counted
    people = {case.patient: set() for case in cases.values()}
    for name, case in cases.items():
        people[case.patient].add(name.split("-")[1])
    assert sorted(map(sorted, people.values())) == [["1", "2"], ["3"]]  # as the source's recipe
    rows = (tmp_path / "data" / "lesions.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) - 1 == sum(counted.values())


def test_the_masks_are_numbered_like_limt(synthetic_set: Path) -> None:
    limt, recipe = find_recipe("limt"), load_recipe(synthetic_set / "recipe.yaml")
    assert recipe.classes == limt.classes and recipe.organs == limt.organs
    assert (recipe.image, recipe.mask) == (limt.image, limt.mask)


def test_the_bytes_do_not_depend_on_workers_or_on_other_cases(
    synthetic_set: Path, normal: tuple[Recipe, Path], tmp_path: Path
) -> None:
    recipe, root = normal
    more = {"only_normal": "cases", "copies": 2, "lesions": (1, 4)}
    synthesize(recipe, root, tmp_path / "many", workers=2, **more)  # type: ignore[arg-type]
    assert tree(tmp_path / "many") == tree(synthetic_set)
    alone = tmp_path / "alone"
    alone.mkdir()
    for kind in ("scan", "mask"):
        shutil.copy(root / f"2-{kind}.nii.gz", alone)
    synthesize(recipe, alone, tmp_path / "one", **more)  # type: ignore[arg-type]
    whole = tree(synthetic_set)
    for name, digest in tree(tmp_path / "one").items():
        if name.endswith(".nii.gz"):
            assert whole[name] == digest
    synthesize(recipe, alone, tmp_path / "other", seed=1, **more)  # type: ignore[arg-type]
    images = [tree(tmp_path / name / "images") for name in ("one", "other")]
    assert images[0].keys() == images[1].keys()
    assert not set(images[0].values()) & set(images[1].values())


def test_a_second_run_finds_them_done_and_another_request_is_refused(
    synthetic_set: Path, normal: tuple[Recipe, Path]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in synthetic_set.rglob("*")}
    more = {"only_normal": "cases", "copies": 2}
    assert synthesize(*normal, synthetic_set, lesions=(1, 4), **more).up_to_date  # type: ignore[arg-type]
    with pytest.raises(InputError, match="holds something else"):
        synthesize(*normal, synthetic_set, lesions=(1, 5), **more)  # type: ignore[arg-type]
    assert before == {path: path.stat().st_mtime_ns for path in synthetic_set.rglob("*")}


def test_a_run_that_was_stopped_goes_on(
    synthetic_set: Path,
    normal: tuple[Recipe, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from detect.workflows import synthesize as verb

    whole, seen = verb.synthesize_case, []

    def stops(request: Any, folder: Path, case: Any) -> Any:
        if len(seen) == 2:
            (folder / "images" / ".half.nii.gz.1.part").write_bytes(b"half")
            raise KeyboardInterrupt
        seen.append(case.case_id)
        return whole(request, folder, case)

    more: dict[str, Any] = {"only_normal": "cases", "copies": 2, "lesions": (1, 4)}
    monkeypatch.setattr(verb, "synthesize_case", stops)
    with pytest.raises(KeyboardInterrupt):
        synthesize(*normal, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(verb, "synthesize_case", lambda *a: seen.append(a[2].case_id) or whole(*a))
    synthesize(*normal, tmp_path / "out", **more)
    assert seen == ["livers-1", "livers-2", "livers-3"]
    assert tree(tmp_path / "out") == tree(synthetic_set)
    assert not (tmp_path / "out.partial").exists()


def test_real_lesions_stay_where_the_classes_agree(
    mixed: tuple[Recipe, Path], tmp_path: Path
) -> None:
    recipe, root = mixed
    with pytest.raises(InputError, match=r"class `tumour`.*--classes lesion"):
        synthesize(recipe, root, tmp_path / "out")
    with pytest.raises(InputError, match="would count as normal"):
        synthesize(recipe, root, tmp_path / "out", classes="hcc,cyst")
    assert not list(tmp_path.iterdir())
    merged = "tumour=tumour+metastasis"
    out = tmp_path / "out"
    synthesize(recipe, root, out, kinds=["metastasis"], classes=merged)
    mask, old = read(out / "masks" / "livers-2-synth1.nii.gz"), read(root / "2-mask.nii.gz")
    scan, before = read(out / "images" / "livers-2-synth1.nii.gz"), read(root / "2-scan.nii.gz")
    assert np.array_equal(mask == 6, old == 2)
    assert np.array_equal(scan[old == 2], before[old == 2])
    grown_recipe = load_recipe(out / "recipe.yaml")
    assert grown_recipe.classes == {"tumour": [6, 3]}
    # beside the source: the same class, and everybody is one person
    both = convert(
        recipe, root, tmp_path / "data", more=[(grown_recipe, out)], negatives="all",
        split=(1, 0, 0),
    )  # fmt: skip
    people: dict[str, set[str]] = {}
    for case in both.manifest.cases:
        people.setdefault(case.patient, set()).add(case.id)
    assert sorted(map(len, people.values())) == [2, 4]
    record = json.loads((out / "synthesis.json").read_text(encoding="utf-8"))
    grown = sum(len(scan["lesions"]) for case in record["cases"] for scan in case["scans"])
    assert sum(sum(c.lesions.values()) for c in both.manifest.cases) == grown + 2


def test_only_normal_cases_and_slices(mixed: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, root = mixed
    cases = synthesize(recipe, root, tmp_path / "cases", only_normal="cases")
    assert list(cases.left_out) == ["livers-2"] and cases.scans == 2
    slices = synthesize(recipe, root, tmp_path / "slices", only_normal="slices")
    assert not slices.left_out
    old, before = read(root / "2-mask.nii.gz"), nib.load(root / "2-scan.nii.gz")
    marked = np.flatnonzero((old == 2).any(axis=(0, 1)))
    shown = np.flatnonzero((old == 1).any(axis=(0, 1)))
    parts = [scan for scan in slices.cases[1].scans]
    assert [part.name for part in parts] == ["livers-2-synth1-part1", "livers-2-synth1-part2"]
    indices = []
    for part in parts:
        scan = nib.load(tmp_path / "slices" / "images" / f"{part.name}.nii.gz")
        mask = read(tmp_path / "slices" / "masks" / f"{part.name}.nii.gz")
        assert mask.max() <= 5
        first = np.linalg.inv(before.affine) @ scan.affine  # type: ignore[attr-defined]
        assert first[:3, :3] == pytest.approx(np.eye(3), abs=1e-6)
        assert first[:3, 3] == pytest.approx([0, 0, part.first_slice], abs=1e-4)
        z = part.first_slice + np.arange(mask.shape[2])
        indices += list(z)
        same = mask == 1
        changed = (
            read(tmp_path / "slices" / "images" / f"{part.name}.nii.gz")
            != read(root / "2-scan.nii.gz")[..., z]
        )
        assert not changed[(mask == 0)].any() and same.any()
    # all but the lesion's slices and one on either side: 3 mm away there is none
    assert indices == [z for z in shown if not marked[0] - 1 <= z <= marked[-1] + 1]


def test_sets_without_lesions_must_be_known_to_be_normal(
    normal: tuple[Recipe, Path], tmp_path: Path
) -> None:
    recipe, root = normal
    unknown = recipe.model_copy(update={"classes": {}})
    with pytest.raises(InputError, match="not known to be free"):
        synthesize(unknown, root, tmp_path / "out")
    known = unknown.model_copy(update={"normal": "lesions of the liver"})
    result = synthesize(known, root, tmp_path / "out", lesions=(2, 2))
    assert result.scans == 3 and 3 <= sum(result.lesions.values()) <= 6


def test_one_bad_scan_does_not_stop_the_others(tmp_path: Path) -> None:
    recipe, root = write_livers(tmp_path, cases=5)
    (root / "1-scan.nii.gz").write_bytes(b"not a scan")
    (root / "2-mask.nii.gz").unlink()
    hu, inside, _ = liver((1.5, 1.5, 3.0), 30)
    affine = np.diag([1.5, 1.5, 3.0, 1.0])
    write_nifti(root / "3-scan.nii.gz", hu, affine)
    write_nifti(root / "3-mask.nii.gz", np.zeros(hu.shape, np.uint8), affine)
    tiny = np.zeros(hu.shape, np.uint8)
    tiny[10, 20:22, 20:22] = 1
    write_nifti(root / "4-scan.nii.gz", hu, affine)
    write_nifti(root / "4-mask.nii.gz", tiny, affine)
    write_nifti(root / "6-scan.nii.gz", hu[10:11], affine)
    write_nifti(root / "6-mask.nii.gz", inside[10:11].astype(np.uint8), affine)
    result = synthesize(recipe, root, tmp_path / "out", only_normal="cases")
    assert [case.case_id for case in result.cases] == ["livers-5"]
    room = "shows no liver with room"
    wanted = ("1-scan", "has no mask", room, room, "has 1 slices")
    for text, line in zip(wanted, map(str, result.errors), strict=True):
        assert text in line and "\n" not in line
    record = json.loads((tmp_path / "out" / "synthesis.json").read_text(encoding="utf-8"))
    assert set(record["failed"]) == {f"livers-{n}" for n in (1, 2, 3, 4, 6)}
    assert str(tmp_path) not in json.dumps(record["failed"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kinds", "cist"], "`cist` is no kind. did you mean `cyst`"),
        (["--kinds", ","], "--kinds: names none"),
        (["--lesions", "few"], "--lesions: `few` is no range"),
        (["--lesions", "5,2"], "--lesions: 5,2 is no range"),
        (["--copies", "0"], "--copies: 0 is not 1 to 100"),
        (["--organ", "livr"], "names no organ `livr`"),
        (["--only-normal", "people"], "--only-normal: `people` is unknown"),
        (["--classes", "lesoin"], "did you mean `lesion`"),
    ],
)
def test_a_wrong_request_is_one_line(
    words: list[str], message: str, normal: tuple[Recipe, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "livers.yaml").write_text(RECIPE, encoding="utf-8")
    command = ["synthesize", str(tmp_path / "livers.yaml"), "--root", str(normal[1])]
    assert _run([*command, "--out", str(tmp_path / "out"), *words]) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_mr_boxes_and_sets_without_organs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is MR"):
        synthesize(find_recipe("chaos-mr"), tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="names no organ"):
        synthesize(find_recipe("deeplesion"), tmp_path, tmp_path / "out")


def test_label_pictures_of_a_dicom_series_are_organs_too(tmp_path: Path) -> None:
    make_chaos(tmp_path / "CHAOS")
    result = synthesize(find_recipe("chaos"), tmp_path / "CHAOS", tmp_path / "out", lesions=(0, 1))
    assert result.scans


def test_the_command_says_what_it_made(
    normal: tuple[Recipe, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "livers.yaml").write_text(RECIPE, encoding="utf-8")
    out = tmp_path / "out"
    command = ["synthesize", str(tmp_path / "livers.yaml"), "--root", str(normal[1]), "--out"]
    assert _run([*command, str(out), "--only-normal", "cases", "--lesions", "1", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert "3 scans with 3 new lesions" in printed.out and printed.err == ""
    data = tmp_path / "data"
    assert _run(["convert", str(out / "recipe.yaml"), "--root", str(out), "--out", str(data)]) == 0
    assert sum(sum(c.lesions.values()) for c in open_dataset(data).manifest.cases) == 3
