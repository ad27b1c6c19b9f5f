"""Hard negatives: the slices without a lesion that are drawn more often."""

import csv
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.conversion.convert import convert
from converters.core.boxes import Boxes
from converters.dataset.folder import open_dataset
from converters.dataset.split import Split, load_split
from detect.detectors.card import read_model_card
from detect.detectors.registry import create_detector
from detect.training.mining import mine, mining_epochs
from detect.training.sampler import EpochSlices
from detect.workflows.train import train
from tests.helpers.interrupted import Killed, stop_after
from tests.helpers.splits import split_of
from tests.helpers.tiny import SETTINGS, make_scans, recipe

# Case a has lesions on slices 3 and 4, b on its slice 0; a's slice 6 is not in the dataset.
PLACES = [("a", z) for z in (0, 1, 2, 3, 4, 5, 7, 8)] + [("b", z) for z in range(6)]
COUNTS = [0, 0, 0, 1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0]
WITH, NEAR = {3, 4, 8}, {2, 5, 9}
FAR = {0, 1, 6, 7, 10, 11, 12, 13}


def one_box(score: float) -> Boxes:
    return Boxes(np.array([[0.0, 0, 1, 1]]), np.zeros(1, np.int64), np.array([score]))


def test_before_the_network_is_asked_those_next_to_a_lesion_are_hard() -> None:
    split = split_of(COUNTS, PLACES)
    for epoch in range(20):
        assert set(EpochSlices(split, 1, 1, 0, 1.0).of(epoch).tolist()) == WITH | NEAR
        chosen = EpochSlices(split, 2, 1, 0, 0.5).of(epoch).tolist()  # six, three of them hard
        assert len(set(chosen)) == 9 and set(chosen) >= WITH | NEAR
        chosen = (
            EpochSlices(split, 2, 1, 0, 1.0).of(epoch).tolist()
        )  # six, and three are all there is
        assert len(set(chosen)) == 9 and set(chosen) >= WITH | NEAR


def test_the_surest_false_positives_are_drawn_beside_those() -> None:
    slices = EpochSlices(split_of(COUNTS, PLACES), 2, 1, 0, 0.5)
    asked = np.array([0, 1, 2, 6, 10, 13])
    slices.keep_hardest(asked, np.array([0.2, 0.9, 0.1, 0.0, 0.4, 0.3]))
    assert slices.hardest.tolist() == [1, 10, 13]
    seen = Counter(k for epoch in range(2000) for k in slices.of(epoch).tolist())
    pool = NEAR | {1, 10, 13}
    # three of the six hard ones are drawn, and three of the remaining eight to eleven: of eleven
    # without a lesion, with three taken, each of the rest has a chance of 3/8
    chance = {k: 0.5 + 0.5 * 3 / 8 if k in pool else 3 / 8 for k in NEAR | FAR}
    for k, p in chance.items():
        assert abs(seen[k] - 2000 * p) < 5 * (2000 * p * (1 - p)) ** 0.5, k
    assert all(seen[k] == 2000 for k in WITH)


def test_what_shows_no_false_positive_is_not_hard() -> None:
    slices = EpochSlices(split_of(COUNTS, PLACES), 2, 1, 0, 1.0)
    slices.keep_hardest(np.array([0, 1, 6]), np.array([0.0, 0.2, 0.0]))
    assert slices.hardest.tolist() == [1]


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, set()), (2, {1}), (3, {1, 2}), (15, {5, 10}), (100, {33, 66})],
)
def test_mined_is_after_a_third_and_two_thirds(epochs: int, expected: set[int]) -> None:
    split = split_of(COUNTS, PLACES)
    assert mining_epochs(EpochSlices(split, 1, 1, 0, 0.5), epochs) == expected
    assert mining_epochs(EpochSlices(split, 1, 1, 0, 0.0), epochs) == set()
    assert mining_epochs(EpochSlices(split, 1e6, 1, 0, 0.5), epochs) == set()  # all are seen anyway


def test_asked_is_about_slices_without_a_lesion_and_no_more_than_an_epoch_has() -> None:
    split = split_of(COUNTS, PLACES)
    slices = EpochSlices(split, 1, 1, 0, 1.0)
    asked: list[list[int]] = []

    def find(part: Split) -> list[Boxes]:
        asked.append(part.image_ids)  # the fake split's ids are its indices
        return [one_box(0.5) if k % 2 else one_box(0.4) for k in part.image_ids]

    for epoch in range(30):
        mine(slices, split, epoch, find)
        assert len(asked[-1]) == len(set(asked[-1])) == len(slices) == 6
        odd, even = (sorted(k for k in asked[-1] if k % 2 == rest) for rest in (1, 0))
        assert slices.hardest.tolist() == sorted((odd + even)[:3])
    assert {k for scores in asked for k in scores} == NEAR | FAR
    mine(slices, split, 0, find)
    assert asked[-1] == asked[0]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mining")
    scans = make_scans(folder / "scans", cases=4)
    convert(recipe(folder), scans, folder / "dataset", split=(2, 1, 1), negatives="all")
    return folder / "dataset"


@pytest.mark.parametrize("model", ["yolov8n", "deim-n"])
def test_the_averaged_network_is_asked_and_a_resumed_run_goes_on_alike(
    model: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scores are those of the weights that the epoch before has left."""
    settings = SETTINGS.model_copy(
        update={"epochs": 3, "batch": 4, "negatives": 0.25, "hard_negatives": 0.5}
    )
    split = load_split(open_dataset(dataset), "train")
    keep, draw = EpochSlices.keep_hardest, EpochSlices.of
    drawn: list[tuple[int, list[int]]] = []
    mined: list[Any] = []

    def spy_keep(self: EpochSlices, candidates: Any, surest: Any) -> None:
        last = next(tmp_path.glob("*.partial/weights/last.safetensors")).read_bytes()
        mined.append((candidates, surest, last))
        keep(self, candidates, surest)

    def spy_draw(self: EpochSlices, epoch: int) -> Any:
        chosen = draw(self, epoch)
        drawn.append((epoch, chosen.tolist()))
        return chosen

    monkeypatch.setattr(EpochSlices, "keep_hardest", spy_keep)
    monkeypatch.setattr(EpochSlices, "of", spy_draw)
    given: Any = {"data": dataset, "settings": settings}
    whole = train(model, out=tmp_path / "whole", **given).bundle
    assert len(mined) == 2
    spec = read_model_card(whole).spec
    for number, (candidates, surest, weights) in enumerate(mined):
        (tmp_path / f"{number}.safetensors").write_bytes(weights)
        network = type(create_detector(spec, "cpu")).load(
            spec, tmp_path / f"{number}.safetensors", "cpu"
        )
        maxima = [network.predict([split.read(k)])[0].score.max(initial=0) for k in candidates]
        assert surest == pytest.approx(maxima, abs=1e-4)
        assert not any(len(split.truth[k]) for k in candidates)
    before = drawn.copy()
    drawn.clear()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_after(patch, 2)
        train(model, out=tmp_path / "killed", **given)
    resumed = train(model, out=tmp_path / "killed", resume=True, **given).bundle
    for epoch in range(3):
        assert [slices for e, slices in drawn if e == epoch][-1] == dict(before)[epoch]
    rows = [_scores(bundle / "history.csv") for bundle in (whole, resumed)]
    assert rows[0] == rows[1] and len(rows[0]) == 3


def _scores(history: Path) -> list[dict[str, str]]:
    with history.open(encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


ASKING = """
import numpy as np
import torch
from detect.training import distributed as processes
from converters.core.boxes import Boxes
from converters.dataset.split import Split
from detect.training.sampler import EpochSlices
from detect.training.mining import mine

counts = [1, 0, 0, 0, 0, 0, 0, 1, 1]
truth = [Boxes(np.zeros((n, 4)), np.zeros(n, int), np.ones(n)) for n in counts]
column = list(range(9))
split = Split("train", *[column] * 7, truth, *[column] * 3, [False] * 9)
slices = EpochSlices(split, 1, 1, 0, 1.0)
processes.join()
def find(part):
    assert processes.is_first(), "the others wait"
    return [Boxes(np.zeros((1, 4)), np.zeros(1, int), np.array([k / 10])) for k in part.image_ids]
mine(slices, split, 1, find)
print(slices.hardest.tolist())
torch.distributed.destroy_process_group()
"""


def test_several_processes_draw_by_what_the_first_one_found() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ASKING], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | shared | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
            encoding="utf-8", cwd=Path(__file__).parents[3],
        )
        for rank in (0, 1)
    ]  # fmt: skip
    done = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], done
    assert [out.strip() for out, _ in done] == ["[4, 5, 6]"] * 2
