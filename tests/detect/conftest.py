import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def ultralytics_offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let ultralytics be imported without network access and without writing to the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "YOLO_OFFLINE", "true")
        patch.setitem(os.environ, "YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("ultralytics")))
        yield


@pytest.fixture
def coded_model(threshold_model: Path) -> Path:
    """The model of the tests, whose one class has a code."""
    card = json.loads((threshold_model / "model.json").read_text(encoding="utf-8"))
    card["codes"] = {"bright": {"value": "109841003", "meaning": "Liver cell carcinoma"}}
    (threshold_model / "model.json").write_text(json.dumps(card))
    return threshold_model
