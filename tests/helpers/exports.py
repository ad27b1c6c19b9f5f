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
    found: Boxes = defaultdict(list)
    stems = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
    for stem in stems.values():
        found[stem] = []
    for box in content["annotations"]:
        x, y, w, h = box["bbox"]
        found[stems[box["image_id"]]].append((names[box["category_id"]], x, y, x + w, y + h))
    return {stem: sorted(boxes) for stem, boxes in found.items()}


def same(found: Boxes, dataset: Path, split: str, tolerance: float = 1e-9) -> None:
    """Compare with the dataset: every picture, every box, classes exactly."""
    expected = truth(dataset, split)
    assert expected and set(found) == set(expected)
    assert any(not boxes for boxes in expected.values()), "no negative to lose"
    for stem, boxes in expected.items():
        own = sorted(found[stem])
        assert [b[0] for b in own] == [b[0] for b in boxes]
        for a, b in zip(own, boxes, strict=True):
            assert a[1:] == pytest.approx(b[1:], abs=tolerance)
