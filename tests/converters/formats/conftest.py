"""A dataset to export, and its boxes as the tests compare them."""

import json
from pathlib import Path

import pytest

from converters.formats.export import export_dataset


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
