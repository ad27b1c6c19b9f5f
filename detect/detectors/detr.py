"""From pictures to the square input of a DETR, and from its queries back to boxes."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from detect.detectors.card import ModelSpec
from detect.detectors.predictor import three_planes
from detect.detectors.protocol import MAX_DETECTIONS, SCORE_FLOOR


class QuerySteps:
    """The steps around a DETR with sigmoid scores; see `Steps`."""

    outputs: tuple[str, ...] = ("logits", "boxes")

    def __init__(self, spec: ModelSpec) -> None:
        """Prepare for a model."""
        self.spec = spec

    def inputs(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Stretch into the square."""
        return to_square(images, self.spec.imgsz)

    def decode(
        self, raw: Sequence[NDArray[np.float32]], sizes: Sequence[tuple[int, int]]
    ) -> list[Boxes]:
        """Turn queries into boxes."""
        logits, boxes = raw
        return to_boxes(logits, boxes, sizes)


STEPS = QuerySteps


def to_square(images: Sequence[NDArray[np.uint8]], side: int) -> NDArray[np.float32]:
    """Stretch pictures of any size into a batch ``(n, 3, side, side)`` in [0, 1]."""
    stretched = [
        image
        if image.shape[:2] == (side, side)
        else np.asarray(cv2.resize(image, (side, side)), np.uint8)
        for image in images
    ]
    return three_planes(stretched)


def to_boxes(
    logits: NDArray[np.float32], boxes: NDArray[np.float32], sizes: Sequence[tuple[int, int]]
) -> list[Boxes]:
    """Turn queries into boxes: each pair of query and class is a detection, the best are kept.

    D-FINE adds up a box from the distances of its sides, which can be negative: what ends before it
    begins is no box.

    Args:
        logits: ``(n, queries, classes)``.
        boxes: ``(n, queries, 4)`` (cx, cy, w, h) as fractions of the picture.
        sizes: (height, width) of each picture, px.
    """
    classes = logits.shape[-1]
    scores = sigmoid(logits).reshape(len(logits), -1)
    index = np.argsort(-scores, axis=1, kind="stable")
    half = boxes[..., 2:] / 2
    corners = np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1).clip(0, 1)
    detections = []
    for k, (height, width) in enumerate(sizes):
        is_box = np.all(boxes[k, :, 2:] >= 0, axis=1)  # not true of NaN either
        best = index[k]
        kept = best[(scores[k, best] >= SCORE_FLOOR) & is_box[best // classes]][:MAX_DETECTIONS]
        xyxy = corners[k, kept // classes] * np.array([width, height] * 2, float)
        detections.append(Boxes(xyxy, kept % classes, scores[k, kept].astype(float)))
    return detections


def sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-x)), written so that nothing overflows."""
    return ((1 + np.tanh(x.astype(float) / 2)) / 2).astype(np.float32)
