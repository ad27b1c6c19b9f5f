"""A dataset to export, and its boxes as the tests compare them."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from converters.formats.export import export_dataset

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


@pytest.fixture(scope="session")
def odd_dataset(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny dataset with colour pictures and boxes that are no whole pixels in val."""
    import shutil

    import cv2

    folder = Path(shutil.copytree(tiny_dataset, tmp_path_factory.mktemp("odd") / "dataset"))
    file = folder / "annotations/instances_val.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    for box in content["annotations"]:
        x, y, w, h = box["bbox"]
        box["bbox"] = [x + 0.3, y + 0.7, w - 0.55, h - 0.9]
    file.write_text(json.dumps(content))
    for picture in (folder / "images/val").iterdir():
        cv2.imwrite(str(picture), cv2.cvtColor(cv2.imread(str(picture), 0), cv2.COLOR_GRAY2BGR))
    return folder


@pytest.fixture(scope="session", params=["whole pixels, grey", "fractions, colour"])
def dataset(request: pytest.FixtureRequest, tiny_dataset: Path, odd_dataset: Path) -> Path:
    return tiny_dataset if request.param.startswith("whole") else odd_dataset


@pytest.fixture
def exported(dataset: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Export the dataset and move the folder: `exported(format)`."""

    def run(to: str) -> Path:
        export_dataset(dataset, to, tmp_path / "made")
        moved = tmp_path / "moved" / to
        moved.parent.mkdir(exist_ok=True)
        (tmp_path / "made").rename(moved)
        return moved

    return run
