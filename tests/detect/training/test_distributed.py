"""Training in several processes, and the requests that it refuses."""

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.core.errors import InputError
from detect.detectors.device import choose_device
from detect.detectors.registry import load_detector
from detect.training.loop.slices import Batches
from detect.training.sampler import EpochSlices
from tests.helpers.splits import split_of
from tests.helpers.tiny import make_dataset


@pytest.mark.parametrize("slices", [1, 5, 16, 23])
def test_processes_share_out_what_one_would_take(slices: int) -> None:
    def order(rank: int, world: int) -> list[list[int]]:
        batches = Batches(EpochSlices(split_of([1] * slices), 1, 1, 3), 4, rank, world)
        batches.epoch = 7
        return [[index for _, index in batch] for batch in batches]

    alone, shared = order(0, 1), [order(rank, 2) for rank in (0, 1)]
    assert len(alone) == len(shared[0]) == len(shared[1]) == math.ceil(slices / 4)
    for whole, first, second in zip(alone, *shared, strict=True):
        assert set(first) | set(second) == set(whole)
        assert len(whole) == 1 or not set(first) & set(second)
    assert sorted(index for batch in alone for index in batch) == list(range(slices))


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, cases=3, split=(1, 1, 1))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "detect", "train", "--model", "deim-n", "--data", str(dataset)]
    command += ["--imgsz", "64", "--epochs", "2", "--batch", "2", "--device", "cpu", "--out", "run"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Model: run") == 1  # the first process speaks for both
    with (tmp_path / "run" / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(np.isfinite(float(row["train/loss"])) for row in rows)
    picture = np.zeros((48, 64), np.uint8)
    assert len(load_detector(tmp_path / "run", "cpu").predict([picture])) == 1
    assert not (tmp_path / "run.partial").exists()


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="there are several GPUs")
def test_several_gpus_that_are_not_there(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "detect", "train", "--model", "deim-n", "--device", "0,1"],
        cwd=tmp_path, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "is not there" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_only_training_takes_several_devices() -> None:
    with pytest.raises(InputError, match="only `detect train` uses several"):
        choose_device("0,1")
