"""Shared fixtures."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.no_network import sitecustomize  # from here on nothing reaches the network


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Keep the processes that tests start from the network too."""
    places = [str(Path(sitecustomize.__file__).parent), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
        patch.setenv("YOLO_OFFLINE", "true")  # else ultralytics looks for the network on import
        yield


@pytest.fixture(scope="session")
def ultralytics_offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let ultralytics be imported without writing to the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("ultralytics")))
        yield


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real scans, or a skipped test."""
    folder = os.environ.get("DETECT_REALDATA")
    if not folder:
        pytest.skip("DETECT_REALDATA does not name the folder of real scans")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder of two classes; not to be changed."""
    from tests.helpers.tiny import make_dataset

    return make_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_run(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a YOLOv8n that was trained on `tiny_dataset`; not to be changed."""
    from detect.workflows.train import train
    from tests.helpers.tiny import LONGER

    out = tmp_path_factory.mktemp("runs") / "tiny"
    return train("yolov8n", tiny_dataset, out=out, settings=LONGER).bundle


@pytest.fixture(scope="session")
def poolable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convert every slice, so that splits can be pooled. Two scans share a patient."""
    from converters.conversion.convert import convert
    from tests.helpers.tiny import RECIPE, make_scans, recipe

    folder = tmp_path_factory.mktemp("poolable")
    scans = make_scans(folder / "scans", cases=9)
    recipe_file = recipe(folder, RECIPE + "patients: [[case0, case1]]\n")
    out = folder / "dataset"
    convert(recipe_file, scans, out, split=(5, 2, 2), negatives="all")
    return out


@pytest.fixture(scope="session")
def lits_dataset(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real liver scans, every slice, converted once; not to be changed."""
    from converters.conversion.convert import convert
    from converters.recipes.catalog import find_recipe

    out = tmp_path_factory.mktemp("lits") / "dataset"
    convert(find_recipe("lits"), realdata / "lits256", out, negatives="all", workers=2)
    return out


@pytest.fixture
def threshold_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of the threshold detector, which needs no training."""
    from tests.helpers.threshold_detector import make_threshold_model

    return make_threshold_model(tmp_path, monkeypatch)
