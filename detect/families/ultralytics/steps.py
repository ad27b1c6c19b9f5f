"""From pictures to ultralytics' square, and from raw outputs back to boxes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes, nms
from detect.detectors.card import ModelSpec
from detect.detectors.predictor import three_planes
from detect.detectors.protocol import MAX_DETECTIONS, SCORE_FLOOR

NMS_IOU = 0.7  # ultralytics' validation default
CANDIDATES = 30_000  # the best so many of a picture are looked at, as in ultralytics
ROW = 6  # numbers: x1, y1, x2, y2, score, class
PADDING = 114  # grey that ultralytics trains with around and between pictures


@dataclass(frozen=True)
class Placement:
    """The place of a picture in the network's square: size, scale and offset along x and y."""

    size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[int, int]


class UltralyticsSteps:
    """The steps around a YOLO or RT-DETR; see `Steps`."""

    outputs: tuple[str, ...] = ("output0",)  # the name that ultralytics' own exports have

    def __init__(self, spec: ModelSpec) -> None:
        """Prepare for a model."""
        self.spec = spec
        self._rtdetr = is_rtdetr(spec.model)

    def inputs(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Letterbox or stretch."""
        side = self.spec.imgsz
        squares = [put_into_square(image, self._where(image.shape), side) for image in images]
        return three_planes(squares)

    def decode(
        self, raw: Sequence[NDArray[np.float32]], sizes: Sequence[tuple[int, int]]
    ) -> list[Boxes]:
        """Suppress duplicates and map boxes back to the pictures."""
        return [
            to_picture(self._boxes(output), self._where(size), size)
            for output, size in zip(raw[0], sizes, strict=True)
        ]

    def _boxes(self, raw: NDArray[np.float32]) -> Boxes:
        """Turn the output for one picture into boxes in px of the square."""
        if self._rtdetr:
            return _of_queries(raw, self.spec.imgsz)
        # a model that needs no suppression is told by this shape: a row a lesion, best first
        rows = raw.shape[1] == ROW
        boxes = _of_rows(raw) if rows else _of_places(raw, len(self.spec.classes))
        # without bins, as in YOLO26, a distance can be negative: such a box ends before it begins
        return boxes[np.all(boxes.xyxy[:, 2:] >= boxes.xyxy[:, :2], axis=1)]

    def _where(self, size: tuple[int, ...]) -> Placement:
        return placement((size[0], size[1]), self.spec.imgsz, stretch=self._rtdetr)


STEPS = UltralyticsSteps


def is_rtdetr(model: str) -> bool:
    """Recognise a model with RT-DETR's decoder: other losses, no NMS, stretched input."""
    return "rtdetr" in model


def placement(size: tuple[int, int], side: int, stretch: bool) -> Placement:
    """Scale into the square as ultralytics does: YOLO letterboxes, RT-DETR stretches."""
    height, width = size
    ratio = side / max(height, width)
    new_w = side if stretch else min(math.ceil(width * ratio), side)
    new_h = side if stretch else min(math.ceil(height * ratio), side)
    left, top = (side - new_w) // 2, (side - new_h) // 2
    return Placement((new_w, new_h), (new_w / width, new_h / height), (left, top))


def put_into_square(image: NDArray[np.uint8], where: Placement, side: int) -> NDArray[np.uint8]:
    """Put a picture into the square."""
    (width, height), (left, top) = where.size, where.offset
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, where.size, interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    square = np.full((side, side, *image.shape[2:]), PADDING, np.uint8)
    square[top : top + height, left : left + width] = image
    return square


def _of_places(raw: NDArray[np.float32], classes: int) -> Boxes:
    """Suppress duplicates; ``(4 + classes, places)``, of (cx, cy, w, h, score of each class)."""
    place, label = np.nonzero(raw[4 : 4 + classes].T > SCORE_FLOOR)
    score = raw[4 + label, place]
    if len(score) > CANDIDATES:
        best = np.argsort(-score, kind="stable")[:CANDIDATES]
        place, label, score = place[best], label[best], score[best]
    boxes = Boxes(_corners(raw[:4, place].T).astype(float), label, score.astype(float))
    return nms(boxes, NMS_IOU)[:MAX_DETECTIONS]


def _of_rows(rows: NDArray[np.float32]) -> Boxes:
    """Take ``(n, 6)`` of (x1, y1, x2, y2, score, class), best first."""
    kept = rows[rows[:, 4] > SCORE_FLOOR][:MAX_DETECTIONS].astype(float)
    return Boxes(kept[:, :4], kept[:, 5].astype(np.int64), kept[:, 4])


def _of_queries(queries: NDArray[np.float32], side: int) -> Boxes:
    """Take ``(n, 6)`` of (cx, cy, w, h, score, class), as fractions."""
    kept = queries[queries[:, 4] >= SCORE_FLOOR]
    kept = kept[np.argsort(-kept[:, 4], kind="stable")][:MAX_DETECTIONS]
    corners = (_corners(kept[:, :4]) * np.float32(side)).astype(float)
    return Boxes(corners, kept[:, 5].astype(np.int64), kept[:, 4].astype(float))


def _corners(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn (cx, cy, w, h) into (x1, y1, x2, y2)."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def to_picture(boxes: Boxes, where: Placement, size: tuple[int, int]) -> Boxes:
    """Map boxes from the square to px of the picture, cut at its edges."""
    scale = np.array(where.scale * 2)
    offset = np.array(where.offset * 2)
    limit = np.array([size[1], size[0]] * 2, dtype=float)
    xyxy = np.clip((boxes.xyxy - offset) / scale, 0, limit)
    return Boxes(xyxy, boxes.label, np.clip(boxes.score, 0, 1))
