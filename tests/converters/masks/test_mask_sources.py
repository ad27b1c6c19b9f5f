"""Structures, names, patients, grids: from files on disk to a dataset folder."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from converters.conversion.case import analyse_case, hash_mask
from converters.conversion.convert import convert
from converters.conversion.sources import find_cases
from converters.conversion.workspace import Workspace
from converters.core.errors import InputError
from converters.dataset.audit import check
from converters.dataset.manifest import Request
from converters.imaging.nifti import write_nifti
from converters.imaging.resample import nearest
from converters.imaging.volume import Volume
from converters.masks.annotations import read_annotations
from converters.recipes.recipe import load_recipe
from converters.recipes.templates import template_pattern
from tests.helpers.dicom_masks import recipe, write_rtstruct, write_scan, write_seg
from tests.helpers.dicom_series import SECRETS, write_series
from tests.helpers.trees import tree

SHAPE = (5, 12, 16)
AFFINE = np.diag([0.5, 0.75, 2.0, 1.0])
IRCAD = {
    "image": "3Dircadb1.{case}/PATIENT_DICOM",
    "mask": "3Dircadb1.{case}/MASKS_DICOM/{structure}",
    "case_id": "ircad-{case}",
    "organs": {"liver": "liver"},
}


def block(z: int, y: int, x: int, size: int = 3) -> np.ndarray:
    truth = np.zeros(SHAPE, bool)
    truth[z : z + 2, y : y + size, x : x + size] = True
    return truth


def write_structure(folder: Path, truth: np.ndarray) -> None:
    """Write a structure as 3D-IRCADb does: DICOM slices of 0 and 255 without a suffix."""

    def plain(number: int, ds):
        del ds.RescaleSlope, ds.RescaleIntercept, ds.Modality
        return ds

    write_series(folder, np.where(truth, 255, 0), edit=plain)


def ircad(root: Path) -> Path:
    """Write three cases: two tumours that overlap a cyst, a normal one, and one tumour."""
    for case, structures in {
        1: {
            "livertumor01": block(0, 1, 1),
            "livertumor02": block(2, 5, 5),
            "livercyst": block(2, 6, 6),
        },
        2: {},
        3: {"livertumor": block(1, 4, 9)},
    }.items():
        folder = root / f"3Dircadb1.{case}"
        write_scan(folder / "PATIENT_DICOM", np.zeros(SHAPE, bool))
        liver = np.zeros(SHAPE, bool)
        liver[1:4, 1:11, 1:15] = True
        for name, truth in {**structures, "liver": liver, "bone": ~liver}.items():
            write_structure(folder / "MASKS_DICOM" / name, truth)
    return root


def test_a_folder_of_dicom_slices_for_each_structure(tmp_path: Path) -> None:
    root = ircad(tmp_path / "in")
    chosen = recipe("structures", {"tumour": "LiverTumor*", "cyst": ["livercyst*"]}, **IRCAD)
    result = convert(chosen, root, tmp_path / "one", split=(1, 1, 1), negatives="all")
    assert not result.errors and check(tmp_path / "one") == []
    boxes = {c.id: c.boxes for c in result.manifest.cases}
    assert boxes == {
        "ircad-1": {"tumour": 4, "cyst": 2},
        "ircad-2": {"tumour": 0, "cyst": 0},
        "ircad-3": {"tumour": 2, "cyst": 0},
    }
    (case, *_), *_ = [find_cases(chosen, root)]
    marks = read_annotations(chosen, case, False)
    assert [(item.label, item.voxels) for item in marks.lesions] == [(0, 18), (0, 18), (1, 18)]
    # the liver, and a tumour below it
    assert marks.shown.any(axis=(1, 2)).tolist() == [True, True, True, True, False]

    assert convert(chosen, root, tmp_path / "one", split=(1, 1, 1), negatives="all").up_to_date
    text = "".join(p.read_text(errors="replace") for p in (tmp_path / "one").rglob("*.json"))
    assert not any(secret in text for secret in SECRETS)

    before = hash_mask(case)
    file = next((root / "3Dircadb1.1/MASKS_DICOM/livertumor02").iterdir())
    file.write_bytes(file.read_bytes()[:-2] + b"\xff\x00")
    assert hash_mask(case) != before
    with pytest.raises(InputError, match="--overwrite"):
        convert(chosen, root, tmp_path / "one", split=(1, 1, 1), negatives="all")


def test_what_a_killed_run_left_is_taken_up_only_if_no_structure_changed(tmp_path: Path) -> None:
    root = ircad(tmp_path / "in")
    chosen = recipe("structures", {"tumour": "livertumor*"}, **IRCAD)
    request = Request(recipe=chosen, negatives={}, split={}, min_size_mm=0, seed=0)

    def opened() -> bool:
        cases = find_cases(chosen, root)
        work = Workspace(tmp_path / "out")
        work.open(request, cases)
        kept = work.analysed("ircad-1") is not None
        work.keep_analysis(analyse_case(chosen, 0, False, cases[0]))
        return kept

    assert not opened() and opened()
    folder = root / "3Dircadb1.1" / "MASKS_DICOM"
    file = next((folder / "livertumor02").iterdir())
    file.write_bytes(file.read_bytes()[:-2] + b"\xff\x00")
    assert not opened() and opened()
    (folder / "livertumor02").rename(folder / "livertumor03")
    assert not opened() and opened()


def test_names_that_match_nothing_and_a_case_without_any_structure(tmp_path: Path) -> None:
    root = ircad(tmp_path)
    with pytest.raises(InputError) as caught:
        find_cases(recipe("structures", {"tumour": "livertumour"}, **IRCAD), root)
    message = str(caught.value)
    assert "`livertumour`" in message and message.index("`livertumor`") < message.index("`bone`")
    for file in sorted((root / "3Dircadb1.2/MASKS_DICOM").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    chosen = recipe("structures", {"tumour": "livertumor*"}, **IRCAD)
    cases = find_cases(chosen, root)
    with pytest.raises(InputError, match="has no mask"):
        read_annotations(chosen, cases[1], False)


def test_volumes_per_structure_an_exact_name_before_a_wildcard_and_ignored_ones(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "p1" / "s1"
    parts = {"tumor_a": 1, "tumor_b": 255, "tumor_old": 1, "tumor_rim": 1, "Liver": 1}
    for k, (name, value) in enumerate(parts.items()):
        truth = block(0, 1, 3 * k, 2).astype(np.uint8) * value
        (folder / "seg").mkdir(parents=True, exist_ok=True)
        write_nifti(folder / "seg" / f"{name}.nii.gz", truth, AFFINE)
    write_nifti(folder / "ct.nii.gz", np.zeros(SHAPE, np.int16), AFFINE)
    chosen = recipe(
        "structures",
        {"tumour": "tumor_*", "rim": "tumor_rim"},
        image="{patient}/{case}/ct.nii.gz",
        mask="{patient}/{case}/seg/{structure}.nii.gz",
        case_id="{patient}_{case}",
        organs={"liver": "liver"},
        ignore="tumor_old",
    )
    (case,) = find_cases(chosen, tmp_path)
    assert (case.case_id, case.patient_id) == ("p1_s1", "p1")
    assert [name for name, _ in case.parts] == ["Liver", "tumor_a", "tumor_b", "tumor_rim"]
    marks = read_annotations(chosen, case, False)
    # side by side and of one class, a and b are one lesion
    assert [(item.label, item.voxels) for item in marks.lesions] == [(0, 8), (0, 8), (1, 8)]

    write_nifti(folder / "seg" / "tumor_b.nii.gz", np.ones((2, 2, 2), np.uint8), AFFINE)
    with pytest.raises(InputError, match="shapes differ"):
        read_annotations(chosen, case, False)
    assert "voxels became" in read_annotations(chosen, case, True).notes[0]


def test_scans_of_one_patient_stay_together(tmp_path: Path) -> None:
    for n in range(6):
        folder = tmp_path / "in" / f"P{n // 2}" / f"day{n % 2}"
        folder.mkdir(parents=True)
        scan = np.full(SHAPE, n, np.int16)  # the same scan under two names would be refused
        write_nifti(folder / f"P{n // 2}_ct.nii", scan, AFFINE)
        write_nifti(folder / "mask.nii", block(1, 1, 1).astype(np.uint8), AFFINE)
    chosen = recipe(
        "labels",
        {"x": 1},
        image="{patient}/{case}/{patient}_ct.nii",
        mask="{patient}/{case}/mask.nii",
        case_id="{patient}-{case}",
    )
    result = convert(chosen, tmp_path / "in", tmp_path / "out", split=(1, 1, 1))
    sides = {
        c.patient: {d.split for d in result.manifest.cases if d.patient == c.patient}
        for c in result.manifest.cases
    }
    assert sorted(sides) == ["P0", "P1", "P2"] and all(
        len(splits) == 1 for splits in sides.values()
    )
    assert len(result.manifest.cases) == 6


def test_a_repeated_placeholder_must_hold_the_same() -> None:
    pattern = template_pattern("{case}/{case}_ct.nii")
    assert pattern.fullmatch("a/a_ct.nii") and not pattern.fullmatch("a/b_ct.nii")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("mask: '{case}/{structure}'", "mask_kind structures"),
        ("case_id: '{patient}-{case}'", "only where `image` does"),
        ("mask_kind: structures", "{structure}"),
        ("mask_kind: rtstrct", "rtstruct"),
        ("classes: {a: x}", "x"),
        ("image: '{patient}/{case}'\npatients: [[1, 2]]", "not both"),
        ("rescale: {slop: 1}", "did you mean `slope`"),
        ("mask_kind: seg\nclasses: {a: x, b: x}", "once"),
    ],
)
def test_a_wrong_recipe_says_what(tmp_path: Path, change: str, message: str) -> None:
    keys = {
        "name": "n", "title": "t", "image": "'{case}.nii'", "mask": "'{case}_m.nii'",
        "classes": "{a: 1}", "window": "{level: 0, width: 1}",
    }  # fmt: skip
    for line in change.splitlines():
        key, _, value = line.partition(": ")
        keys[key] = value
    file = tmp_path / "r.yaml"
    file.write_text("\n".join(f"{key}: {value}" for key, value in keys.items()), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_recipe(file)
    assert message in str(caught.value)


def test_of_a_studys_folders_the_one_of_the_modality_is_the_scan(tmp_path: Path) -> None:
    """The folder of the wanted modality is the scan of a study laid out a folder a series."""
    truth = block(1, 2, 2)
    study = tmp_path / "LIDC-0001" / "study"
    files = write_scan(study / "3000566-NA", truth)

    def digital(number: int, ds):
        ds.Modality = "DX"
        return ds

    write_series(study / "3000923-NA", np.zeros((1, 4, 4)), edit=digital)
    (study / "1-seg").mkdir()
    write_seg(study / "1-seg" / "1-1.dcm", files, truth.astype(np.uint8), ["Nodule"])
    chosen = recipe("seg", {"nodule": "nodule"}, image="{case}/*/*", mask="{case}/*/*")
    (case,) = find_cases(chosen, tmp_path)
    assert case.image == study / "3000566-NA"
    assert [item.voxels for item in read_annotations(chosen, case, False).lesions] == [18]


def test_objects_in_the_folder_of_the_slices_convert_and_a_bad_one_is_listed(
    tmp_path: Path,
) -> None:
    for name in ("a", "b", "c"):
        files = write_scan(tmp_path / "in" / name, block(1, 2, 2))
        if name != "c":
            truth = block(1, 2, 2).astype(np.uint8)
            write_seg(tmp_path / "in" / name / "z.dcm", files, truth, ["Tumour"])
    square = np.array([[-9, 22, 34], [-7, 22, 34], [-7, 25, 34], [-9, 25, 34.0]])
    write_rtstruct(tmp_path / "in" / "a" / "y.dcm", {"gtv": [square]})
    for kind, classes, whole in (
        ("seg", {"x": "tumour"}, ["a", "b"]),
        ("rtstruct", {"x": "gtv"}, ["a"]),
    ):
        for workers in (1, 2) if kind == "seg" else (1,):
            result = convert(
                recipe(kind, classes), tmp_path / "in", tmp_path / f"{kind}{workers}",
                split=(1, 0, 0), workers=workers,
            )  # fmt: skip
            assert [c.id for c in result.manifest.cases] == whole
            assert len(result.errors) == 3 - len(whole)
        text = (tmp_path / f"{kind}1" / "dataset.json").read_text(encoding="utf-8")
        assert str(tmp_path) not in text and not any(secret in text for secret in SECRETS)
        notes = json.loads(text)["cases"][0]["notes"]
        assert notes == ([] if kind == "seg" else [
            "no reference to the scan resolves: contours were placed by position"
        ])  # fmt: skip
    assert tree(tmp_path / "seg1") == tree(tmp_path / "seg2")


def test_a_mask_on_another_grid_is_an_error_or_resampled(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    write_nifti(root / "1_ct.nii", np.zeros((10, 12, 16), np.int16), np.diag([0.5, 0.75, 1, 1]))
    write_nifti(root / "1_m.nii", block(1, 2, 3, 4).astype(np.uint8), AFFINE)
    chosen = recipe("labels", {"x": 1}, image="{case}_ct.nii", mask="{case}_m.nii")
    with pytest.raises(InputError, match="--resample-mask"):
        convert(chosen, root, tmp_path / "a")
    result = convert(chosen, root, tmp_path / "b", resample_mask=True, split=(1, 0, 0))
    (case,) = result.manifest.cases
    assert result.manifest.request.resample_mask
    assert case.notes == ["the mask was resampled onto the scan's grid: 32 voxels became 64"]
    assert case.shape == (10, 12, 16) and case.boxes == {"x": 4}


@pytest.mark.parametrize("tilt", [0.0, 20.0])
def test_nearest_neighbours_are_those_of_simpleitk(tilt: float) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 200, (7, 9, 11)).astype(np.uint8)
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    source, target = np.eye(4), np.eye(4)
    source[:3, :3], source[:3, 3] = turn * [0.9, 1.1, 2.3], [1.7, -2.2, 3.1]
    target[:3, :3], target[:3, 3] = np.diag([0.37, 0.53, 1.9]), [0.2, -3.3, 1.4]
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((0.9, 1.1, 2.3))
    image.SetOrigin(source[:3, 3])
    image.SetDirection(turn.ravel())
    expected = sitk.Resample(
        image, (31, 23, 9), sitk.Transform(), sitk.sitkNearestNeighbor,
        target[:3, 3].tolist(), (0.37, 0.53, 1.9), np.eye(3).ravel().tolist(), 0,
    )  # fmt: skip
    grid = Volume(np.broadcast_to(np.uint8(0), (9, 23, 31)), target, np.eye(4))
    resampled = nearest(Volume(labels, source, np.eye(4)), grid)
    np.testing.assert_array_equal(resampled, sitk.GetArrayFromImage(expected))
    assert (resampled > 0).mean() > 0.3


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("tilted", [False, True])
@pytest.mark.parametrize("dtype", [np.bool_, np.uint16])
def test_a_place_midway_belongs_to_the_voxel_after_it(dtype, tilted: bool, mirrored: bool) -> None:
    """A place midway between two voxels belongs to the later; all numbers are exact in binary."""
    labels = np.random.default_rng(5).integers(0, 2, (3, 5, 40)).astype(dtype)
    affine = np.eye(4)
    affine[0] = [-0.5, 0, 0, 39.5] if mirrored else [0.5, 0, 0, -1]
    affine[1, 2] = 0.25 if tilted else 0
    grid = Volume(np.broadcast_to(np.uint8(0), (3, 5, 90)), affine, np.eye(4))
    z, y, x = np.indices(grid.array.shape)
    column = (80 - x) // 2 if mirrored else (x - 1) // 2
    row = (4 * y + z + 2) // 4 if tilted else y
    inside = (column >= 0) & (column < 40) & (row < 5)
    expected = np.where(inside, labels[z, row.clip(0, 4), column.clip(0, 39)], 0)
    resampled = nearest(Volume(labels, np.eye(4), np.eye(4)), grid)
    assert resampled.dtype == dtype
    np.testing.assert_array_equal(resampled, expected)


@pytest.mark.realdata
def test_a_real_lung_tumour(realdata: Path) -> None:
    chosen = recipe("labels", {"tumour": 1}, image="{case}_image.nrrd", mask="{case}_label.nrrd")
    (case,) = find_cases(chosen, realdata / "lung_nrrd")
    marks = read_annotations(chosen, case, False)
    assert sum(item.voxels for item in marks.lesions) == 837
    assert len({c.slice_index for c in marks.components}) == 3


@pytest.mark.realdata
def test_a_real_mask_resampled_onto_a_finer_grid_and_back(realdata: Path, tmp_path: Path) -> None:
    mask = nib.load(realdata / "sts/STS_019/NIFTI/CT_mask.nii.gz")
    coarse = mask.slicer[:, :, ::2]
    nib.save(coarse, tmp_path / "1_m.nii.gz")
    nib.save(mask, tmp_path / "1_ct.nii.gz")
    chosen = recipe("labels", {"x": 1}, image="{case}_ct.nii.gz", mask="{case}_m.nii.gz")
    (case,) = find_cases(chosen, tmp_path)
    marks = read_annotations(chosen, case, True)
    full, half = (np.asarray(image.dataobj) > 0 for image in (mask, coarse))
    assert abs(sum(item.voxels for item in marks.lesions) / full.sum() - 1) < 0.1
    assert marks.notes[0].split(": ")[1].startswith(f"{half.sum()} voxels became ")
