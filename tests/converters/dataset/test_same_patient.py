"""One patient under two names is found by id, by hash, and by likeness of the pixels."""

import json
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.conversion.convert import convert
from converters.core.errors import InputError
from converters.dataset.contact_sheet import write_suspicions
from converters.dataset.folder import open_dataset, read_png
from converters.dataset.keypoints import Landmarks, _mutual, find_landmarks, levels, likeness
from converters.dataset.same_patient import SUSPECT, alike_pairs, landmarks, same_patient, scans_of
from converters.imaging.nifti import write_nifti
from converters.recipes.catalog import find_recipe
from detect.cli.main import main
from detect.phantom.cases import make_case

Pixels = NDArray[np.uint8]
PEOPLE = 11


def write_case(root: Path, number: int, hu: Pixels, mask: Pixels, affine: Pixels) -> None:
    write_nifti(root / "images" / f"phantom-{number:04d}.nii.gz", hu, affine)
    write_nifti(root / "masks" / f"phantom-{number:04d}.nii.gz", mask, affine)


def second_scan(index: int) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """Make a second scan of a patient: moved, cropped, with other contrast and noise."""
    hu, mask, affine = make_case(0, index)
    rng = np.random.default_rng(9)
    shift = lambda volume: np.roll(volume, (5, -7), (1, 2))[3:]  # noqa: E731
    affine = affine.copy()
    affine[2, 3] += 61
    other = 0.85 * shift(hu) + rng.normal(0, 8, hu[3:].shape)
    return np.clip(other, -1024, 3071).astype(np.int16), shift(mask), affine


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven people; the third is there a second time, as number 12, on the other side."""
    folder = tmp_path_factory.mktemp("phantoms")
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for index in range(PEOPLE):
        write_case(folder, index + 1, *make_case(0, index))
    write_case(folder, PEOPLE + 1, *second_scan(2))
    return folder


@pytest.fixture(scope="module")
def two_sides(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two-sides") / "d"
    lists = out.with_name("lists.json")
    names = [f"phantom-{number:04d}" for number in range(1, PEOPLE + 2)]
    lists.write_text(json.dumps({"train": names[:8], "val": names[8:10], "test": names[10:]}))
    convert(find_recipe("limt"), phantoms, out, split_file=lists, negatives="all")
    return out


def test_a_second_scan_is_found_by_looking_and_nobody_else(two_sides: Path) -> None:
    report = same_patient(two_sides)
    assert report.certain == report.notes == []
    assert report.pairs == 12 * 11 / 2
    (only,) = report.suspicions
    assert {only.first.case[-4:], only.second.case[-4:]} == {"0003", "0012"}
    assert only.two_sides and {only.first.split, only.second.split} == {"train", "test"}
    height, found_at = only.first.heights[12], only.likeness
    expected = found_at.stretch * height + found_at.shift_mm
    assert expected == pytest.approx(height + 61 - 3 * 5, abs=6)  # three slices of 5 mm are gone


def test_a_suspicion_is_shown_and_fails_only_when_strict(
    two_sides: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pictures"
    for words, code in (([], 0), (["--strict", "--overwrite"], 1), (["--out", str(two_sides)], 2)):
        with pytest.raises(SystemExit) as end:
            main(["check", str(two_sides), "--out", str(out), *words])
        assert end.value.code == code, words
    printed = capsys.readouterr()
    assert "1 of 66 pairs of cases suspected" in printed.out and "no proof" in printed.out
    table = (out / "suspicions.csv").read_text(encoding="utf-8").splitlines()
    (picture,) = out.glob("*.png")
    assert len(table) == 2 and table[1].endswith(picture.name)
    assert read_png(picture).std() > 20
    assert (two_sides / "dataset.json").is_file()


def test_pictures_of_nothing(tmp_path: Path) -> None:
    write_suspicions([], tmp_path / "none")
    assert [p.name for p in (tmp_path / "none").iterdir()] == ["suspicions.csv"]


def test_between_two_datasets(two_sides: Path, phantoms: Path, tmp_path: Path) -> None:
    for number in (2, 12):
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
            name = f"phantom-{number:04d}.nii.gz"
            shutil.copy(phantoms / kind / name, tmp_path / kind / f"phantom-{number + 900}.nii.gz")
    for number in (1, 20):  # by name alone, and nobody known
        write_case(tmp_path, number, *make_case(5, number))
    convert(find_recipe("limt"), tmp_path, tmp_path / "d", negatives="all")
    report = same_patient(two_sides, tmp_path / "d")
    same_scan = [line for line in report.certain if line.startswith("one and the same scan")]
    assert len(same_scan) == 2 and len(report.certain) == 3
    assert any("0002" in line and "902" in line for line in same_scan)
    assert any("0012" in line and "912" in line for line in same_scan)
    assert "0001" in report.certain[-1]
    assert [(s.first.case[-4:], s.second.case[-3:]) for s in report.suspicions] == [("0003", "912")]
    assert same_patient(two_sides, tmp_path / "d", look=False).suspicions == []


def test_one_scan_under_two_patients(phantoms: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(phantoms, tmp_path / "scans"))
    for kind in ("images", "masks"):
        shutil.copy(root / kind / "phantom-0002.nii.gz", root / kind / "phantom-0099.nii.gz")
    recipe = find_recipe("limt")
    names = {p.name.removesuffix(".nii.gz") for p in (root / "images").iterdir()}
    lists = tmp_path / "lists.json"

    def split(test: str) -> None:
        lists.write_text(json.dumps({"train": sorted(names - {test}), "test": [test]}))

    split("phantom-0099")
    with pytest.raises(InputError, match="same scan under two patients on two sides"):
        convert(recipe, root, tmp_path / "d", split_file=lists)
    assert not (tmp_path / "d").exists()
    split("phantom-0001")
    for _ in range(2):  # made, and up to date
        result = convert(recipe, root, tmp_path / "d", split_file=lists)
        (warning,) = result.warnings
        assert "0002" in warning and "0099" in warning
    (note,) = same_patient(tmp_path / "d", look=False).notes
    assert "0002" in note and "0099" in note


def test_levels_are_a_centimetre_apart_whatever_the_order() -> None:
    assert levels([0, 4, 8, 12, 16, 20]) == [0, 3]  # 0 and 12 mm
    assert levels([25, 0, 13]) == [1, 2, 0]
    assert levels([]) == []


def test_mutual_neighbours_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((50, 128), np.float32), rng.random((40, 128), np.float32)
    alike = a @ b.T
    expected = [
        (i, int(alike[i].argmax())) for i in range(50) if alike[:, alike[i].argmax()].argmax() == i
    ]
    for rows in (7, 4096):
        assert list(zip(*(v.tolist() for v in _mutual(a, b, rows)), strict=True)) == expected


def test_slices_without_anything_are_like_nothing() -> None:
    black = find_landmarks([(10.0 * k, np.zeros((64, 64), np.uint8)) for k in range(3)], (1, 1))
    assert len(black) == 0 and likeness(black, black).score == 0


def altered(scan_heights: list[float], pixels: list[Pixels]) -> tuple[list[float], list[Pixels]]:
    """Alter a scan: turn, move and scale it, change the contrast, keep every second slice."""
    rng = np.random.default_rng(4)
    curve = np.clip(255 * (np.arange(256) / 230) ** 1.6, 0, 255)
    matrix = cv2.getRotationMatrix2D((128, 128), 3, 0.9)
    matrix[:, 2] += (15, 9)
    images = [
        np.clip(curve[cv2.warpAffine(p, matrix, (256, 256))] + rng.normal(0, 8, p.shape), 0, 255)
        for p in pixels[1::2]
    ]
    return [h + 137 for h in scan_heights[1::2]], [image.astype(np.uint8) for image in images]


@pytest.mark.realdata
def test_real_scans_of_one_patient_are_found_from_the_pixels(lits_dataset: Path) -> None:
    scans = [replace(s, patient=s.case) for s in scans_of(open_dataset(lits_dataset))]
    suspected = {
        frozenset(int(s.case.split("-")[1]) for s in (a, b))
        for a, b, _ in alike_pairs(list(combinations(scans, 2)))
    }
    known = {frozenset(pair) for pair in combinations((7, 8, 9, 10), 2)}
    assert known <= suspected
    assert len(suspected - known) <= 2, suspected - known


@pytest.mark.realdata
def test_real_scans_are_found_again_when_they_are_altered(lits_dataset: Path) -> None:
    scans = [s for s in scans_of(open_dataset(lits_dataset)) if s.case in ("lits-4", "lits-12")]
    marks: list[Landmarks] = [landmarks(scan) for scan in scans]
    for index, scan in enumerate(scans):
        heights, pixels = altered(scan.heights, [scan.read(k) for k in range(len(scan.heights))])
        again = find_landmarks(((heights[k], pixels[k]) for k in levels(heights)), scan.spacing)
        scores = [likeness(again, other).score for other in marks]
        assert scores[index] > 2 * SUSPECT and scores[1 - index] < SUSPECT
