"""Steps of the optimiser decide how many epochs there are."""

from pathlib import Path
from typing import Any

import pytest
import torch

from converters.conversion.convert import convert
from converters.core.errors import InputError
from converters.dataset.folder import open_dataset
from converters.dataset.split import load_split
from detect.detectors.settings import TrainSettings, resolve_settings
from detect.workflows.train import train
from tests.helpers.tiny import SETTINGS, make_scans, recipe


@pytest.mark.parametrize("other", [{"epochs": 5}, {"budget": "20min"}])
def test_epochs_iterations_and_a_budget_contradict_each_other(other: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="contradicts") as error:
        resolve_settings(TrainSettings(), {"iterations": 100, **other})
    assert next(iter(other)) in str(error.value) and "iterations" in str(error.value)


@pytest.mark.parametrize("model", ["yolov8n", "deim-n"])
def test_the_optimiser_takes_so_many_steps(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = make_scans(tmp_path / "scans", cases=4)
    data = tmp_path / "dataset"
    convert(recipe(tmp_path), scans, data, split=(2, 1, 1), negatives="all")
    split = load_split(open_dataset(data), "train")
    lesions = sum(len(truth) > 0 for truth in split.truth)
    batch = lesions - 1  # an epoch without negatives is one whole batch and one slice
    steps: list[int] = []
    step = torch.optim.AdamW.step

    def count(self: Any, *given: Any, **more: Any) -> Any:
        steps.append(1)
        return step(self, *given, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", count)
    settings = SETTINGS.model_copy(
        update={"batch": batch, "negatives": 0.0, "iterations": 3, "patience": 0}
    )
    run = train(model, data, out=tmp_path / "run", settings=settings)
    assert run.card.training["epochs"] == 2 and run.card.training["iterations"] == 3
    assert len(steps) == 4
