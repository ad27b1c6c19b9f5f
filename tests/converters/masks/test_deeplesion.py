"""DeepLesion's two forms: a table with 16-bit slices, and `.tru` files with JPEGs."""

import csv
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from converters.conversion.convert import convert
from converters.conversion.sources import find_cases
from converters.core.errors import InputError
from converters.dataset.audit import check
from converters.dataset.folder import open_dataset
from converters.masks.annotations import read_annotations, read_scan
from converters.masks.components import decode_rle
from converters.recipes.recipe import Recipe
from tests.helpers import dicom_masks
from tests.helpers.trees import tree

TYPES = ["bone", "abdomen", "mediastinum", "liver", "lung", "kidney", "soft tissue", "pelvis"]
COLUMNS = [
    "File_name", "Patient_index", "Study_index", "Series_ID", "Key_slice_index",
    "Measurement_coordinates", "Bounding_boxes", "Lesion_diameters_Pixel_",
    "Normalized_lesion_location", "Coarse_lesion_type", "Possibly_noisy", "Slice_range",
    "Spacing_mm_px_", "Image_size", "DICOM_windows", "Patient_gender", "Patient_age",
    "Train_Val_Test",
]  # fmt: skip
SIZE = 64


def recipe(**more: object) -> Recipe:
    layout = {
        "image": "Images_png/{patient}_{case}",
        "mask": "DL_info.csv",
        "case_id": "{patient}_{case}",
        **more,
    }
    classes = {name: code for code, name in enumerate(TYPES, 1)}
    return dicom_masks.recipe("boxes", classes, **layout)


def row(name: str, box: str, code: int, **more: object) -> dict[str, object]:
    return {
        "File_name": name, "Bounding_boxes": box, "Coarse_lesion_type": code,
        "Lesion_diameters_Pixel_": "10.5, 6.25", "Possibly_noisy": 0, "Patient_gender": "F",
        "Spacing_mm_px_": "0.8, 0.8, 5", "Patient_age": 62, "Train_Val_Test": 1, **more,
    }  # fmt: skip


def write(root: Path, rows: list[dict[str, object]]) -> Path:
    root.mkdir(exist_ok=True)
    with (root / "DL_info.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    for name in {str(item["File_name"]) for item in rows if "_x" not in str(item["File_name"])}:
        series, _, number = name.removesuffix(".png").rpartition("_")
        folder = root / "Images_png" / series
        folder.mkdir(parents=True, exist_ok=True)
        for z in range(int(number) - 1, int(number) + 2):
            hu = np.full((SIZE, SIZE), 10 * z, np.int32) + np.arange(SIZE)
            cv2.imwrite(str(folder / f"{z:03d}.png"), (hu + 32768).astype(np.uint16))
    return root


GOOD = [
    # pixels 1-based: 10.5 is the left edge of the picture's pixel 10, counted from 0
    row("000001_01_01_009.png", "10.5, 20.5, 20.5, 30.5", 4, Train_Val_Test=1),
    row("000001_01_01_009.png", "40.2, 5.1, 44.9, 9.7", 5, Possibly_noisy=1),
    row("000001_02_01_030.png", "1, 1, 9.2, 7.3", 1),
    row("000002_01_02_050.png", "55.5, 50, 64, 64", 8, Train_Val_Test=2),
    row("000003_01_01_012.png", "30, 30, 36, 36", 7, Train_Val_Test=3),
]


def test_a_table_of_key_slices_becomes_a_dataset(tmp_path: Path) -> None:
    root = write(tmp_path / "in", GOOD)
    for workers in (1, 2):
        result = convert(
            recipe(), root, tmp_path / f"d{workers}", split="published",
            negatives="all", workers=workers,
        )  # fmt: skip
    assert tree(tmp_path / "d1") == tree(tmp_path / "d2") and not result.errors
    assert check(tmp_path / "d1") == []
    cases = {c.id: c for c in result.manifest.cases}
    assert {c: (e.patient, e.split, e.slices) for c, e in cases.items()} == {
        "000001_01_01": ("000001", "train", 1),
        "000001_02_01": ("000001", "train", 1),
        "000002_01_02": ("000002", "val", 1),
        "000003_01_01": ("000003", "test", 1),
    }
    assert cases["000001_01_01"].spacing_mm == (0.8, 0.8, 5)
    assert cases["000001_01_01"].shape == (3, SIZE, SIZE)
    assert "1 boxes are marked as possibly noisy" in cases["000001_01_01"].notes
    content = open_dataset(tmp_path / "d1").annotations("train")
    boxes = {(b["category_id"], *b["bbox"]): b for b in content["annotations"]}
    assert set(boxes) == {(4, 10, 20, 10, 10), (5, 39, 4, 6, 6), (1, 0, 0, 9, 7)}
    liver = boxes[4, 10, 20, 10, 10]
    rectangle = np.zeros((SIZE, SIZE), bool)
    rectangle[20:30, 10:20] = True
    np.testing.assert_array_equal(
        decode_rle(liver["segmentation"]["counts"], SIZE, SIZE), rectangle
    )
    assert liver["diameter_mm"] == pytest.approx(10.5 * 0.8) and liver["area"] == 100
    picture = cv2.imread(str(tmp_path / "d1/images/train/000001_01_01_z0001.png"), -1)
    expected = np.rint(np.clip((90.0 + np.arange(SIZE) + 200) / 400 * 255, 0, 255))
    np.testing.assert_array_equal(picture, np.tile(expected, (SIZE, 1)))
    lesions = list(csv.DictReader((tmp_path / "d1/lesions.csv").open()))
    assert len(lesions) == 5 and {item["volume_mm3"] for item in lesions} == {""}
    text = (tmp_path / "d1/dataset.json").read_text(encoding="utf-8")
    assert "Patient_gender" not in text and "62" not in json.loads(text)["cases"][0]["notes"]
    # another case's row changes nothing, a row of its own does
    write(root, [*GOOD[:4], {**GOOD[4], "Bounding_boxes": "30, 30, 36, 37"}])
    hashes = {c.id: c.mask_sha256 for c in result.manifest.cases}
    result = convert(recipe(), root, tmp_path / "d3", split="published")
    changed = [c.id for c in result.manifest.cases if c.mask_sha256 != hashes[c.id]]
    assert changed == ["000003_01_01"]


def test_key_slices_alone_are_cases_of_one_slice(tmp_path: Path) -> None:
    root = write(tmp_path / "in", GOOD)
    (root / "Key_slices").mkdir()
    for item in GOOD:
        series, _, number = item["File_name"].removesuffix(".png").rpartition("_")  # type: ignore
        picture = root / "Images_png" / series / f"{number}.png"
        (root / "Key_slices" / str(item["File_name"])).write_bytes(picture.read_bytes())
    chosen = recipe(image="Key_slices/{patient}_{case}.png")
    cases = find_cases(chosen, root)
    assert cases[0].case_id == "000001_01_01_009"
    marks = read_annotations(chosen, cases[0], False)
    assert marks.shape == (1, SIZE, SIZE) and len(marks.components) == 2
    assert read_scan(cases[0])[0].array[0, 0, :2].tolist() == [90, 91]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Bounding_boxes": "1, 2, x, 4"}, "line 2: has a malformed box"),
        ({"Bounding_boxes": "1, 2, 3"}, "line 2: has a malformed box"),
        ({"Bounding_boxes": "1, 2, nan, 4"}, "line 2: has a malformed box"),
        ({"Bounding_boxes": "9, 2, 3, 4"}, "empty or outside"),
        ({"Bounding_boxes": "90, 90, 95, 95"}, "empty or outside"),
        ({"Spacing_mm_px_": "0, 1, 1"}, "spacing of 0"),
        ({"Coarse_lesion_type": -1}, "types -1"),
        ({"File_name": "000001_01_01_x.png"}, "line 2: names no slice"),
    ],
)
def test_one_bad_row_costs_its_case_alone(tmp_path: Path, change, message: str) -> None:
    root = write(tmp_path / "in", [{**GOOD[0], **change}, *GOOD[1:]])
    result = convert(recipe(), root, tmp_path / "d")
    (error,) = result.errors
    assert message in str(error) and len(result.manifest.cases) == 3


def test_tables_and_pictures_that_cannot_be_used(tmp_path: Path) -> None:
    root = write(tmp_path / "in", GOOD)
    folder = root / "Images_png" / "000001_01_01"
    (case, *_) = find_cases(recipe(), root)
    (folder / "010.png").write_bytes((folder / "010.png").read_bytes()[:90])
    with pytest.raises(InputError, match=r"010.png: is damaged"):
        read_scan(case)
    cv2.imwrite(str(folder / "010.png"), np.zeros((SIZE, SIZE), np.uint8))
    with pytest.raises(InputError, match="`rescale`"):
        read_scan(case)
    cv2.imwrite(str(folder / "010.png"), np.zeros((SIZE, 9), np.uint16))
    with pytest.raises(InputError, match="another size"):
        read_scan(case)
    (folder / "009.png").unlink()
    with pytest.raises(InputError, match="marks slice 9, which is not there"):
        read_annotations(recipe(), case, False)
    (folder / "9999999999.png").write_bytes((folder / "008.png").read_bytes())
    with pytest.raises(InputError, match="check the slices' numbers"):
        read_annotations(recipe(), case, False)
    with pytest.raises(InputError, match="both train and val"):
        write(root, [*GOOD[:2], {**GOOD[2], "Train_Val_Test": 2}])
        convert(recipe(), root, tmp_path / "d", split="published")
    (root / "DL_info.csv").write_text("File_name,Other\na.png,1\n")
    with pytest.raises(InputError, match="has no column Bounding_boxes, Coarse_lesion_type"):
        find_cases(recipe(), root)
    (root / "DL_info.csv").unlink()
    with pytest.raises(InputError, match="no tables"):
        find_cases(recipe(), root)


def test_the_slices_between_those_published_are_the_nearest_there_is(tmp_path: Path) -> None:
    far = row("000001_01_01_014.png", "9, 9, 19, 19", 2)
    root = write(tmp_path / "in", [GOOD[0], far])
    (case,) = find_cases(recipe(), root)
    marks = read_annotations(recipe(), case, False)
    assert marks.shape[0] == 8  # 8 to 10 and 13 to 15
    assert {c.slice_index for c in marks.components} == {1, 6} and marks.negative_slices == []
    first = read_scan(case)[0].array[:, 0, 0].tolist()
    assert first == [80, 90, 100, 100, 130, 130, 140, 150]


@pytest.mark.parametrize("line", ["4 0.1 0.2 0.3", "4 0.1 0.2 0.3 x", "4 0.1 0.2 0.3 1.4"])
def test_a_bad_row_of_fractions(tmp_path: Path, line: str) -> None:
    (tmp_path / "a_1.tru").write_text(f"\n{line}\n")
    cv2.imwrite(str(tmp_path / "a_1.jpg"), np.zeros((SIZE, SIZE), np.uint8))
    chosen = recipe(image="{patient}_{case}.jpg", mask="{patient}_{case}.tru")
    (case,) = find_cases(chosen, tmp_path)
    with pytest.raises(InputError, match="line 2"):
        read_annotations(chosen, case, False)


@pytest.mark.realdata
def test_real_key_slices(realdata: Path, tmp_path: Path) -> None:
    chosen = recipe(
        image="**/{patient}_{case}.jpg",
        mask="**/{patient}_{case}.tru",
        rescale={"slope": 4095 / 255, "intercept": -1024},
    )
    result = convert(chosen, realdata / "deeplesion50", tmp_path / "d")
    assert not result.errors and check(tmp_path / "d") == []
    lines = [
        file.read_text(encoding="utf-8").splitlines()
        for file in (realdata / "deeplesion50").rglob("*.tru")
    ]
    expected = Counter(TYPES[int(line.split()[0]) - 1] for columns in lines for line in columns)
    counts: Counter[str] = Counter()
    for case in result.manifest.cases:
        counts.update(case.boxes)
    assert len(result.manifest.cases) == 50 and sum(counts.values()) == 51
    assert +counts == expected
    assert len({c.patient for c in result.manifest.cases}) == 10
    # published for 000001_01_01_109: x 226.169 to 241.252, y 90.0204 to 111.977, from 1
    case = next(
        c for c in find_cases(chosen, realdata / "deeplesion50") if c.case_id == "000001_01_01_109"
    )
    (box,) = read_annotations(chosen, case, False).components
    assert (box.x, box.y, box.width, box.height) == (225, 89, 16, 23)
    assert read_scan(case)[0].array.min() >= -1024
