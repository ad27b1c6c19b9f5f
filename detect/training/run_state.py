"""The state of a training run, for every loop: history, best epoch, early stopping, resuming."""

import csv
import io
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.core.files import write_text
from converters.dataset.split import Split
from detect.detectors.base import Detector, TrainingRun
from detect.detectors.checkpoints import save_network
from detect.evaluation.metrics import Metrics, evaluate
from detect.training.distributed import world
from detect.training.mining import mine, mining_epochs
from detect.training.sampler import EpochSlices

PREDICT_BATCH = 16


class RunState:
    """The state of a training run.

    Attributes:
        run: what is trained on, and where.
        detector: what is trained.
        slices: of each epoch.
        history: rows of `history.csv`, an epoch each.
        best: highest val mAP50 so far; -1 before there is any.
        best_epoch: the epoch, from 0, that patience is counted from.
        stopped: whether the training has come to its end.
    """

    def __init__(
        self,
        run: TrainingRun,
        detector: Detector,
        slices: EpochSlices,
        later_ties: bool = False,
    ) -> None:
        """Begin a run.

        Args:
            run, detector, slices: as the attributes.
            later_ties: as ultralytics does, keep the later of two epochs that are equally good, and
                let patience begin anew with each epoch until there is a hit.
        """
        self.run, self.detector, self.slices = run, detector, slices
        self.later_ties = later_ties
        self.history: list[dict[str, Any]] = []
        self.best, self.best_epoch, self.stopped = -1.0, 0, False
        self._seconds_before = 0.0
        self.start_clock()

    @property
    def checkpoint(self) -> Path:
        """The file that an interrupted run is resumed from."""
        return self.run.weights / "resume.pt"

    def start_clock(self) -> None:
        """Count the seconds of the run from here on."""
        self._began = time.monotonic()

    def seconds(self) -> float:
        """Return how long the run has trained, the parts before an interruption included, s."""
        return self._seconds_before + time.monotonic() - self._began

    def find(self, network: torch.nn.Module, split: Split) -> list[Boxes]:
        """Find boxes on the slices of a split with a copy of the network."""
        boxes: list[Boxes] = []
        with torch.autocast(self.detector.device.type, enabled=False):
            for images in split.batches(PREDICT_BATCH):
                boxes += self.detector.predict_with(network, images)
        return boxes

    def score(self, network: torch.nn.Module) -> Metrics:
        """Score a copy of the network on val by the evaluator of every family."""
        val = self.run.val
        return evaluate(val.truth, self.find(network, val), self.detector.spec.classes)

    def record(
        self, epoch: int, network: torch.nn.Module, reached: float, columns: dict[str, float]
    ) -> None:
        """Write an epoch's weights and its row, and decide whether the training stops.

        Args:
            epoch: from 0.
            network: as scored on val.
            reached: its `fitness`.
            columns: of the row, after the epoch's number and the seconds.
        """
        better, tied = reached > self.best, self.later_ties and reached == self.best
        if better or tied:
            save_network(network, self.run.weights / "best.safetensors")
        save_network(network, self.run.weights / "last.safetensors")
        if better or (tied and not reached):
            self.best_epoch = epoch
        self.best = max(self.best, reached)
        settings = self.run.settings
        self.stopped = (
            epoch + 1 == settings.epochs or 0 < settings.patience <= epoch - self.best_epoch
        )
        self.history.append({"epoch": epoch + 1, "seconds": round(self.seconds(), 2)} | columns)
        write_history(self.run.folder, self.history)

    def report(self) -> None:
        """Tell the progress bar about the last epoch."""
        self.run.advance(note(self.history[-1]))

    def share(self) -> None:
        """Let all processes know what the first one has decided."""
        if world() > 1:
            decided: list[Any] = [self.best, self.best_epoch, self.stopped]
            torch.distributed.broadcast_object_list(decided)
            self.best, self.best_epoch, self.stopped = decided

    def mine(self, epoch: int, network: torch.nn.Module) -> None:
        """Look for hard negatives if an epoch begins by that; see `mining`."""
        if epoch in mining_epochs(self.slices, self.run.settings.epochs):
            mine(self.slices, self.run.train, epoch, lambda split: self.find(network, split))

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, as plain values."""
        return {
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
            "seconds": self.seconds(),
            "hardest": self.slices.hardest.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.history = state["history"]
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.stopped, self._seconds_before = state["stopped"], state["seconds"]
        self.slices.hardest = np.array(state["hardest"], np.int64)
        for row in self.history:
            self.run.advance(note(row))


@contextmanager
def open_checkpoint(path: Path) -> Iterator[dict[str, Any]]:
    """Read the tensors and plain values of `resume.pt`; nothing in it is run.

    Raises:
        InputError: unreadable, or the block that uses the content fails.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of pickles that it refuses
            content = torch.load(path, map_location="cpu", weights_only=True)
        yield content
    except Exception as error:
        raise InputError(path, "cannot be resumed from", "start anew with --overwrite") from error


def val_columns(metrics: Metrics) -> dict[str, float]:
    """Return the columns of an epoch's scores on val."""
    point = metrics.best_f1.mean
    return {
        "val/mAP50": metrics.map50,
        "val/mAP50-95": metrics.map50_95,
        "val/P": point.precision,
        "val/R": point.recall,
    }


def fitness(metrics: Metrics) -> float:
    """Return the number by which epochs are compared: mAP50, or 0 where val holds no lesion."""
    return metrics.map50 if math.isfinite(metrics.map50) else 0.0


def write_history(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write `history.csv` anew; its columns are those of the last row."""
    text = io.StringIO()
    table = csv.DictWriter(text, rows[-1], extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(folder / "history.csv", text.getvalue())


def kept_weights(run: TrainingRun) -> Path:
    """Return the weight file that a training leaves: the last if it ran to its end, else the best.

    Every process may ask, not only the one that keeps the history.
    """
    with (run.folder / "history.csv").open(encoding="utf-8", newline="") as rows:
        whole = sum(1 for _ in csv.DictReader(rows)) == run.settings.epochs
    return run.weights / ("last.safetensors" if whole else "best.safetensors")


def note(row: dict[str, Any]) -> str:
    """Write a row in short, for the progress bar."""
    return f"epoch {row['epoch']}: val mAP50 {row['val/mAP50']:.3f}"
