"""Test-time augmentation: detect on each picture in several views, and fuse the boxes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes, nms
from detect.detectors.protocol import Predictor
from detect.inference.fusion import FUSION_IOU, weighted_box_fusion

MARGIN = 0.1  # of the longer side, on each side: what is in the picture comes out 1.2 times smaller
VIEWS = ["as it is", "mirrored left to right", f"with a margin of {MARGIN:g}"]


class Augmented:
    """A detector, in any runtime, that is given each picture as it is, mirrored, and smaller.

    Mirrored left to right, a body still looks like a body, with its organs on the other side.
    Upside down it does not look like anything that a detector was trained on.
    """

    def __init__(self, predictor: Predictor) -> None:
        """Keep the detector."""
        self.predictor = predictor
        self.spec = predictor.spec

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Fuse the boxes of all views; see `Detector.predict`."""
        plain = self.predictor.predict(images)
        mirrored = self.predictor.predict(
            [np.ascontiguousarray(image[:, ::-1]) for image in images]
        )
        smaller = self.predictor.predict([_with_margin(image) for image in images])
        fused = []
        for image, *views in zip(images, plain, mirrored, smaller, strict=True):
            back = [views[0], _mirrored(views[1], image), _without_margin(views[2], image)]
            fused.append(weighted_box_fusion([nms(boxes, FUSION_IOU) for boxes in back]))
        return fused


def _mirrored(boxes: Boxes, image: NDArray[np.uint8]) -> Boxes:
    x1, y1, x2, y2 = boxes.xyxy.T
    width = image.shape[1]
    return Boxes(np.stack([width - x2, y1, width - x1, y2], axis=1), boxes.label, boxes.score)


def _margin(image: NDArray[np.uint8]) -> int:
    height, width = image.shape[:2]
    return int(MARGIN * max(height, width) + 0.5)


def _with_margin(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    margin = _margin(image)
    return np.pad(image, [(margin, margin), (margin, margin), (0, 0)][: image.ndim])


def _without_margin(boxes: Boxes, image: NDArray[np.uint8]) -> Boxes:
    height, width = image.shape[:2]
    xyxy = np.clip(boxes.xyxy - _margin(image), 0, [width, height, width, height])
    inside = (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
    return Boxes(xyxy, boxes.label, boxes.score)[np.flatnonzero(inside)]
