"""The side of the input that the lesions need."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.dataset.split import Split
from detect.detectors.card import read_model_card
from detect.detectors.settings import TrainSettings, resolve_settings
from detect.training.image_size import CELL, picture_size, size_for_lesions
from detect.workflows.train import train
from tests.helpers.splits import split_of
from tests.helpers.tiny import SETTINGS

Sides = list[tuple[float, float]]


def split_with(sizes: list[tuple[int, int]], sides: list[Sides]) -> Split:
    """Slices of so many rows and columns, with boxes of so many columns and rows; a case each."""
    truth = [
        Boxes(
            np.array([[10, 20, 10 + w, 20 + h] for w, h in boxes], float).reshape(-1, 4),
            np.zeros(len(boxes), np.int64), np.ones(len(boxes)),
        )
        for boxes in sides
    ]  # fmt: skip
    blank = split_of([0] * len(sizes), [(f"case{k}", 0) for k in range(len(sizes))])
    return dataclasses.replace(blank, sizes=sizes, truth=truth)


def test_a_box_of_a_cell_holds_a_middle_wherever_it_lies_and_a_smaller_one_may_not() -> None:
    middles = np.arange(0, 100, CELL) + CELL / 2
    starts = np.arange(0, 50, 0.125)

    def holds(side: float) -> bool:
        return all(((middles >= x) & (middles <= x + side)).any() for x in starts)

    assert holds(CELL) and not holds(CELL - 0.25)


def test_three_of_four_boxes_span_a_cell() -> None:
    boxes: Sides = [(3, 9), (20, 6), (7, 30), (50, 40)]  # the shorter sides: 3, 6, 7 and 40 px
    side, reason = size_for_lesions(split_with([(256, 200)], [boxes]), {"case0": (1.5, 1.5)})
    assert side == 352  # 6 px must become 8 or more: 256 · 8 / 6 = 341.3, and 352 = 11 · 32
    # its 6 rows are 9 mm, and 6 · 352 / 256 px
    assert reason == "25% of the training boxes are finer than one of 9.0 mm, which spans 8.2 px"


@pytest.mark.parametrize(
    ("rows", "short", "side", "limit"),
    [
        (256, 20.0, 256, ""),  # they are large enough: nothing is made smaller
        (512, 12.9, 512, ""),  # 9 mm at 0.7 mm a pixel
        (512, 7.1, 608, ""),  # 5 mm: 577 px would do
        (512, 4.0, 640, "640 px"),
        (1024, 30.0, 640, ""),
        (256, 3.0, 512, "2 times the pictures' size"),
        (250, 3.0, 480, "2 times the pictures' size"),
    ],
)
def test_no_less_than_the_pictures_and_no_more_than_helps(
    rows: int, short: float, side: int, limit: str
) -> None:
    split = split_with([(rows, rows - 50)], [[(short, 90)] * 5])
    chosen, reason = size_for_lesions(split, {"case0": (0.7, 0.7)})
    assert (chosen, reason.partition("the most that is taken is ")[2]) == (side, limit)


def test_the_smallest_that_does_by_trying_all() -> None:
    """Scans of many sizes and spacings; the boxes' mm are those of the pictures' own pixels."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        sizes = [(int(a), int(b)) for a, b in rng.integers(100, 700, (6, 2))]
        sides = [
            [(w, h) for w, h in rng.uniform(2, 40, (int(n), 2))] for n in rng.integers(0, 4, 6)
        ]
        if not any(sides):
            continue
        pixel_mm = {f"case{k}": tuple(rng.uniform(0.5, 2, 2).tolist()) for k in range(6)}
        split = split_with(sizes, sides)
        chosen, reason = size_for_lesions(split, pixel_mm)

        def spans(side: int) -> list[float]:
            return [
                min(box) * side / max(size)
                for size, boxes in zip(sizes, sides, strict=True)  # noqa: B023
                for box in boxes
            ]

        lowest = picture_size(split)
        most = max(lowest, min(640, 2 * max(max(size) for size in sizes) // 32 * 32))
        tried = [s for s in range(lowest, most + 1, 32) if np.mean(np.array(spans(s)) >= 8) >= 0.75]
        assert chosen == (tried[0] if tried else most)
        assert bool(tried) == ("but the most" not in reason)
        mm = float(reason.split("one of ")[1].split(" mm")[0])
        all_mm = [
            (w * x if w <= h else h * y)
            for (x, y), case_sides in zip(pixel_mm.values(), sides, strict=True)
            for w, h in case_sides
        ]
        assert min(abs(mm - length) for length in all_mm) <= 0.0501


def test_a_side_that_is_given_wins() -> None:
    sides = [resolve_settings(TrainSettings(), {"imgsz": given}).imgsz for given in ("352", "auto")]
    assert sides == [352, "auto"]
    for wrong in ("small", "31", "4097"):
        with pytest.raises(InputError, match="imgsz"):
            resolve_settings(TrainSettings(), {"imgsz": wrong})


def test_a_model_keeps_its_reason(tiny_dataset: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"imgsz": "auto", "epochs": 1})
    run = train("yolov8n", tiny_dataset, out=tmp_path / "run", settings=settings)
    card = read_model_card(run.bundle)
    assert card.spec.imgsz == 64 and card.training["imgsz"] == "auto"
    assert "mm, which spans" in card.imgsz_reason and "the most" not in card.imgsz_reason
