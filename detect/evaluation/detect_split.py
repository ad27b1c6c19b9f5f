"""Run a detector over the pictures of a split."""

from converters.core.boxes import Boxes
from converters.core.progress import progress
from converters.dataset.split import Split
from detect.detectors.protocol import Predictor

BATCH = 16  # pictures a call; larger ones do not help a CPU, and a GPU is fed well enough


def detect_split(detector: Predictor, split: Split) -> list[Boxes]:
    """Return the raw detections on each picture of a split."""
    detections: list[Boxes] = []
    with progress(f"detect on {split.name}", -(-len(split) // BATCH)) as advance:
        for images in split.batches(BATCH):
            detections += detector.predict(images)
            advance("")
    return detections
