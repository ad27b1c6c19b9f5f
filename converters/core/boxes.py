"""Hold the boxes of one image, and compare and thin them."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Boxes:
    """Boxes on one image, checked when they are made.

    >>> Boxes([[10, 10, 20, 25]], [0], [0.9])
    Boxes(xyxy=array([[10., 10., 20., 25.]]), label=array([0]), score=array([0.9]))

    Attributes:
        xyxy: ``(n, 4)`` float64 px, corners (x1, y1, x2, y2): a box over the whole pixels of
            columns a…b reaches from x1 = a to x2 = b + 1, as in COCO (width = x2 - x1).
        label: ``(n,)`` int64 class index, from 0.
        score: ``(n,)`` float64 confidence in [0, 1]; all ones for ground truth.

    Raises:
        ValueError: shapes that do not belong together, a number that is not finite, a label that
            is not whole, or a box that ends before it begins.
    """

    xyxy: NDArray[np.float64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Turn lists and other types into arrays, and check them."""
        xyxy, score = (np.asarray(values, np.float64) for values in (self.xyxy, self.score))
        label = np.asarray(self.label)
        n = len(score) if score.ndim else -1
        if not n and not xyxy.size and not label.size:
            xyxy, label = xyxy.reshape(0, 4), label.astype(np.int64)
        if label.dtype.kind not in "iu":
            raise ValueError(f"label: whole numbers are needed, not {label.dtype}")
        for name, values, shape in (("xyxy", xyxy, (n, 4)), ("label", label, (n,))):
            if values.shape != shape:
                raise ValueError(f"{name}: shape {values.shape} beside score {score.shape}")
        if not np.isfinite(score).all():
            raise ValueError("score: not every number is finite")
        if not (np.isfinite(xyxy).all() and (xyxy[:, 2:] >= xyxy[:, :2]).all()):
            raise ValueError("xyxy: a box is not finite, or ends before it begins")
        _fill(self, xyxy, label.astype(np.int64, copy=False), score)

    def __len__(self) -> int:
        """Count the boxes."""
        return len(self.label)

    def __getitem__(self, index: NDArray[np.generic] | slice) -> "Boxes":
        """Select boxes by mask, indices or slice."""
        chosen = object.__new__(Boxes)  # a part of what was checked needs no check
        _fill(chosen, self.xyxy[index], self.label[index], self.score[index])
        return chosen

    @staticmethod
    def empty() -> "Boxes":
        """Return no boxes."""
        return Boxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))


def _fill(
    boxes: Boxes,
    xyxy: NDArray[np.float64],
    label: NDArray[np.int64],
    score: NDArray[np.float64],
) -> None:
    """Set the fields of a frozen instance."""
    vars(boxes).update(xyxy=xyxy, label=label, score=score)


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the intersection over union of every box of `a` with every one of `b`.

    Args:
        a: ``(n, 4)`` corners x1, y1, x2, y2 in px.
        b: ``(m, 4)``, likewise.

    Returns:
        ``(n, m)``, from 0 to 1; 0 where both are empty.
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None] - common
    return np.asarray(common / np.where(union > 0, union, 1))


def nms(boxes: Boxes, overlap: float) -> Boxes:
    """Drop a box that overlaps a surer one of its class by more than an IoU; best score first."""
    boxes = boxes[np.argsort(-boxes.score, kind="stable")]
    if not len(boxes):
        return boxes
    corner_and_size = boxes.xyxy - np.pad(boxes.xyxy[:, :2], [(0, 0), (2, 0)])
    kept = cv2.dnn.NMSBoxesBatched(
        corner_and_size.tolist(), boxes.score.tolist(), boxes.label.tolist(), -1, overlap
    )
    return boxes[np.asarray(kept, np.int64)]
