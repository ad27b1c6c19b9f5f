"""The epoch that a training keeps."""

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from converters.core.files import sha256
from detect.detectors.base import TrainingRun
from detect.training.run_state import RunState
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


@pytest.mark.parametrize(
    ("reached", "later_ties", "best", "ends"),
    [
        ([0.0, 0.0, 0.0, 0.0], False, 0, 2),
        ([0.0, 0.0, 0.0, 0.0], True, 3, None),  # patience waits for a hit
        ([0.0, 0.2, 0.5, 0.5, 0.4], False, 2, 4),
        ([0.0, 0.2, 0.5, 0.5, 0.4], True, 3, 4),  # a tie replaces the weights, and is no progress
        ([0.1, 0.2, 0.1, 0.3, 0.3, 0.2], False, 3, 5),
    ],
)
def test_ties_and_patience(
    reached: list[float], later_ties: bool, best: int, ends: int | None, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 10, "patience": 2})
    run = TrainingRun(None, None, settings, tmp_path)  # type: ignore[arg-type]
    state = RunState(run, None, None, later_ties)  # type: ignore[arg-type]
    network, stops = torch.nn.Linear(1, 1), []
    for epoch, value in enumerate(reached):
        torch.nn.init.constant_(network.weight, epoch)
        state.record(epoch, network, value, {"val/mAP50": value})
        stops.append(state.stopped)
    assert load_file(run.weights / "best.safetensors")["weight"].item() == best
    assert load_file(run.weights / "last.safetensors")["weight"].item() == len(reached) - 1
    assert stops.index(True) == ends if ends is not None else not any(stops)
