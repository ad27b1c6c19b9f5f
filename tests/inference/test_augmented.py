"""Boxes of a mirrored picture come back to their places and are fused with the others."""

from collections.abc import Sequence

import numpy as np

from detect.boxes import Boxes
from detect.inference.augmented import Augmented


class Fixed:
    """Says the same of every picture, which it keeps."""

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
    """Width 100: a box from 10 to 30 is one from 70 to 90 in the mirror."""
    plain = boxes((10, 5, 30, 25, 0, 0.8), (50, 50, 60, 60, 1, 0.4))
    mirrored = boxes((70, 5, 90, 25, 0, 0.6))
    both = Fixed(plain, mirrored)
    image = np.arange(60 * 100, dtype=np.uint8).reshape(60, 100)
    (found,) = Augmented(both).predict([image])
    assert (both.seen[1][0] == np.fliplr(image)).all()
    np.testing.assert_allclose(found.xyxy, [[10, 5, 30, 25], [50, 50, 60, 60]])
    assert found.label.tolist() == [0, 1]
    np.testing.assert_allclose(found.score, [0.7, 0.2])  # what one view of two finds counts half


def test_pictures_of_three_channels_and_of_several_sizes() -> None:
    empty = Fixed(Boxes.empty(), Boxes.empty())
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (8, 9, 3), np.uint8), rng.integers(0, 255, (5, 7), np.uint8)]
    assert [len(own) for own in Augmented(empty).predict(images)] == [0, 0]
    for image, mirrored in zip(images, empty.seen[1], strict=True):
        assert mirrored.shape == image.shape and (mirrored == image[:, ::-1]).all()
        assert mirrored.flags.c_contiguous
