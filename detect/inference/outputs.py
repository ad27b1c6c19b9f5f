"""The files of one scan's result folder: `detections.json`, `lesions.csv` and `overlays/`."""

import csv
import io
from dataclasses import replace
from pathlib import Path

from converters.core.drawing import draw
from converters.core.files import write_text
from converters.core.images import write_png
from converters.preprocessing.pictures import Pictures
from detect.inference.detections import Detections

LESION_COLUMNS = [
    "lesion_id",
    "class",
    "score",
    *(f"centre_{axis}_mm" for axis in "xyz"),
    *(f"size_{axis}_mm" for axis in ("column", "row", "slice")),
    "first_slice",
    "last_slice",
    "boxes",
    "warnings",
]


def write_case_outputs(folder: Path, detections: Detections, pictures: Pictures) -> None:
    """Write `detections.json`, `lesions.csv` and `overlays/` into a folder.

    Args:
        folder: an existing folder.
        detections: of the scan.
        pictures: of the same scan, for the overlays.
    """
    write_text(folder / "detections.json", detections.to_json())
    write_text(folder / "lesions.csv", _csv(detections))
    overlays = folder / "overlays"
    overlays.mkdir(exist_ok=True)
    for z, boxes in enumerate(detections.boxes):
        if len(boxes):
            seen = replace(boxes, xyxy=pictures.frame.to_picture(boxes.xyxy))
            picture = draw(pictures[z], seen, detections.classes)
            write_png(overlays / f"{detections.case}_z{z:04d}.png", picture)


def _csv(detections: Detections) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(LESION_COLUMNS)
    for lesion in detections:
        table.writerow(
            [
                lesion.lesion_id,
                lesion.class_name,
                f"{lesion.score:.4f}",
                *(f"{value:.2f}" for value in (*lesion.centre_mm, *lesion.size_mm)),
                lesion.first_slice,
                lesion.last_slice,
                lesion.boxes,
                "; ".join(detections.warnings),
            ]
        )
    return text.getvalue()
