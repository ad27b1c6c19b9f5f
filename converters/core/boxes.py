"""Hold the boxes of one image, and compare and thin them."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Boxes:
    """Boxes on one image.

    Attributes:
        xyxy: ``(n, 4)`` float64 px, corners (x1, y1, x2, y2): a box over the whole pixels of
            columns a…b reaches from x1 = a to x2 = b + 1, as in COCO (width = x2 - x1).
        label: ``(n,)`` int64 class index, from 0.
        score: ``(n,)`` float64 confidence in [0, 1]; all ones for ground truth.
    """

    xyxy: NDArray[np.float64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]

    def __len__(self) -> int:
        """Count the boxes."""
        return len(self.label)

    def __getitem__(self, index: NDArray[np.generic] | slice) -> "Boxes":
        """Select boxes by mask, indices or slice."""
        return Boxes(self.xyxy[index], self.label[index], self.score[index])

    @staticmethod
    def empty() -> "Boxes":
        """Return no boxes."""
        return Boxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))


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
