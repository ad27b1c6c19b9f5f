"""A wall-clock budget decides how many epochs there are."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.dataset.folder import open_dataset
from converters.dataset.split import load_split
from detect.detectors.base import TrainingRun
from detect.detectors.card import read_model_card
from detect.detectors.settings import TrainSettings, parse_duration, resolve_settings
from detect.training.budget import epochs_within
from detect.workflows.train import train
from tests.helpers.tiny import SETTINGS


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("20min", 1200), ("20m", 1200), ("1h30min", 5400), ("1.5h", 5400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "min", "0s", "-5min", "20min later", "5 days"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InputError) as error:
        resolve_settings(TrainSettings(), {"budget": text})
    assert error.value.path == "budget"


def test_epochs_and_a_budget_contradict_each_other() -> None:
    with pytest.raises(InputError, match="budget: contradicts --epochs"):
        resolve_settings(TrainSettings(), {"budget": "20min", "epochs": 5})


@dataclass
class Clockwork:
    """A trainer whose seconds are set, and which trains nothing."""

    once: float
    an_epoch: float
    a_slice: float
    a_prediction: float = 0.0
    seen: list[int] = field(default_factory=list)
    now: float = 0.0

    def predict(self, images: list[object]) -> list[Boxes]:
        self.now += self.a_prediction * len(images)
        return [Boxes.empty()] * len(images)

    def train(self, run: TrainingRun) -> None:
        self.seen.append(len(run.train))
        epoch = self.an_epoch + self.a_slice * (len(run.train) + len(run.val))
        rows = [[1, self.once + epoch], [2, self.once + 2 * epoch]]
        with (run.folder / "history.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["epoch", "seconds"], *rows])


def test_what_an_epoch_costs_is_told_from_two_lengths(tiny_dataset: Path) -> None:
    dataset = open_dataset(tiny_dataset)
    parts = load_split(dataset, "train"), load_split(dataset, "val")
    clockwork = Clockwork(once=300, an_epoch=4, a_slice=1)
    settings = SETTINGS.model_copy(update={"batch": 2})
    epochs = epochs_within(6000, lambda: clockwork, *parts, settings)  # type: ignore[arg-type, return-value]
    assert clockwork.seen == [4, 12]
    # val is rounded to whole slices in the probes, so the pace is near, and not exact
    epoch = 4 + len(parts[0]) + len(parts[1])
    assert epochs == pytest.approx(6000 * 0.95 / epoch, rel=0.05)


def test_looking_for_hard_negatives_is_paid_for(
    tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(tiny_dataset)
    parts = load_split(dataset, "train"), load_split(dataset, "val")
    settings = SETTINGS.model_copy(update={"batch": 2, "negatives": 0.1})
    counted = []
    for share in (0.0, 0.5):
        clockwork = Clockwork(once=300, an_epoch=4, a_slice=1, a_prediction=20)
        monkeypatch.setattr(
            "detect.training.budget.time.monotonic", lambda clock=clockwork: clock.now
        )
        asked = settings.model_copy(update={"hard_negatives": share})
        counted.append(epochs_within(20_000, lambda clock=clockwork: clock, *parts, asked))  # type: ignore[misc]
    without = sum(not len(truth) for truth in parts[0].truth)
    drawn = round(0.1 * (len(parts[0]) - without))
    assert 2 <= drawn < without < len(parts[0]) - without + drawn
    epoch = 4 + len(parts[0]) - without + drawn + len(parts[1])
    assert counted[0] - counted[1] == pytest.approx(2 * 20 * without / epoch, abs=1)
    probe = 13  # a slice to warm up, and those of the longer probe
    left = 20_000 * 0.95 - 20 * (probe + len(parts[1]))
    assert counted[0] == pytest.approx(left / epoch, rel=0.05)


def test_a_budget_too_short_is_refused(tiny_dataset: Path, tmp_path: Path) -> None:
    settings = TrainSettings(**SETTINGS.model_dump() | {"budget": "0.5s"})
    with pytest.raises(InputError, match="budget: is too short: an epoch takes"):
        train("yolov8n", tiny_dataset, out=tmp_path / "run", settings=settings)
    assert list(tmp_path.iterdir()) == []


def test_training_within_a_budget(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def few(*given: Any) -> int:
        """Count for this machine, however busy it is, and train no hour."""
        counted.append(epochs_within(*given))
        return min(counted[0], 3)

    monkeypatch.setattr("detect.workflows.train.epochs_within", few)
    settings = TrainSettings(**SETTINGS.model_dump() | {"budget": "1h"})
    run = train("yolov8n", tiny_dataset, out=tmp_path / "run", settings=settings)
    assert counted[0] > 3
    done = read_model_card(run.bundle).training
    with (run.bundle / "history.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == done["epochs"] == 3
    assert done["budget"] == "1h"


def test_a_resumed_run_keeps_its_epochs(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainSettings(**SETTINGS.model_dump() | {"budget": "25s"})
    calls: list[int] = []

    def count(*_: object) -> int:
        calls.append(3)
        return 3

    def stop(row: dict[str, int]) -> str:
        if row["epoch"] == 2:
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr("detect.workflows.train.epochs_within", count)
    given = {"data": tiny_dataset, "out": tmp_path / "run", "settings": settings}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("detect.training.run_state.note", stop)
        train("yolov8n", **given)  # type: ignore[arg-type]
    run = train("yolov8n", resume=True, **given)  # type: ignore[arg-type]
    assert run.card.training["epochs"] == 3
    assert calls == [3]
