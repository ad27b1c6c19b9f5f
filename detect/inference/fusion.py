"""Fuse the boxes of several detectors on one picture: weighted box fusion, ensembles."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes, iou, nms
from detect.detectors.protocol import Predictor

FUSION_IOU = 0.55  # boxes of one lesion, as in the paper of weighted box fusion


def weighted_box_fusion(members: Sequence[Boxes], overlap: float = FUSION_IOU) -> Boxes:
    """Fuse the boxes of several detectors of equal weight on one picture.

    By falling score, each box joins the cluster of its class whose fused box it overlaps best, by
    more than an IoU, or starts one. A fused box has the mean corners of its cluster, weighted by
    score, and the mean score, times n / N where it has fewer boxes n than there are detectors N
    (Solovyev, Wang and Gabruseva, Image Vis Comput 2021).

    Args:
        members: of each detector, in px of the one picture.
        overlap: IoU in [0, 1].

    Returns:
        The fused boxes, best score first.
    """
    xyxy = np.concatenate([boxes.xyxy for boxes in members])
    label = np.concatenate([boxes.label for boxes in members])
    score = np.concatenate([boxes.score for boxes in members])
    clusters: list[list[int]] = []
    fused = np.zeros((0, 4))
    labels = np.zeros(0, np.int64)
    for k in np.argsort(-score, kind="stable").tolist():
        overlaps = np.where(labels == label[k], iou(xyxy[k : k + 1], fused)[0], 0.0)
        best = int(overlaps.argmax()) if len(overlaps) else -1
        if best >= 0 and overlaps[best] > overlap:
            clusters[best].append(k)
            fused[best] = _mean_box(xyxy[clusters[best]], score[clusters[best]])
        else:
            clusters.append([k])
            fused = np.append(fused, xyxy[k : k + 1], axis=0)
            labels = np.append(labels, label[k])
    agreed = [
        float(score[cluster].mean()) * min(len(cluster), len(members)) / len(members)
        for cluster in clusters
    ]
    order = np.argsort(-np.array(agreed), kind="stable")
    return Boxes(fused, labels, np.array(agreed))[order]


def _mean_box(xyxy: NDArray[np.float64], score: NDArray[np.float64]) -> NDArray[np.float64]:
    weight = score if score.any() else np.ones_like(score)
    return np.asarray(np.average(xyxy, axis=0, weights=weight))


class Ensemble:
    """An ensemble: several detectors of the same classes and pictures, used as one detector."""

    def __init__(self, members: Sequence[Predictor]) -> None:
        """Keep the detectors; the spec of the first one is that of all."""
        self.members = members
        self.spec = members[0].spec

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Fuse the boxes of the members; see `Detector.predict`.

        Each member gives one box for each place: its second boxes there, mostly of low score, would
        lower the score that all agree on.
        """
        detections = [member.predict(images) for member in self.members]
        return [
            weighted_box_fusion([nms(boxes, FUSION_IOU) for boxes in of_image])
            for of_image in zip(*detections, strict=True)
        ]
