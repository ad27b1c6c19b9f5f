"""The dataset folder of a conversion: contents, equal bytes, and resuming after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import permutations, product
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
import yaml
from pycocotools.coco import COCO

from converters.conversion.convert import convert
from converters.core.errors import InputError
from converters.dataset.audit import check
from converters.dataset.folder import open_dataset
from converters.imaging.nifti import write_nifti
from converters.imaging.read import read_mask
from converters.masks.components import decode_rle
from tests.helpers import tiny
from tests.helpers.trees import tree

SPLIT = (4, 2, 2)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "scans"
    tiny.make_scans(folder, cases=8)
    empty = np.zeros(tiny.SHAPE, np.uint8)
    affine = np.diag([0.8, 0.8, 2.0, 1.0])
    write_nifti(folder / "normal-scan.nii", empty.astype(np.int16), affine)
    write_nifti(folder / "normal-mask.nii", empty, affine)
    return folder


def run(scans: Path, out: Path, **options: object):  # type: ignore[no-untyped-def]
    recipe = tiny.recipe(out.parent)
    return convert(recipe, scans, out, **{"split": SPLIT, **options})  # type: ignore


def test_what_is_in_the_folder(scans: Path, tmp_path: Path) -> None:
    result = run(scans, tmp_path / "d", negatives="all")
    assert {p.name for p in (tmp_path / "d").iterdir()} == {
        "dataset.json", "data.yaml", "images", "labels", "annotations", "lesions.csv",
    }  # fmt: skip
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".partial")] == []
    cases = result.manifest.cases
    assert len(cases) == 9 and {c.split for c in cases} == {"train", "val", "test"}
    assert sum(c.slices for c in cases) == 9 * tiny.SHAPE[0]
    assert all(c.lesions == {"bright": 1, "dark": 1} for c in cases if c.id != "normal")
    for file in (tmp_path / "d").rglob("*"):
        if file.is_file():
            assert str(tmp_path).encode() not in file.read_bytes()
    for split in ("train", "val", "test"):
        content = json.loads(
            (tmp_path / f"d/annotations/instances_{split}.json").read_text(encoding="utf-8")
        )
        assert {i["file_name"] for i in content["images"]} == {
            p.name for p in (tmp_path / "d/images" / split).iterdir()
        }
    assert check(tmp_path / "d") == []


def test_the_same_bytes_for_any_number_of_workers_and_wherever_it_lies(
    scans: Path, tmp_path: Path
) -> None:
    run(scans, tmp_path / "one", workers=1)
    run(scans, tmp_path / "two", workers=2)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    shutil.move(tmp_path / "one", moved)
    assert check(moved) == []


def test_a_second_run_and_another_request(scans: Path, tmp_path: Path) -> None:
    run(scans, tmp_path / "d")
    before = tree(tmp_path / "d")
    assert run(scans, tmp_path / "d").up_to_date
    with pytest.raises(InputError, match="--overwrite"):
        run(scans, tmp_path / "d", seed=5)
    assert tree(tmp_path / "d") == before
    run(scans, tmp_path / "d", negatives="none", overwrite=True)
    assert tree(tmp_path / "d") != before


SCRIPT = """
import sys
from pathlib import Path
from converters.conversion.convert import convert
from converters.recipes.recipe import load_recipe
if __name__ == "__main__":
    recipe, scans, out, workers = sys.argv[1:]
    recipe = load_recipe(Path(recipe))
    convert(recipe, Path(scans), Path(out), split=(4, 2, 2), workers=int(workers))
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_killed_at_any_moment_and_run_again(scans: Path, tmp_path: Path, workers: str) -> None:
    run(scans, tmp_path / "whole")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    out = tmp_path / "d"
    words = [sys.executable, str(script), str(tmp_path / "recipe.yaml"), str(scans), str(out)]
    for files in (1, 6, 12, 25):  # kill once so many files lie there
        process = subprocess.Popen([*words, workers], start_new_session=True)
        while process.poll() is None:
            # os.walk: folders may vanish under it, as they do at the end
            seen = sum(len(files_here) for _, _, files_here in os.walk(tmp_path / "d.partial"))
            if seen >= files:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        process.wait()
        assert not out.exists() or tree(out) == tree(tmp_path / "whole")
        deadline = time.monotonic() + 120  # workers leave when their parent is gone
        while alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not alive(process.pid)
    subprocess.run([*words, workers], check=True)
    assert tree(out) == tree(tmp_path / "whole")
    assert not (tmp_path / "d.partial").exists()


def alive(session: int) -> bool:
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_bad_case_is_left_out_and_listed(scans: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    shutil.copytree(scans, folder)
    (folder / "case3-scan.nii").write_bytes((folder / "case3-scan.nii").read_bytes()[:-100])
    (folder / "case5-mask.nii").write_text("no mask")
    result = run(folder, tmp_path / "d", workers=2)
    assert len(result.errors) == 2 and len(result.manifest.cases) == 7
    assert {f.id for f in result.manifest.failed} == {"case3", "case5"}
    assert str(folder) not in (tmp_path / "d" / "dataset.json").read_text(encoding="utf-8")
    assert check(tmp_path / "d") == []


def test_small_boxes_are_counted_and_dropped_only_when_asked(tmp_path: Path) -> None:
    scans = tiny.make_scans(tmp_path / "scans", cases=3)
    mask = read_mask(scans / "case0-mask.nii")
    labels = mask.array.copy()
    labels[5, 0, 0] = 1  # one pixel of 0.8 mm
    write_nifti(scans / "case0-mask.nii", labels, mask.affine)
    kept = run(scans, tmp_path / "kept", split=(1, 1, 1)).manifest.cases[0]
    assert (kept.small_boxes, kept.dropped_boxes) == (1, 0)
    less = run(scans, tmp_path / "less", split=(1, 1, 1), min_size_mm=3.0).manifest.cases[0]
    assert less.dropped_boxes == 1 and less.boxes["bright"] == kept.boxes["bright"] - 1


def test_other_readers_read_it(scans: Path, tmp_path: Path, ultralytics_offline: None) -> None:
    from torchvision.datasets import CocoDetection
    from ultralytics.data.dataset import YOLODataset

    folder = tmp_path / "d"
    run(scans, folder)
    data = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    assert data["names"] == {0: "bright", 1: "dark"} and "path" not in data
    for split in ("train", "val", "test"):
        file = folder / "annotations" / f"instances_{split}.json"
        content = COCO(str(file))
        boxes = sum(len(t) for _, t in CocoDetection(str(folder / "images" / split), str(file)))
        loaded = YOLODataset(img_path=str(folder / data[split]), data=data, augment=False)
        assert len(loaded) == len(content.imgs)
        assert boxes == len(content.anns) == sum(len(label["cls"]) for label in loaded.labels)


def test_every_orientation_gives_the_same_slices_and_rasterises_back(tmp_path: Path) -> None:
    base = tiny.make_scans(tmp_path / "base", cases=3)
    images = {p.name: nib.load(p) for p in base.iterdir()}
    expected = None
    for order, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        name = "".join(map(str, order)) + "".join("+-"[f < 0] for f in flips)
        scans, out = tmp_path / name / "scans", tmp_path / name / "d"
        scans.mkdir(parents=True)
        for file, image in images.items():
            axes = np.stack([order, flips], axis=1)
            nib.save(image.as_reoriented(axes), scans / file)
        run(scans, out, split=(1, 1, 1))
        pictures = {
            k: v for k, v in tree(out).items() if not k.startswith(("dataset.json", "annot"))
        }
        expected = expected or pictures
        assert pictures == expected
        assert_rasterises_back(out, {f"case{n}": scans / f"case{n}-mask.nii" for n in range(3)})


def assert_rasterises_back(dataset: Path, masks: dict[str, Path]) -> None:
    """Put every RLE of a dataset back into the mask files' own voxels, and compare."""
    opened = open_dataset(dataset)
    classes = opened.manifest.request.recipe.class_of_label
    back = {c.id: np.zeros(c.shape, np.uint8) for c in opened.manifest.cases}
    for split in ("train", "val", "test"):
        content = opened.annotations(split)
        images = {i["id"]: i for i in content["images"]}
        for box in content["annotations"]:
            image = images[box["image_id"]]
            pixels = decode_rle(box["segmentation"]["counts"], *box["segmentation"]["size"])
            back[image["case_id"]][image["slice_index"]][pixels] = box["category_id"]
            x, y, w, h = box["bbox"]
            assert (pixels.any(axis=0).nonzero()[0][[0, -1]] == (x, x + w - 1)).all()
            assert (pixels.any(axis=1).nonzero()[0][[0, -1]] == (y, y + h - 1)).all()
    for case, volume in back.items():
        mask = read_mask(masks[case])
        z, y, x = np.indices(volume.shape).reshape(3, -1)
        i, j, k = np.rint(mask.to_file_voxels(np.stack([x, y, z], axis=1))).astype(int).T
        stored = np.asarray(nib.load(masks[case]).dataobj)
        restored = np.zeros(stored.shape, np.uint8)
        restored[i, j, k] = volume.ravel()
        wanted = np.zeros(stored.shape, np.uint8)
        for value, index in classes.items():
            wanted[stored == value] = index + 1
        assert (restored == wanted).all(), case


INDEX = """
0 20 14 10|3 94 9 1|4 135 289 5|5 98 5 1|7 99 52 6|8 100 49 6|9 96 45 6|10 100 48 6|11 94 35 5
12 100 5 1|14 80 10 1|15 77 9 3|23 68 23 1|29 67 11 1|32 65 0 0|34 57 0 0|35 62 21 3|36 54 15 1
40 53 101 15|41 57 0 0|42 63 5 2|47 53 0 0|48 45 14 4|50 42 4 1
"""  # volume, slices, boxes, lesions: counted independently


@pytest.mark.realdata
def test_real_livers_give_the_counts_of_the_index(lits_dataset: Path) -> None:
    cases = open_dataset(lits_dataset).manifest.cases
    rows = [line for line in INDEX.replace("\n", "|").split("|") if line]
    expected = {tuple(map(int, row.split())) for row in rows}
    counts = {
        (int(c.id.split("-")[1]), c.slices, c.boxes["tumour"], c.lesions["tumour"]) for c in cases
    }
    assert counts == expected
    assert [sum(column) for column in zip(*expected, strict=True)][1:] == [1779, 764, 79]
    sides = {c.split for c in cases if c.id in {f"lits-{n}" for n in (7, 8, 9, 10)}}
    assert len(sides) == 1
    assert check(lits_dataset) == []


@pytest.mark.realdata
def test_real_tumours_rasterise_back(lits_dataset: Path, realdata: Path) -> None:
    cases = open_dataset(lits_dataset).manifest.cases
    masks = {
        c.id: realdata / "lits256" / f"segmentation-{c.id.split('-')[1]}.nii.gz" for c in cases
    }
    assert_rasterises_back(lits_dataset, masks)


@pytest.mark.realdata
def test_real_slices_are_the_windowed_scan(lits_dataset: Path, realdata: Path) -> None:
    scan = np.asarray(nib.load(realdata / "lits256" / "volume-23.nii.gz").dataobj)
    case = next(c for c in open_dataset(lits_dataset).manifest.cases if c.id == "lits-23")
    for z in (0, 30, 67):
        path = lits_dataset / "images" / case.split / f"lits-23_z{z:04d}.png"
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(float)
        # the direction is the identity in RAS; the rows of a picture run from front to back
        hu = scan[:, :, z].T[::-1, ::-1] if nib_is_ras(realdata) else scan[:, :, z].T
        assert np.abs(picture - np.clip((hu + 40.0) / 200 * 255, 0, 255)).max() <= 0.5


def nib_is_ras(realdata: Path) -> bool:
    affine = nib.load(realdata / "lits256" / "volume-23.nii.gz").affine
    return bool(affine[0, 0] > 0)
