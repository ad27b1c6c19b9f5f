"""Duplicates on one picture: a box goes where a surer one of its class lies."""

import cv2
import numpy as np

from converters.core.boxes import Boxes


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
