"""What is written for a scan: boxes and lesions as JSON and CSV, and pictures of the findings."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from converters.core.drawing import draw
from converters.core.files import write_json, write_text
from converters.core.images import write_png
from converters.imaging.volume import Volume
from converters.preprocessing.pictures import Pictures
from detect.inference.model_set import ModelSet
from detect.linking.linking import LinkedLesion

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


def lesion_rows(
    lesions: Sequence[LinkedLesion], volume: Volume, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Describe lesions in patient space.

    `centre_mm` is in LPS; `size_mm` is the extent along the columns', rows' and slices' directions;
    `centre_file_voxel` is the index (i, j, k) in the file as it is stored.
    """
    rows = []
    for number, lesion in enumerate(lesions, start=1):
        centre = lesion.centre[None]
        rows.append(
            {
                "lesion_id": number,
                "class": class_names[lesion.label],
                "score": lesion.score,
                "centre_mm": volume.to_patient(centre)[0].tolist(),
                "size_mm": ((lesion.high - lesion.low) * volume.spacing).tolist(),
                "centre_file_voxel": volume.to_file_voxels(centre)[0].tolist(),
                "first_slice": lesion.members[0][0],
                "last_slice": lesion.members[-1][0],
                "boxes": len(lesion.members),
            }
        )
    return rows


def write_case_outputs(
    folder: Path,
    case: str,
    source_sha256: str,
    pictures: Pictures,
    boxes: Sequence[Boxes],
    lesions: Sequence[LinkedLesion],
    used: ModelSet,
    warnings: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Write `detections.json`, `lesions.csv` and `overlays/`; returns the lesion rows.

    Args:
        folder: to write to.
        case: name of the scan in the outputs.
        source_sha256: of the scan's files.
        pictures: what the detector saw of the scan.
        boxes: of each slice, in px of the canonical slice.
        lesions: the boxes linked.
        used: what found the boxes and linked them.
        warnings: why the scan may not be one for the model.
    """
    names, volume = used.spec.classes, pictures.volume
    rows = lesion_rows(lesions, volume, names)
    lesion_of = {m: i for i, lesion in enumerate(lesions, start=1) for m in lesion.members}
    write_json(
        folder / "detections.json",
        {
            "schema": "detect-detections/1",
            "case": case,
            "source_sha256": source_sha256,
            "warnings": list(warnings),
            **used.facts,
            "classes": names,
            "shape": list(volume.array.shape),
            "spacing_mm": list(volume.spacing),
            "affine": volume.affine.tolist(),
            "canonical_to_file": volume.to_file.tolist(),
            "frame": pictures.frame.model_dump(),
            "boxes": [
                {
                    "slice_index": z,
                    "class": names[int(own.label[b])],
                    "score": float(own.score[b]),
                    "bbox": _xywh(own.xyxy[b]),
                    "lesion_id": lesion_of[z, b],
                }
                for z, own in enumerate(boxes)
                for b in range(len(own))
            ],
            "lesions": rows,
        },
    )
    write_text(folder / "lesions.csv", _csv(rows, warnings))
    (folder / "overlays").mkdir(exist_ok=True)
    for z, own in enumerate(boxes):
        if len(own):
            seen = replace(own, xyxy=pictures.frame.to_picture(own.xyxy))
            write_png(folder / "overlays" / f"{case}_z{z:04d}.png", draw(pictures[z], seen, names))
    return rows


def _xywh(xyxy: NDArray[np.float64]) -> list[float]:
    x1, y1, x2, y2 = xyxy.tolist()
    return [x1, y1, x2 - x1, y2 - y1]


def _csv(rows: Sequence[dict[str, Any]], warnings: Sequence[str]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(LESION_COLUMNS)
    for row in rows:
        table.writerow(
            [
                row["lesion_id"],
                row["class"],
                f"{row['score']:.4f}",
                *(f"{v:.2f}" for v in (*row["centre_mm"], *row["size_mm"])),
                row["first_slice"],
                row["last_slice"],
                row["boxes"],
                "; ".join(warnings),
            ]
        )
    return text.getvalue()
