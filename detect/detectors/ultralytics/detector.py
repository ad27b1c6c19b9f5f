"""The ultralytics family behind the common protocol."""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import cv2
import numpy as np
import torch
import torchvision  # noqa: F401  # once it is loaded, ultralytics takes its faster suppression
from numpy.typing import NDArray
from ultralytics.utils.nms import non_max_suppression

from detect.boxes import Boxes
from detect.dataset import Split
from detect.detectors.device import choose_device
from detect.detectors.planes import three_planes
from detect.detectors.protocol import MAX_DETECTIONS, SCORE_FLOOR, Advance
from detect.detectors.ultralytics.network import (
    build_network,
    count_parameters,
    is_rtdetr,
    load_checkpoint,
)
from detect.detectors.ultralytics.training import train_network
from detect.detectors.weight_files import load_network, read_state, save_network, transfer
from detect.model_card import ModelSpec, Parameters
from detect.settings import TrainSettings

NMS_IOU = 0.7  # ultralytics' validation default
PADDING = 114  # grey that ultralytics trains with around and between pictures


@dataclass(frozen=True)
class _Placement:
    """Where a picture lies in the network's square: scale and offset along x and y."""

    scale: tuple[float, float]
    offset: tuple[int, int]


class UltralyticsDetector:
    """A YOLO or RT-DETR."""

    def __init__(self, spec: ModelSpec, network: torch.nn.Module, device: torch.device) -> None:
        """Wrap a network; use `create` or `load`."""
        self.spec = spec
        self.device = device
        self.network = network.to(device)
        self._deployed: torch.nn.Module | None = None

    @classmethod
    def count_parameters(cls, model: str, classes: int) -> Parameters:
        """Count the parameters of the built network, before and after fusing."""
        return count_parameters(model, classes)

    @classmethod
    def create(cls, spec: ModelSpec, device: str) -> Self:
        """Build the network with fresh weights."""
        return cls(
            spec, build_network(spec.model, len(spec.classes), spec.imgsz), choose_device(device)
        )

    @classmethod
    def load(cls, spec: ModelSpec, weights: Path, device: str) -> Self:
        """Build the network with saved weights."""
        detector = cls.create(spec, device)
        load_network(detector.network, weights)
        return detector

    def load_weights(self, path: Path, trust: bool) -> None:
        """Start from a weight file."""
        transfer(self.network, read_state(path, trust, load_checkpoint), path)

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""
        save_network(self.network, path)

    def train(
        self,
        train: Split,
        val: Split,
        settings: TrainSettings,
        run_dir: Path,
        resume: bool,
        advance: Advance,
    ) -> None:
        """Train and leave the weights of the best val epoch in the network."""
        self._deployed = None
        train_network(
            self.spec, self.network, self.device, train, val, settings, run_dir, resume, advance
        )
        load_network(self.network, run_dir / "weights" / "best.safetensors")

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Find boxes; the network is fused at the first call."""
        if self._deployed is None:
            network: Any = deepcopy(self.network).eval()
            self._deployed = cast(torch.nn.Module, network.fuse(verbose=False))
        return predict_boxes(self._deployed, self.spec, images, self.device)


FAMILY = UltralyticsDetector


def predict_boxes(
    network: torch.nn.Module,
    spec: ModelSpec,
    images: Sequence[NDArray[np.uint8]],
    device: torch.device,
) -> list[Boxes]:
    """Run a network in evaluation mode on pictures of any size; see `Detector.predict`."""
    if not images:
        return []
    rtdetr = is_rtdetr(spec.model)
    placed = [_place(image, spec.imgsz, stretch=rtdetr) for image in images]
    tensor = three_planes([pixels for pixels, _ in placed]).to(device).float() / 255
    with torch.no_grad():
        raw = network(tensor)
        rows = _rtdetr_rows(raw, spec.imgsz) if rtdetr else _yolo_rows(network, raw, spec)
    return [
        _back(found.cpu().double().numpy(), placement, (image.shape[0], image.shape[1]))
        for found, (_, placement), image in zip(rows, placed, images, strict=True)
    ]


def _place(
    image: NDArray[np.uint8], side: int, stretch: bool
) -> tuple[NDArray[np.uint8], _Placement]:
    """Scale a picture into the square as ultralytics does: YOLO letterboxes, RT-DETR stretches."""
    height, width = image.shape[:2]
    ratio = side / max(height, width)
    new_w = side if stretch else min(math.ceil(width * ratio), side)
    new_h = side if stretch else min(math.ceil(height * ratio), side)
    if (new_h, new_w) != (height, width):
        image = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    left, top = (side - new_w) // 2, (side - new_h) // 2
    square = np.full((side, side, *image.shape[2:]), PADDING, np.uint8)
    square[top : top + new_h, left : left + new_w] = image
    return square, _Placement((new_w / width, new_h / height), (left, top))


def _yolo_rows(network: Any, raw: Any, spec: ModelSpec) -> list[torch.Tensor]:
    """Suppress duplicates, if there can be any, and low scores.

    Returns:
        Rows (x1, y1, x2, y2, score, class) in px of the square.
    """
    rows = non_max_suppression(
        raw,
        conf_thres=SCORE_FLOOR,
        iou_thres=NMS_IOU,
        multi_label=True,
        max_det=MAX_DETECTIONS,
        nc=len(spec.classes),
        end2end=network.end2end,  # rows already, one a lesion, best first
        max_time_img=3600,  # its default gives up silently on a slow machine
    )
    # without bins, as in YOLO26, a distance can be negative: such a box ends before it begins
    return [own[(own[:, 2:4] >= own[:, :2]).all(1)] for own in rows]


def _rtdetr_rows(raw: Any, side: int) -> list[torch.Tensor]:
    """Turn queries (cx, cy, w, h, score, class), as fractions, into rows in px of the square."""
    queries = raw[0] if isinstance(raw, (tuple, list)) else raw
    half = queries[..., 2:4] / 2
    corners = torch.cat([queries[..., :2] - half, queries[..., :2] + half], -1) * side
    rows = torch.cat([corners, queries[..., 4:6]], -1)
    kept = []
    for own in rows:
        own = own[own[:, 4] >= SCORE_FLOOR]
        kept.append(own[own[:, 4].argsort(descending=True, stable=True)][:MAX_DETECTIONS])
    return kept


def _back(rows: NDArray[np.float64], placement: _Placement, size: tuple[int, int]) -> Boxes:
    """Map rows from the square to px of the picture, cut at its edges."""
    scale = np.array(placement.scale * 2)
    offset = np.array(placement.offset * 2)
    limit = np.array([size[1], size[0]] * 2, dtype=float)
    xyxy = np.clip((rows[:, :4] - offset) / scale, 0, limit)
    return Boxes(xyxy, rows[:, 5].astype(np.int64), np.clip(rows[:, 4], 0, 1))
