"""Run a detector over a scan, slice by slice."""

import numpy as np
from numpy.typing import NDArray

from converters.volume import Volume
from detect.boxes import Boxes
from detect.detectors.protocol import Detector
from detect.inference.linking import LinkedLesion, link, one_finding_each

BATCH = 8  # slices a call


def windowed_slices(volume: Volume, detector: Detector) -> NDArray[np.uint8]:
    """Window a scan as the detector was trained: ``(slices, rows, columns)``, 0…255."""
    return detector.spec.window.apply(volume.array)


def detect_slices(
    detector: Detector, pictures: NDArray[np.uint8], confidence: float
) -> list[Boxes]:
    """Find boxes on each slice.

    Args:
        detector: trained.
        pictures: as `windowed_slices` gives them.
        confidence: boxes below it are left out.

    Returns:
        For each slice its boxes in px, best score first, one for each place.
    """
    found: list[Boxes] = []
    for start in range(0, len(pictures), BATCH):
        found += detector.predict(list(pictures[start : start + BATCH]))
    return [one_finding_each(boxes[boxes.score >= confidence]) for boxes in found]


def find_lesions(
    detector: Detector, volume: Volume, confidence: float
) -> tuple[NDArray[np.uint8], list[Boxes], list[LinkedLesion]]:
    """Find lesions in a scan: its windowed slices, their boxes, and the boxes linked in 3D."""
    pictures = windowed_slices(volume, detector)
    boxes = detect_slices(detector, pictures, confidence)
    return pictures, boxes, link(boxes)
