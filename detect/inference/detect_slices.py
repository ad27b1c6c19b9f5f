"""Run a detector over a scan, slice by slice."""

from dataclasses import replace

from converters.core.boxes import Boxes
from converters.core.stages import ahead
from converters.preprocessing.pictures import Pictures
from detect.detectors.protocol import Predictor
from detect.linking.linking import LinkedLesion, Linking, class_agnostic_nms, link, only_linked

BATCH, GPU_BATCH = 16, 64  # slices a call


def detect_slices(
    detector: Predictor, pictures: Pictures, confidence: float, batch: int = BATCH
) -> list[Boxes]:
    """Find boxes on each slice, while the pictures of the next ones are made.

    Args:
        detector: trained.
        pictures: of the scan, made as the detector was trained.
        confidence: boxes below it are left out.
        batch: slices a call.

    Returns:
        For each slice its boxes in px of the canonical slice, best score first, one for each place.
    """
    found: list[Boxes] = []
    slices = range(len(pictures))
    parts = [slices[start : start + batch] for start in slices[::batch]]
    for images in ahead(lambda part: [pictures[z] for z in part], parts):
        found += detector.predict(images)
    sure = [class_agnostic_nms(boxes[boxes.score >= confidence]) for boxes in found]
    return [replace(boxes, xyxy=pictures.frame.to_slice(boxes.xyxy)) for boxes in sure]


def find_lesions(
    detector: Predictor,
    pictures: Pictures,
    confidence: float,
    linking: Linking,
    batch: int = BATCH,
) -> tuple[list[Boxes], list[LinkedLesion]]:
    """Find lesions in a scan: the boxes of its slices, and those linked in 3D.

    Boxes of findings that the linking drops are left out.
    """
    boxes = detect_slices(detector, pictures, confidence, batch)
    return only_linked(boxes, link(boxes, linking))
