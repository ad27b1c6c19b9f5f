"""Test-time augmentation: a detector sees each picture in several ways, and its boxes are fused."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detect.boxes import Boxes
from detect.detectors.protocol import Predictor
from detect.inference.fusion import FUSION_IOU, nms, weighted_box_fusion

VIEWS = ["as it is", "mirrored left to right"]


class Augmented:
    """A detector, in any runtime, that sees each picture as it is and mirrored left to right.

    Mirrored, a body is still one, with its organs on the other side; upside down it is none that a
    detector has seen.
    """

    def __init__(self, predictor: Predictor) -> None:
        """Take the detector."""
        self.predictor = predictor
        self.spec = predictor.spec

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Fuse what is found in each view; see `Detector.predict`."""
        plain = self.predictor.predict(images)
        mirrored = self.predictor.predict([np.ascontiguousarray(own[:, ::-1]) for own in images])
        return [
            weighted_box_fusion(
                [nms(own, FUSION_IOU), nms(_mirrored(other, image.shape[1]), FUSION_IOU)]
            )
            for own, other, image in zip(plain, mirrored, images, strict=True)
        ]


def _mirrored(boxes: Boxes, width: int) -> Boxes:
    x1, y1, x2, y2 = boxes.xyxy.T
    return Boxes(np.stack([width - x2, y1, width - x1, y2], axis=1), boxes.label, boxes.score)
