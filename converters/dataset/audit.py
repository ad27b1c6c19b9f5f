"""Audit a dataset folder against its manifest."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters.core.errors import InputError
from converters.core.progress import progress
from converters.dataset.folder import Dataset, open_dataset, read_png
from converters.dataset.manifest import FILE_NAME
from converters.dataset.stratify import SPLITS
from converters.dataset.yolo import data_yaml, read_labels

TOLERANCE_PX = 1e-3  # YOLO's nine decimals against COCO's pixels
ROUNDING_PX = 1e-6  # of a box's corner in a resampled picture


def check(folder: Path) -> list[str]:
    """Check a dataset; returns one line for each problem.

    Images must be readable and of the size stated, boxes inside them, classes known, patients on
    one side of the split, YOLO and COCO the same, and every file accounted for. `same_patient`
    searches for one person under two names.

    Raises:
        InputError: the folder is no dataset.
    """
    dataset = open_dataset(folder)
    contents = {split: dataset.annotations(split) for split in SPLITS}
    problems = [*two_sides(dataset, contents), *_categories(dataset, contents)]
    total = sum(len(content["images"]) for content in contents.values())
    with progress("check", total) as advance:
        for split, content in contents.items():
            problems += _frames(dataset, split, content["images"])
            boxes = defaultdict(list)
            for box in content["annotations"]:
                boxes[box["image_id"]].append(box)
            for image in content["images"]:
                problems += _image(dataset, split, image, boxes.pop(image["id"], []))
                advance(split)
            problems += [f"{split}: boxes of an unknown image id {key}" for key in boxes]
    return problems + list(_counts(dataset, contents)) + list(_files(dataset, contents))


def two_sides(dataset: Dataset, contents: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Find patients and scans that are in more than one split, one line each.

    Args:
        dataset: says where each case is.
        contents: COCO mapping of each split, which says where each picture is.
    """
    sides: dict[str, set[str]] = defaultdict(set)
    for case in dataset.manifest.cases:
        sides[case.patient].add(case.split)
    for split, content in contents.items():
        for image in content["images"]:
            sides[image["patient_id"]].add(split)
    for patient, splits in sides.items():
        if len(splits) > 1:
            yield f"patient {patient} is on two sides: {', '.join(sorted(splits))}"


def _categories(dataset: Dataset, contents: dict[str, dict[str, Any]]) -> Iterator[str]:
    for split, content in contents.items():
        names = [c["name"] for c in sorted(content["categories"], key=lambda c: int(c["id"]))]
        if names != dataset.manifest.class_names:
            yield f"{split}: COCO's categories {names} are not the manifest's classes"


def _frames(dataset: Dataset, split: str, images: list[dict[str, Any]]) -> Iterator[str]:
    """Compare the frame of each picture with its case, and its size and spacing with the frame."""
    cases = {case.id: case for case in dataset.manifest.cases}
    for image in images:
        case = cases.get(image["case_id"])
        if case is None:
            continue  # `_counts` names it
        frame = case.placed
        _, _, right, bottom = frame.region
        if right > case.shape[2] or bottom > case.shape[1]:
            yield f"case {case.id}: its frame leaves the scan's slices"
        stated = image.get("frame")
        if stated is not None and stated != frame.model_dump():
            yield f"{split}: {image['file_name']} has another frame than its case"
        if (image["width"], image["height"]) != (frame.width, frame.height):
            yield f"{split}: {image['file_name']} is not of the size of its case's frame"
        spacing = frame.spacing(case.spacing_mm)
        if not np.allclose(image["spacing_mm"], spacing, rtol=1e-6, atol=0):
            yield f"{split}: {image['file_name']} has another spacing than its case's frame"


def _image(
    dataset: Dataset, split: str, image: dict[str, Any], boxes: list[dict[str, Any]]
) -> Iterator[str]:
    path = dataset.image_path(split, image["file_name"])
    height, width = image["height"], image["width"]
    try:
        pixels = read_png(path)
        yolo = sorted(read_labels(_label_path(path), height, width))
    except InputError as error:
        yield str(error)
        return
    if pixels.shape[:2] != (height, width):
        yield f"{path.name}: is {pixels.shape[1]}x{pixels.shape[0]}, COCO says {width}x{height}"
    planes = dataset.manifest.request.recipe.representation.planes
    if (1 if pixels.ndim == 2 else pixels.shape[2]) != planes:
        yield f"{path.name}: has not the {planes} channels that the recipe says"
    classes = len(dataset.manifest.class_names)
    coco = sorted((b["category_id"] - 1, *map(float, b["bbox"])) for b in boxes)
    for label, x, y, w, h in coco:
        if not 0 <= label < classes:
            yield f"{path.name}: unknown class {label}"
        over = max(-x, -y, x + w - width, y + h - height)
        if over > ROUNDING_PX or min(w, h) <= 0:
            yield f"{path.name}: box {x:g},{y:g},{w:g},{h:g} leaves the image"
    same = len(coco) == len(yolo) and all(
        a[0] == b[0] and all(abs(p - q) < TOLERANCE_PX for p, q in zip(a[1:], b[1:], strict=True))
        for a, b in zip(coco, yolo, strict=True)
    )
    if not same:
        yield f"{path.name}: YOLO has {len(yolo)} and COCO {len(coco)} boxes, or they differ"


def _label_path(image: Path) -> Path:
    return (image.parents[2] / "labels" / image.parent.name / image.name).with_suffix(".txt")


def _counts(dataset: Dataset, contents: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Compare the manifest's counts of each case with COCO's."""
    slices: Counter[str] = Counter()
    boxes: Counter[tuple[str, str]] = Counter()
    for content in contents.values():
        names = {c["id"]: c["name"] for c in content["categories"]}
        case_of = {image["id"]: image["case_id"] for image in content["images"]}
        slices.update(case_of.values())
        for box in content["annotations"]:
            boxes[case_of.get(box["image_id"], ""), names.get(box["category_id"], "")] += 1
    for case in dataset.manifest.cases:
        counted = {name: boxes[case.id, name] for name in case.boxes}
        if (slices.pop(case.id, 0), counted) != (case.slices, case.boxes):
            yield f"case {case.id}: the manifest's counts of slices or boxes are not COCO's"
    for case_id in slices:
        yield f"case {case_id}: the manifest does not list it"


def _files(dataset: Dataset, contents: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Find files that are missing or that nothing accounts for."""
    folder = dataset.folder
    known = {folder / name for name in (FILE_NAME, "data.yaml", "lesions.csv")}
    for split, content in contents.items():
        known.add(folder / "annotations" / f"instances_{split}.json")
        pictures = [dataset.image_path(split, image["file_name"]) for image in content["images"]]
        known.update(pictures, map(_label_path, pictures))
    present = {path for path in folder.rglob("*") if not path.is_dir()}
    caches = {folder / "labels" / f"{split}.cache" for split in SPLITS}  # ultralytics leaves them
    for path in sorted(present - known - caches):
        yield f"{path.relative_to(folder)}: nothing accounts for this file"
    text = folder / "data.yaml"
    if text in present and text.read_text(encoding="utf-8") != data_yaml(
        dataset.manifest.class_names
    ):
        yield "data.yaml: is not what the manifest's classes give"
    for path in sorted({text, folder / "lesions.csv"} - present):
        yield f"{path.name}: is missing"
