"""From pictures to ultralytics' square, and from raw outputs back to boxes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torchvision  # noqa: F401  # once it is loaded, ultralytics takes its faster suppression
from numpy.typing import NDArray
from ultralytics.utils.nms import non_max_suppression

from detect.boxes import Boxes
from detect.detectors.planes import three_planes
from detect.detectors.protocol import MAX_DETECTIONS, SCORE_FLOOR
from detect.model_card import ModelSpec

NMS_IOU = 0.7  # ultralytics' validation default
PADDING = 114  # grey that ultralytics trains with around and between pictures


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in the network's square: its size, scale and offset along x and y."""

    size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[int, int]


class UltralyticsSteps:
    """YOLO's or RT-DETR's; see `Steps`."""

    outputs: tuple[str, ...] = ("output0",)  # the name that ultralytics' own exports have

    def __init__(self, spec: ModelSpec) -> None:
        """Prepare for a model."""
        self.spec = spec
        self._rtdetr = is_rtdetr(spec.model)

    def inputs(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Letterbox or stretch."""
        side = self.spec.imgsz
        squares = [place(image, self._where(image.shape), side) for image in images]
        return (three_planes(squares).float() / 255).numpy()

    def decode(self, raw: Sequence[torch.Tensor], sizes: Sequence[tuple[int, int]]) -> list[Boxes]:
        """Suppress duplicates and map boxes back to the pictures."""
        rows = (
            _rtdetr_rows(raw[0], self.spec.imgsz)
            if self._rtdetr
            else _yolo_rows(raw[0], len(self.spec.classes))
        )
        return [
            back(own.cpu().double().numpy(), self._where(size), size)
            for own, size in zip(rows, sizes, strict=True)
        ]

    def _where(self, size: tuple[int, ...]) -> Placement:
        return placement((size[0], size[1]), self.spec.imgsz, stretch=self._rtdetr)


STEPS = UltralyticsSteps


def is_rtdetr(model: str) -> bool:
    """Whether a model has RT-DETR's decoder: other losses, no NMS, stretched input."""
    return "rtdetr" in model


def placement(size: tuple[int, int], side: int, stretch: bool) -> Placement:
    """Scale into the square as ultralytics does: YOLO letterboxes, RT-DETR stretches."""
    height, width = size
    ratio = side / max(height, width)
    new_w = side if stretch else min(math.ceil(width * ratio), side)
    new_h = side if stretch else min(math.ceil(height * ratio), side)
    left, top = (side - new_w) // 2, (side - new_h) // 2
    return Placement((new_w, new_h), (new_w / width, new_h / height), (left, top))


def place(image: NDArray[np.uint8], where: Placement, side: int) -> NDArray[np.uint8]:
    """Put a picture into the square."""
    (width, height), (left, top) = where.size, where.offset
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, where.size, interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    square = np.full((side, side, *image.shape[2:]), PADDING, np.uint8)
    square[top : top + height, left : left + width] = image
    return square


def _yolo_rows(raw: torch.Tensor, classes: int) -> list[torch.Tensor]:
    """Suppress duplicates, if there can be any, and low scores.

    Args:
        raw: ``(n, 4 + classes, places)``, or of a model that needs no suppression, which is told
            by this shape, ``(n, rows, 6)``: rows already, one a lesion, best first.
        classes: their number.

    Returns:
        Rows (x1, y1, x2, y2, score, class) in px of the square.
    """
    rows = non_max_suppression(
        raw,
        conf_thres=SCORE_FLOOR,
        iou_thres=NMS_IOU,
        multi_label=True,
        max_det=MAX_DETECTIONS,
        nc=classes,
        max_time_img=3600,  # its default gives up silently on a slow machine
    )
    # without bins, as in YOLO26, a distance can be negative: such a box ends before it begins
    return [own[(own[:, 2:4] >= own[:, :2]).all(1)] for own in rows]


def _rtdetr_rows(queries: torch.Tensor, side: int) -> list[torch.Tensor]:
    """Turn queries (cx, cy, w, h, score, class), as fractions, into rows in px of the square."""
    half = queries[..., 2:4] / 2
    corners = torch.cat([queries[..., :2] - half, queries[..., :2] + half], -1) * side
    rows = torch.cat([corners, queries[..., 4:6]], -1)
    kept = []
    for own in rows:
        own = own[own[:, 4] >= SCORE_FLOOR]
        kept.append(own[own[:, 4].argsort(descending=True, stable=True)][:MAX_DETECTIONS])
    return kept


def back(rows: NDArray[np.float64], where: Placement, size: tuple[int, int]) -> Boxes:
    """Map rows from the square to px of the picture, cut at its edges."""
    scale = np.array(where.scale * 2)
    offset = np.array(where.offset * 2)
    limit = np.array([size[1], size[0]] * 2, dtype=float)
    xyxy = np.clip((rows[:, :4] - offset) / scale, 0, limit)
    return Boxes(xyxy, rows[:, 5].astype(np.int64), np.clip(rows[:, 4], 0, 1))
