"""Run a detector over the slices of a scan, and link its boxes to lesions."""

from dataclasses import replace

from converters.core.boxes import Boxes
from converters.core.stages import ahead
from converters.preprocessing.pictures import Pictures
from detect.detectors.protocol import Predictor
from detect.linking.linking import LinkedLesion, Linking, class_agnostic_nms, link, only_linked

CPU_BATCH, GPU_BATCH = 16, 64  # slices a call


def batch_size(runtime: str, device: str) -> int:
    """Return how many slices a detector is given in one call.

    Args:
        runtime: of `RUNTIMES`; exports run on the CPU.
        device: `auto`, `cpu`, or a GPU's number.
    """
    if runtime != "torch":
        return CPU_BATCH
    from detect.detectors.device import choose_device  # torch, which exports run without

    return GPU_BATCH if choose_device(device).type == "cuda" else CPU_BATCH


def detect_slices(
    detector: Predictor, pictures: Pictures, confidence: float, batch: int = CPU_BATCH
) -> list[Boxes]:
    """Detect boxes on each slice, while a thread makes the pictures of the next slices.

    Args:
        detector: trained.
        pictures: of the scan, made as the detector was trained.
        confidence: boxes below it are left out.
        batch: slices a call.

    Returns:
        For each slice its boxes in px of the canonical slice, best score first, one for each place.
    """
    raw: list[Boxes] = []
    slices = range(len(pictures))
    parts = [slices[start : start + batch] for start in slices[::batch]]
    for images in ahead(lambda part: [pictures[z] for z in part], parts):
        raw += detector.predict(images)
    sure = [class_agnostic_nms(boxes[boxes.score >= confidence]) for boxes in raw]
    return [replace(boxes, xyxy=pictures.frame.to_slice(boxes.xyxy)) for boxes in sure]


def find_lesions(
    detector: Predictor,
    pictures: Pictures,
    confidence: float,
    linking: Linking,
    batch: int = CPU_BATCH,
) -> tuple[list[Boxes], list[LinkedLesion]]:
    """Detect the boxes of each slice, and link them to lesions in 3D.

    Boxes of findings that the linking drops are left out.
    """
    boxes = detect_slices(detector, pictures, confidence, batch)
    return only_linked(boxes, link(boxes, linking))
