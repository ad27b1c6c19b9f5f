"""Exports read back, box by box, by the libraries that own the formats."""

import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import supervision as sv
import torchvision
from pycocotools.coco import COCO

from converters.formats.export import export_dataset
from tests.helpers.exports import SPLITS, Boxes, same

Exported = Callable[[str], Path]
SINGLE = 1e-4  # px: supervision and ultralytics keep boxes in single precision


def of_coco(coco: COCO) -> Boxes:
    by_stem: Boxes = {}
    for image in coco.loadImgs(coco.getImgIds()):
        boxes = [
            (coco.cats[a["category_id"]]["name"], x, y, x + w, y + h)
            for a in coco.imgToAnns[image["id"]]
            for x, y, w, h in [a["bbox"]]
        ]
        by_stem[Path(image["file_name"]).stem] = boxes
    return by_stem


def of_supervision(read: sv.DetectionDataset) -> Boxes:
    return {
        Path(path).stem: [
            (read.classes[int(label)], *map(float, xyxy))
            for xyxy, label in zip(d.xyxy, d.class_id, strict=True)
        ]
        for path, d in read.annotations.items()
    }


def same_pixels(image: Any, dataset: Path, split: str, stem: str) -> None:
    original = cv2.imread(str(dataset / "images" / split / f"{stem}.png"), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(np.asarray(image.convert("RGB")), original)


@pytest.mark.parametrize("split", SPLITS)
def test_coco(exported: Exported, dataset: Path, split: str) -> None:
    folder = exported("coco")
    file, images = folder / f"annotations/instances_{split}.json", folder / "images" / split
    same(of_coco(COCO(str(file))), dataset, split)

    torch_side = torchvision.datasets.CocoDetection(str(images), str(file))
    for index, image_id in enumerate(torch_side.ids):
        image, boxes = torch_side[index]
        entry = torch_side.coco.imgs[image_id]
        assert image.size == (entry["width"], entry["height"])
        assert all(torch_side.coco.annToMask(b).sum() == b["area"] for b in boxes)
        same_pixels(image, dataset, split, Path(entry["file_name"]).stem)

    read = sv.DetectionDataset.from_coco(str(images), str(file))
    same(of_supervision(read), dataset, split, SINGLE)


@pytest.mark.parametrize("split", SPLITS)
def test_yolo(exported: Exported, dataset: Path, split: str, ultralytics_offline: None) -> None:
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    folder = exported("yolo")
    read = sv.DetectionDataset.from_yolo(
        str(folder / "images" / split), str(folder / "labels" / split), str(folder / "data.yaml")
    )
    same(of_supervision(read), dataset, split, SINGLE)

    data = check_det_dataset(str(folder / "data.yaml"))
    assert data["nc"] == 2
    images = YOLODataset(img_path=data[split], data=data, imgsz=64, augment=False)
    boxes = {}
    for label in images.labels:
        h, w = label["shape"]
        centre, size = label["bboxes"][:, :2] * (w, h), label["bboxes"][:, 2:] * (w, h)
        corners = np.hstack([centre - size / 2, centre + size / 2])
        names = [data["names"][int(k)] for k in label["cls"].ravel()]
        boxes[Path(label["im_file"]).stem] = [
            (name, *map(float, xyxy)) for name, xyxy in zip(names, corners, strict=True)
        ]
    same(boxes, dataset, split, SINGLE)


def test_yolo_labels_are_the_datasets_own(exported: Exported, tiny_dataset: Path) -> None:
    folder = exported("yolo")
    for split in ("train", "test"):  # the odd dataset's val differs from its labels
        for file in (tiny_dataset / "labels" / split).iterdir():
            assert (folder / "labels" / split / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("split", SPLITS)
def test_voc(exported: Exported, dataset: Path, tmp_path: Path, split: str) -> None:
    folder = exported("voc")
    read = sv.DetectionDataset.from_pascal_voc(
        str(folder / "JPEGImages"), str(folder / "Annotations")
    )
    stems = set((folder / f"ImageSets/Main/{split}.txt").read_text(encoding="utf-8").split())
    everything = of_supervision(read)
    assert len(everything) == sum(1 for _ in (dataset / "images").rglob("*.png"))
    same({stem: everything[stem] for stem in stems}, dataset, split, SINGLE)

    devkit = tmp_path / "torch" / "VOCdevkit"  # where torchvision looks
    devkit.mkdir(parents=True)
    (devkit / "VOC2007").symlink_to(folder)
    torch_side = torchvision.datasets.VOCDetection(devkit.parent, "2007", image_set=split)
    torch_side.images = [name.replace(".jpg", ".png") for name in torch_side.images]
    boxes: Boxes = {}
    for k in range(len(torch_side)):
        image, target = torch_side[k]
        entry = target["annotation"]
        size = {key: int(value) for key, value in entry["size"].items()}
        assert image.size == (size["width"], size["height"])
        stored = cv2.imread(torch_side.images[k], cv2.IMREAD_UNCHANGED)
        assert (1 if stored.ndim == 2 else 3) == size["depth"]
        stem = Path(entry["filename"]).stem
        same_pixels(image, dataset, split, stem)
        boxes[stem] = [
            (
                box["name"],
                float(box["bndbox"]["xmin"]) - 1,
                float(box["bndbox"]["ymin"]) - 1,
                float(box["bndbox"]["xmax"]),
                float(box["bndbox"]["ymax"]),
            )
            for box in entry["object"]
        ]
    same(boxes, dataset, split, 1e-6)


@pytest.mark.parametrize("split", SPLITS)
def test_rfdetr(exported: Exported, dataset: Path, split: str) -> None:
    from rfdetr.datasets import build_dataset
    from rfdetr.detr import RFDETR

    folder = exported("rfdetr")
    classes = RFDETR._load_classes(str(folder))
    assert classes == ["bright", "dark"]
    assert RFDETR._detect_num_classes_for_training(str(folder)) == 2
    wanted = Namespace(
        dataset_file="roboflow", dataset_dir=str(folder), square_resize_div_64=True,
        segmentation_head=False, multi_scale=False, expanded_scales=False, patch_size=16,
        num_windows=2, aug_config={}, scale_jitter=False,
    )  # fmt: skip
    read: Any = build_dataset(split, wanted, 64)
    read._transforms = None  # boxes in pixels of the picture, before any resizing
    boxes: Boxes = {}
    for k in range(len(read)):
        image, target = read[k]
        stem = Path(read.coco.imgs[int(target["image_id"])]["file_name"]).stem
        same_pixels(image, dataset, split, stem)
        boxes[stem] = [
            (classes[int(label)], *map(float, xyxy))
            for xyxy, label in zip(target["boxes"], target["labels"], strict=True)
        ]
    same(boxes, dataset, split, SINGLE)


@pytest.mark.parametrize(
    ("split", "name"), [("train", "train"), ("val", "valid"), ("test", "test")]
)
def test_createml(exported: Exported, dataset: Path, split: str, name: str) -> None:
    folder = exported("createml") / name
    read = sv.DetectionDataset.from_createml(
        str(folder), str(folder / "_annotations.createml.json")
    )
    same(of_supervision(read), dataset, split, SINGLE)


def test_rfdetr_keeps_a_class_that_train_lacks_and_that_is_called_lesion(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    """RF-DETR keeps a class called `lesion`, which it would drop as a parent category."""
    from rfdetr.detr import RFDETR

    folder = Path(shutil.copytree(tiny_dataset, tmp_path / "dataset"))
    for file in (folder / "dataset.json", *(folder / "annotations").iterdir()):
        file.write_text(file.read_text(encoding="utf-8").replace('"bright"', '"lesion"'))
    file = folder / "annotations/instances_train.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["annotations"] = [b for b in content["annotations"] if b["category_id"] != 1]
    file.write_text(json.dumps(content))
    for to, classes in (("coco", ["dark"]), ("rfdetr", ["lesion", "dark"])):
        out = tmp_path / to
        export_dataset(folder, to, out)
        if to == "coco":
            (out / "train").mkdir()
            (out / "annotations/instances_train.json").rename(out / "train/_annotations.coco.json")
        assert RFDETR._load_classes(str(out)) == classes
