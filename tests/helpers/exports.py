"""The boxes of a dataset as the tests of exports compare them."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

SPLITS = ("train", "val", "test")

Boxes = dict[str, list[tuple[str, float, float, float, float]]]
"""Picture's stem → its boxes, sorted: class name, x1, y1, x2, y2 in px."""


def truth(dataset: Path, split: str) -> Boxes:
    """Read the dataset's own COCO file, with json alone."""
    content = json.loads(
        (dataset / f"annotations/instances_{split}.json").read_text(encoding="utf-8")
    )
    names = {c["id"]: c["name"] for c in content["categories"]}
    by_stem: Boxes = defaultdict(list)
    stems = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
    for stem in stems.values():
        by_stem[stem] = []
    for box in content["annotations"]:
        x, y, w, h = box["bbox"]
        by_stem[stems[box["image_id"]]].append((names[box["category_id"]], x, y, x + w, y + h))
    return {stem: sorted(boxes) for stem, boxes in by_stem.items()}


def same(actual: Boxes, dataset: Path, split: str, tolerance: float = 1e-9) -> None:
    """Compare with the dataset: every picture, every box, classes exactly."""
    expected = truth(dataset, split)
    assert expected and set(actual) == set(expected)
    assert any(not boxes for boxes in expected.values()), "no negative to lose"
    for stem, boxes in expected.items():
        actual_boxes = sorted(actual[stem])
        assert [b[0] for b in actual_boxes] == [b[0] for b in boxes]
        for a, b in zip(actual_boxes, boxes, strict=True):
            assert a[1:] == pytest.approx(b[1:], abs=tolerance)
