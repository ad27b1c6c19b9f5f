"""The slices of an epoch."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from converters.conversion.convert import convert
from converters.dataset.folder import open_dataset
from converters.dataset.split import load_split
from detect.families.ultralytics import training
from detect.training.sampler import EpochSlices
from detect.workflows.train import train
from tests.helpers.splits import split_of
from tests.helpers.tiny import SETTINGS, make_scans, recipe

COUNTS = [0, 2, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0]
WITH = {1, 4, 8}


@pytest.mark.parametrize(("negatives", "drawn"), [(0, 0), (1, 3), (2, 6), (2.5, 8), (1e6, 9)])
def test_all_with_a_lesion_and_so_many_without(negatives: float, drawn: int) -> None:
    slices = EpochSlices(split_of(COUNTS), negatives, 1, seed=0)
    for epoch in range(20):
        chosen = slices.of(epoch).tolist()
        assert len(chosen) == len(slices) == len(WITH) + drawn
        assert chosen == sorted(set(chosen))
        assert set(chosen) >= WITH


def test_all_negatives_have_their_turn_and_alike() -> None:
    slices = EpochSlices(split_of(COUNTS), 1, 1, seed=0)
    seen = Counter(k for epoch in range(3000) for k in slices.of(epoch).tolist())
    without = [seen[k] for k in range(len(COUNTS)) if k not in WITH]
    assert len(without) == 9
    # each is drawn with probability 1/3: 1000 of 3000 times, give or take 26
    assert all(abs(n - 1000) < 130 for n in without)


def test_drawn_from_the_seed_and_the_epoch() -> None:
    sampler, same, other = (EpochSlices(split_of(COUNTS), 1, 1, seed=s) for s in (0, 0, 1))
    drawn = [sampler.of(epoch).tolist() for epoch in range(10)]
    assert drawn == [same.of(epoch).tolist() for epoch in reversed(range(10))][::-1]
    assert drawn != [other.of(epoch).tolist() for epoch in range(10)]
    assert len(set(map(tuple, drawn))) > 5


@pytest.mark.parametrize(("synthetic", "grown"), [(0, 0), (0.5, 1), (1, 2), (1e6, 4)])
def test_made_up_lesions_do_not_crowd_out_real_ones(synthetic: float, grown: int) -> None:
    # two slices with real lesions (1, 3), four with made-up ones, six with none
    counts = [0, 2, 0, 1, 1, 1, 3, 1, 0, 0, 0, 0]
    split = split_of(counts, synthetic={4, 5, 6, 7, 8})
    slices = EpochSlices(split, 1, synthetic, seed=0)
    seen: Counter[int] = Counter()
    for epoch in range(40):
        chosen = slices.of(epoch).tolist()
        assert len(chosen) == len(slices) == min(2 * (2 + grown), 2 + grown + 6)
        assert {1, 3} <= set(chosen)
        assert len({4, 5, 6, 7} & set(chosen)) == grown
        assert len(set(chosen)) == len(chosen)
        seen.update(chosen)
    assert {k for k in seen if 4 <= k <= 7} == ({4, 5, 6, 7} if grown else set())


def test_where_no_lesion_is_real_all_are_seen() -> None:
    slices = EpochSlices(split_of([1, 0, 2, 0], synthetic={0, 1, 2, 3}), 0, 0, seed=0)
    assert slices.of(0).tolist() == [0, 2]


def test_where_there_are_fewer_nothing_is_drawn() -> None:
    slices = EpochSlices(split_of([1, 0, 1, 1]), 1, 1, seed=0)
    assert [slices.of(epoch).tolist() for epoch in range(3)] == [[0, 1, 2, 3]] * 3


def test_a_share_of_none_draws_as_ever() -> None:
    slices = EpochSlices(split_of(COUNTS), 1, 1, seed=4)
    without = [k for k in range(len(COUNTS)) if k not in WITH]
    for epoch in range(5):
        drawn = np.random.default_rng([4, epoch, 1]).choice(without, 3, replace=False)
        assert slices.of(epoch).tolist() == sorted([*WITH, *drawn.tolist()])


def test_ultralytics_reads_what_was_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ultralytics reads the epoch's slices: four for a mosaic, and at the end each once."""
    scans = make_scans(tmp_path / "scans", cases=6)
    data = tmp_path / "dataset"
    convert(recipe(tmp_path), scans, data, split=(4, 1, 1), negatives="all")
    split = load_split(open_dataset(data), "train")
    read: list[list[int]] = []
    seed_epoch = training._Loop.seed_epoch
    load_image = training.YOLOSlices.load_image

    def begin(self: training._Loop) -> None:
        seed_epoch(self)
        read.append([])

    def load(self: object, i: int, *more: object) -> object:
        read[-1].append(i)
        return load_image(self, i, *more)

    monkeypatch.setattr(training._Loop, "seed_epoch", begin)
    monkeypatch.setattr(training.YOLOSlices, "load_image", load)
    settings = SETTINGS.model_copy(update={"negatives": 0.0, "batch": 4, "epochs": 5})
    train("yolov8n", data, out=tmp_path / "run", settings=settings)
    expected = EpochSlices(split, 0, 1, settings.seed)
    assert len(expected) < len(split)
    for epoch, indices in enumerate(read[:4]):
        assert len(indices) == 4 * len(expected)
        assert set(indices) == set(expected.of(epoch).tolist())
    assert sorted(read[4]) == expected.of(4).tolist()
