"""Boxes of a mirrored picture come back to their places and are fused with the others."""

from collections.abc import Sequence

import numpy as np

from converters.core.boxes import Boxes
from detect.inference.tta import Augmented


class Fixed:
    """A detector that returns the same boxes for every picture, and keeps the pictures."""

    spec = None

    def __init__(self, *answers: Boxes) -> None:
        self.answers, self.seen = list(answers), []

    def predict(self, images: Sequence[np.ndarray]) -> list[Boxes]:
        self.seen.append(images)
        return [self.answers[len(self.seen) - 1]] * len(images)


def boxes(*rows: tuple[float, ...]) -> Boxes:
    table = np.array(rows, float).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4].astype(int), table[:, 5])


def test_by_hand() -> None:
    """Width 100: a box from 10 to 30 is one from 70 to 90 in the mirror, 20 to 40 in the margin."""
    plain = boxes((10, 5, 30, 25, 0, 0.9), (50, 50, 60, 60, 1, 0.3))
    mirrored = boxes((70, 5, 90, 25, 0, 0.6))
    smaller = boxes((20, 15, 40, 35, 0, 0.6), (0, 0, 9, 9, 1, 0.5))  # one is outside the picture
    views = Fixed(plain, mirrored, smaller)
    image = np.arange(60 * 100, dtype=np.uint8).reshape(60, 100)
    (fused,) = Augmented(views).predict([image])
    assert (views.seen[1][0] == np.fliplr(image)).all()
    large = views.seen[2][0]
    assert large.shape == (80, 120) and (large[10:70, 10:110] == image).all()
    assert large.sum() == image.sum()  # the margin is black
    np.testing.assert_allclose(fused.xyxy, [[10, 5, 30, 25], [50, 50, 60, 60]])
    assert fused.label.tolist() == [0, 1]
    np.testing.assert_allclose(fused.score, [0.7, 0.1])  # what one view of three finds, a third


def test_boxes_at_the_edge_are_cut_there() -> None:
    views = Fixed(Boxes.empty(), Boxes.empty(), boxes((3, 6, 25, 30, 0, 0.9)))
    (fused,) = Augmented(views).predict([np.zeros((50, 100), np.uint8)])
    np.testing.assert_allclose(fused.xyxy, [[0, 0, 15, 20]])


def test_pictures_of_three_channels_and_of_several_sizes() -> None:
    empty = Fixed(Boxes.empty(), Boxes.empty(), Boxes.empty())
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (8, 9, 3), np.uint8), rng.integers(0, 255, (5, 7), np.uint8)]
    assert [len(detections) for detections in Augmented(empty).predict(images)] == [0, 0]
    for image, mirrored, smaller in zip(images, *empty.seen[1:], strict=True):
        assert mirrored.shape == image.shape and (mirrored == image[:, ::-1]).all()
        assert mirrored.flags.c_contiguous and (smaller[1:-1, 1:-1] == image).all()
