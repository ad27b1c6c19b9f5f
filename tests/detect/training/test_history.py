"""Which epoch a training leaves."""

import csv
from pathlib import Path

import pytest

from converters.core.files import sha256
from detect.workflows.train import TrainResult, train
from tests.helpers.tiny import SETTINGS

MODELS = ["yolov8n", "deim-n"]  # one a training loop


def rows_of(result: TrainResult) -> list[dict[str, str]]:
    with (result.bundle / "history.csv").open(encoding="utf-8", newline="") as rows:
        return list(csv.DictReader(rows))


@pytest.mark.parametrize("model", MODELS)
def test_the_last_at_the_end_of_the_schedule(
    model: str, tiny_dataset: Path, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"patience": 2})
    result = train(model, tiny_dataset, out=tmp_path / "run", settings=settings)
    assert len(rows_of(result)) == settings.epochs == 2
    assert result.card.weights == "weights/last.safetensors"
    assert result.card.weights_sha256 == sha256(result.bundle / "weights" / "last.safetensors")


@pytest.mark.parametrize("model", MODELS)
def test_the_best_where_patience_ends_it(
    model: str, tiny_run: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    """It does not get better at this learning rate."""
    settings = SETTINGS.model_copy(update={"epochs": 6, "patience": 2, "lr": 1e-9})
    start = str(tiny_run / "weights" / "last.safetensors") if model == "yolov8n" else None
    result = train(model, tiny_dataset, out=tmp_path / "run", weights=start, settings=settings)
    rows = rows_of(result)
    reached = [float(row["val/mAP50"]) for row in rows]
    assert len(rows) == reached.index(max(reached)) + 3 < settings.epochs
    assert result.card.weights == "weights/best.safetensors"
    assert result.metrics.map50 == pytest.approx(max(reached), abs=0.02)
