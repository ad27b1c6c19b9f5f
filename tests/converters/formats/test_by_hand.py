"""One box, worked by hand, in every format; and the tools' own formats parsed independently.

Columns 10 to 19 and rows 5 to 8 of a slice of 64 x 48 px, 0.8 mm a pixel: COCO's [10, 5, 10, 4].
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from converters.conversion.convert import convert
from converters.formats.export import FORMATS, export_dataset
from converters.imaging.nifti import write_nifti
from tests.helpers import tiny
from tests.helpers.exports import SPLITS, Boxes, same

Exported = Callable[[str], Path]


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every format of three cases, one a split: a box of class `dark` on slice 1 of two."""
    folder = tmp_path_factory.mktemp("hand")
    mask = np.zeros((2, 48, 64), np.uint8)
    mask[1, 5:9, 10:20] = 2
    affine = np.diag([0.8, 0.8, 2.0, 1.0])
    (folder / "scans").mkdir()
    for hu, case in enumerate("abc"):
        write_nifti(folder / f"scans/{case}-scan.nii", mask.astype(np.int16) + np.int16(hu), affine)
        write_nifti(folder / f"scans/{case}-mask.nii", mask, affine)
    convert(
        tiny.recipe(folder), folder / "scans", folder / "dataset",
        split=(1, 1, 1), negatives="all",
    )  # fmt: skip
    for to in FORMATS:
        export_dataset(folder / "dataset", to, folder / to)
    return folder


def train_case(by_hand: Path) -> str:
    (name,) = {p.name[0] for p in (by_hand / "dataset/images/train").iterdir()}
    return name


def test_coco_and_rfdetr(by_hand: Path) -> None:
    coco = json.loads(
        (by_hand / "coco/annotations/instances_train.json").read_text(encoding="utf-8")
    )
    rfdetr = json.loads(
        (by_hand / "rfdetr/train/_annotations.coco.json").read_text(encoding="utf-8")
    )
    assert [b["bbox"] for b in coco["annotations"]] == [[10, 5, 10, 4]]
    assert [b["bbox"] for b in rfdetr["annotations"]] == [[10, 5, 10, 4]]
    assert coco["annotations"][0]["category_id"] == 2
    assert rfdetr["annotations"][0]["category_id"] == 1
    assert len(coco["images"]) == len(rfdetr["images"]) == 2
    assert coco == json.loads(
        (by_hand / "dataset/annotations/instances_train.json").read_text(encoding="utf-8")
    )


def test_yolo(by_hand: Path) -> None:
    case = train_case(by_hand)
    empty, box = (by_hand / f"yolo/labels/train/{case}_z000{z}.txt" for z in (0, 1))
    assert empty.read_text(encoding="utf-8") == ""
    # (10 + 5) / 64, (5 + 2) / 48, 10 / 64, 4 / 48
    assert box.read_text(encoding="utf-8") == "1 0.234375000 0.145833333 0.156250000 0.083333333\n"


def test_voc(by_hand: Path) -> None:
    case = train_case(by_hand)
    box = ET.parse(by_hand / f"voc/Annotations/{case}_z0001.xml").find("object/bndbox")
    assert box is not None
    assert {e.tag: e.text for e in box} == {"xmin": "11", "ymin": "6", "xmax": "20", "ymax": "9"}
    assert ET.parse(by_hand / f"voc/Annotations/{case}_z0000.xml").find("object") is None
    lists = {
        p.stem: p.read_text(encoding="utf-8").split()
        for p in (by_hand / "voc/ImageSets/Main").iterdir()
    }
    assert lists["train"] == [f"{case}_z0000", f"{case}_z0001"]
    assert lists["trainval"] == lists["train"] + lists["val"]
    assert {p.name for p in (by_hand / "voc/JPEGImages").iterdir()} == {
        f"{stem}.png" for stem in lists["trainval"] + lists["test"]
    }


def test_cvat(by_hand: Path) -> None:
    root = ET.parse(by_hand / "cvat/train/annotations.xml").getroot()
    assert root.tag == "annotations" and root.findtext("version") == "1.1"
    assert root.findtext("meta/task/size") == "2"
    empty, image = root.findall("image")
    assert len(empty) == 0
    (box,) = image
    edges = {key: box.get(key) for key in ("xtl", "ytl", "xbr", "ybr")}
    assert edges == {"xtl": "10", "ytl": "5", "xbr": "20", "ybr": "9"}
    assert box.get("label") == "dark" and box.get("occluded") == "0"
    assert box.findtext("attribute[@name='lesion_id']") == "1"


def test_labelstudio(by_hand: Path) -> None:
    tasks = json.loads((by_hand / "labelstudio/tasks.json").read_text(encoding="utf-8"))
    assert len(tasks) == 6
    empty, task = (t for t in tasks if t["data"]["split"] == "train")
    assert empty["annotations"] == [{"result": []}]
    (region,) = task["annotations"][0]["result"]
    assert region["value"] == {
        "x": 15.625,
        "y": pytest.approx(500 / 48),
        "width": 15.625,
        "height": pytest.approx(400 / 48),
        "rotation": 0,
        "rectanglelabels": ["dark"],
    }
    assert task["data"]["case"] == train_case(by_hand) and task["data"]["slice"] == 1


def test_createml(by_hand: Path) -> None:
    empty, entry = json.loads(
        (by_hand / "createml/train/_annotations.createml.json").read_text(encoding="utf-8")
    )
    assert empty["annotations"] == []
    coordinates = {"x": 15, "y": 7, "width": 10, "height": 4}
    assert entry["annotations"] == [{"label": "dark", "coordinates": coordinates}]


def test_csv(by_hand: Path) -> None:
    case = train_case(by_hand)
    row = next(r for r in rows(by_hand / "csv/boxes.csv") if r["split"] == "train")
    diameter = float(row.pop("diameter_mm"))
    assert diameter == pytest.approx(0.8 * (10**2 + 3**2) ** 0.5)
    assert float(row.pop("area_mm2")) == pytest.approx(40 * 0.64)
    assert row == {
        "image": f"images/train/{case}_z0001.png", "split": "train", "case": case, "patient": case,
        "slice": "1", "class": "dark", "class_index": "1",
        "x": "10", "y": "5", "width": "10", "height": "4", "lesion_id": "1",
    }  # fmt: skip
    pictures = rows(by_hand / "csv/images.csv")
    assert [r["boxes"] for r in pictures] == ["0", "1"] * 3
    assert all((by_hand / "csv" / r["image"]).is_file() for r in pictures)
    assert {float(r["spacing_z"]) for r in pictures} == {2.0}


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("split", SPLITS)
def test_cvat_holds_every_box(exported: Exported, dataset: Path, split: str) -> None:
    folder = exported("cvat") / split
    root = ET.parse(folder / "annotations.xml").getroot()
    boxes: Boxes = {}
    for image in root.findall("image"):
        assert (folder / "images" / image.attrib["name"]).is_file()
        corners = ("xtl", "ytl", "xbr", "ybr")
        boxes[Path(image.attrib["name"]).stem] = [
            (box.attrib["label"], *(float(box.attrib[key]) for key in corners))
            for box in image.findall("box")
        ]
    same(boxes, dataset, split, 1e-6)
    names = {label.findtext("name") for label in root.findall("meta/task/labels/label")}
    assert names == {"bright", "dark"}


@pytest.mark.parametrize("split", SPLITS)
def test_labelstudio_holds_every_box(exported: Exported, dataset: Path, split: str) -> None:
    folder = exported("labelstudio")
    view = ET.parse(folder / "labels.xml").getroot()
    image, labels = view.find("Image"), view.find("RectangleLabels")
    assert image is not None and labels is not None and labels.get("toName") == image.get("name")
    assert [label.get("value") for label in labels] == ["bright", "dark"]
    boxes: Boxes = {}
    for task in json.loads((folder / "tasks.json").read_text(encoding="utf-8")):
        if task["data"]["split"] != split:
            continue
        url = urlsplit(task["data"][image.attrib["value"].removeprefix("$")])
        assert url.path == "/data/local-files/"
        picture = folder / parse_qs(url.query)["d"][0]
        assert picture.is_file()
        boxes[picture.stem] = []
        for region in task["annotations"][0]["result"]:
            assert region["from_name"] == labels.get("name")
            assert region["to_name"] == image.get("name")
            w, h = region["original_width"] / 100, region["original_height"] / 100
            value = region["value"]
            x, y = value["x"] * w, value["y"] * h
            right, bottom = x + value["width"] * w, y + value["height"] * h
            boxes[picture.stem].append((*value["rectanglelabels"], x, y, right, bottom))
    same(boxes, dataset, split, 1e-6)


@pytest.mark.parametrize("split", SPLITS)
def test_csv_holds_every_box(exported: Exported, dataset: Path, split: str) -> None:
    folder = exported("csv")
    boxes: Boxes = {
        Path(r["image"]).stem: [] for r in rows(folder / "images.csv") if r["split"] == split
    }
    for r in rows(folder / "boxes.csv"):
        if r["split"] == split:
            x, y, w, h = (float(r[key]) for key in ("x", "y", "width", "height"))
            boxes[Path(r["image"]).stem].append((r["class"], x, y, x + w, y + h))
    same(boxes, dataset, split)
