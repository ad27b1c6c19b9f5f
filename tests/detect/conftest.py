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
