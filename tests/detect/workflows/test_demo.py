"""The demo, cut short: every step of it on a few patients and one epoch."""

import json
from pathlib import Path

import pytest

from converters.core.errors import InputError
from converters.dataset.audit import check
from detect.workflows.demo import SETTINGS, demo


def test_the_whole_path(tmp_path: Path) -> None:
    short = SETTINGS.model_copy(update={"epochs": 1, "imgsz": 64})
    result = demo(tmp_path / "demo", settings=short, patients=10, device="cpu")
    assert check(tmp_path / "demo" / "dataset") == []
    test = tmp_path / "demo" / "dataset" / "annotations" / "instances_test.json"
    truth = json.loads(test.read_text(encoding="utf-8"))
    scored = json.loads((result.evaluation.folder / "predictions.json").read_text(encoding="utf-8"))
    assert result.evaluation.metrics.boxes == len(truth["annotations"])
    assert scored and {b["image_id"] for b in scored} <= {i["id"] for i in truth["images"]}
    assert result.evaluation.pictures and all(p.is_file() for p in result.evaluation.pictures)
    assert set(result.prediction.rows) == {"new-patient"} and not result.prediction.errors
    with pytest.raises(InputError, match="--overwrite"):
        demo(tmp_path / "demo")
