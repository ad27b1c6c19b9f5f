import numpy as np
import pytest

from converters.core.boxes import Boxes
from converters.core.drawing import CLASS_COLOURS, SHORTEST_SIDE, TRUTH, draw

NAMES = ["a very long class name of a lesion", "b"]


def boxes(*rows: tuple[float, ...]) -> Boxes:
    table = np.array(rows, dtype=float).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4].astype(np.int64), table[:, 5])


def touched(picture: np.ndarray, background: np.ndarray) -> np.ndarray:
    return (picture != background).any(axis=2)


@pytest.mark.parametrize("shape", [(64, 64), (48, 160), (200, 90), (700, 650)])
def test_size_is_a_whole_multiple_and_large_enough(shape: tuple[int, int]) -> None:
    picture = draw(np.zeros(shape, np.uint8), Boxes.empty(), NAMES)
    factor = picture.shape[0] // shape[0]
    assert picture.shape == (shape[0] * factor, shape[1] * factor, 3)
    assert min(picture.shape[:2]) >= SHORTEST_SIDE > min(shape) * (factor - 1)


def test_truth_is_green_on_the_outline_of_its_box_and_a_prediction_in_its_class_colour() -> None:
    image = np.zeros((640, 640), np.uint8)
    truth, detections = boxes((100, 120, 200, 260, 1, 1)), boxes((400, 50, 500, 150, 0, 0.9))
    picture = draw(image, detections, NAMES, truth)
    for x, y, colour in (
        (150, 120, TRUTH), (100, 200, TRUTH), (200, 200, TRUTH), (150, 260, TRUTH),
        (450, 50, CLASS_COLOURS[0]), (400, 100, CLASS_COLOURS[0]),
    ):  # fmt: skip
        assert tuple(picture[y, x]) == colour
    assert not picture[130:250, 110:190].any()  # the lesion itself is not painted over


@pytest.mark.parametrize("corner", [(0, 0), (630, 0), (0, 630), (630, 630), (315, 315)])
@pytest.mark.parametrize("below", [True, False])
def test_writing_stays_inside(corner: tuple[int, int], below: bool) -> None:
    """A box at the edge has as much writing as one in the middle."""
    x, y = corner
    box = boxes((x, y, x + 10, y + 10, 0, 0.5))
    middle = boxes((300, 300, 310, 310, 0, 0.5))
    image = np.zeros((640, 640), np.uint8)

    def ink(labelled: Boxes) -> int:
        drawn = draw(
            image, Boxes.empty() if below else labelled, NAMES, labelled if below else None
        )
        return int(touched(drawn, np.zeros_like(drawn)).sum())

    assert ink(box) > 0.8 * ink(middle)  # part of the outline may lie outside
