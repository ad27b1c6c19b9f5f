"""Count the epochs that fit into a wall-clock budget, by timing a few steps."""

import csv
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from converters.core.errors import ParameterError
from converters.core.progress import SilentReporter, report_to
from converters.dataset.split import Split
from detect.detectors.base import Detector, TrainingRun
from detect.detectors.settings import TrainSettings
from detect.evaluation.detect_split import detect_split
from detect.training.mining import STAGES
from detect.training.sampler import EpochSlices

PROBES = (2, 6)  # batches: two lengths tell what a slice costs from what an epoch costs
EVERY = 1e6  # slices of a kind for each lesion slice: all that a probe has
RESERVE = 0.05  # of the budget, for what is slower later than at first, such as mosaics


def epochs_within(
    seconds: float,
    create: Callable[[], Detector],
    train: Split,
    val: Split,
    settings: TrainSettings,
) -> int:
    """Count the epochs that fit, the scoring of val after the last one included.

    A few steps are trained on a part of the slices, twice as an epoch, whose second shows the pace:
    the first pays for what is done once. The number then decides the schedule, and `--epochs` with
    it repeats the training on any machine.

    Args:
        seconds: that there are, the timing included.
        create: builds the detector; what the probes learn is thrown away.
        train, val, settings: of the training.

    Raises:
        InputError: not one epoch fits.
    """
    began = time.monotonic()
    slices = EpochSlices.for_training(train, settings)
    whole = len(slices)
    sizes, times = [], []
    for batches in PROBES:
        size = min(batches * settings.batch, whole)
        scored = _part(val, max(round(len(val) * size / whole), 1))
        sizes.append(size)
        detector, part = create(), _part(train, size)
        times.append(_second_epoch(detector, part, scored, settings))
        if size == whole:
            break
    if len(times) == 1:
        epoch = times[0]
    else:
        slope = max((times[1] - times[0]) / (sizes[1] - sizes[0]), 0.0)
        epoch = times[1] + slope * (whole - sizes[1])
    predicted = len(val)  # by the finished network, to choose the operating point
    if slices.hard:
        predicted += (STAGES - 1) * len(slices.candidates(0))
    predicting = predicted * _predicting(detector, part)
    left = seconds * (1 - RESERVE) - predicting - (time.monotonic() - began)
    epochs = int(left / epoch)
    if epochs < 1:
        raise ParameterError(
            "budget",
            f"is too short: an epoch takes {epoch:.0f} s here, and getting started "
            f"{time.monotonic() - began:.0f} s",
            "give more, or use a smaller --imgsz or model",
        )
    return epochs


def _part(split: Split, size: int) -> Split:
    """Slices spread evenly over a split, since those of a case lie together."""
    if size >= len(split):
        return split
    return split.select(np.linspace(0, len(split) - 1, size).round().astype(int).tolist())


def _predicting(detector: Detector, part: Split) -> float:
    """Time a slice, s, after one that pays for what is done once."""
    with report_to(SilentReporter()):
        detect_split(detector, part.select([0]))
        began = time.monotonic()
        detect_split(detector, part)
    return (time.monotonic() - began) / len(part)


def _second_epoch(detector: Detector, train: Split, val: Split, settings: TrainSettings) -> float:
    probe = settings.model_copy(
        update={"epochs": 2, "patience": 0, "negatives": EVERY, "synthetic": EVERY}
    )
    with tempfile.TemporaryDirectory(prefix="detect-budget-") as folder:
        detector.train(TrainingRun(train, val, probe, Path(folder)))
        with (Path(folder) / "history.csv").open(encoding="utf-8", newline="") as file:
            first, second = (float(row["seconds"]) for row in csv.DictReader(file))
    return second - first
