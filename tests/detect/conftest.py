import json
from pathlib import Path

import pytest


@pytest.fixture
def coded_model(threshold_model: Path) -> Path:
    """The model of the tests, whose one class has a code."""
    card = json.loads((threshold_model / "model.json").read_text(encoding="utf-8"))
    card["codes"] = {"bright": {"value": "109841003", "meaning": "Liver cell carcinoma"}}
    (threshold_model / "model.json").write_text(json.dumps(card))
    return threshold_model


@pytest.fixture
def bone_model(coded_model: Path) -> Path:
    """A bundle of a threshold detector to which only bone is bright."""
    card = json.loads((coded_model / "model.json").read_text(encoding="utf-8"))
    card["spec"]["window"] = {"level": 500, "width": 200}
    (coded_model / "model.json").write_text(json.dumps(card))
    return coded_model
