"""The files that describe a dataset as a whole: COCO, `data.yaml`, `lesions.csv`, the manifest."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from converters.conversion.case import CaseAnalysis, CaseWritten
from converters.conversion.coco import annotations
from converters.core.files import write_json, write_text
from converters.dataset.manifest import CaseEntry, FailedCase, Manifest, Request, tool_versions
from converters.dataset.stratify import SPLITS
from converters.dataset.yolo import data_yaml


def describe(
    folder: Path,
    request: Request,
    analyses: Sequence[CaseAnalysis],
    slices: Mapping[str, Sequence[int]],
    split_of: Mapping[str, str],
    written: Mapping[str, CaseWritten],
    failed: Sequence[FailedCase],
    synthetic: Set[str],
) -> Manifest:
    """Write everything but the pictures and labels.

    Args:
        folder: of the dataset.
        request: what was asked for.
        analyses: of the cases that were written, in order.
        slices: case → slices written.
        split_of: patient → split.
        written: case → what writing its pictures settled.
        failed: cases that were left out.
        synthetic: cases that are there for training only.
    """
    names = request.recipe.class_names
    for split in SPLITS:
        own = [
            (a, slices[a.case_id], written[a.case_id].frame)
            for a in analyses
            if split_of[a.patient_id] == split
        ]
        content = annotations(request.recipe, own)
        write_json(folder / "annotations" / f"instances_{split}.json", content)
    write_text(folder / "data.yaml", data_yaml(names))
    write_text(folder / "lesions.csv", _lesion_table(names, analyses))
    manifest = Manifest(
        request=request,
        versions=tool_versions(),
        cases=[
            _entry(
                a,
                names,
                split_of[a.patient_id],
                len(slices[a.case_id]),
                written[a.case_id],
                a.case_id in synthetic,
            )
            for a in analyses
        ],
        failed=list(failed),
    )
    manifest.write(folder)
    return manifest


def _entry(
    a: CaseAnalysis,
    names: Sequence[str],
    split: str,
    slices: int,
    written: CaseWritten,
    synthetic: bool,
) -> CaseEntry:
    boxes = Counter(component.label for component in a.components)
    lesions = Counter(lesion.label for lesion in a.lesions)
    return CaseEntry.model_validate(
        {
            "id": a.case_id,
            "patient": a.patient_id,
            "split": split,
            "spacing_mm": np.linalg.norm(np.asarray(a.affine)[:3, :3], axis=0).tolist(),
            "shape": a.shape,
            "affine": a.affine,
            "slices": slices,
            "boxes": {name: boxes[i] for i, name in enumerate(names)},
            "lesions": {name: lesions[i] for i, name in enumerate(names)},
            "small_boxes": a.small,
            "dropped_boxes": a.dropped,
            "mask_sha256": a.mask_sha256,
            "synthetic": synthetic,
            "notes": a.notes,
            **dict(written),
        }
    )


def _lesion_table(names: Sequence[str], analyses: Sequence[CaseAnalysis]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        [
            "case",
            "lesion_id",
            "class",
            "volume_mm3",
            "max_axial_diameter_mm",
            "first_slice",
            "last_slice",
        ]
    )
    for a in analyses:
        for lesion in a.lesions:
            volume = "" if lesion.volume_mm3 is None else f"{lesion.volume_mm3:.3f}"
            diameter = f"{lesion.max_axial_diameter_mm:.3f}"
            table.writerow(
                [
                    a.case_id,
                    lesion.lesion_id,
                    names[lesion.label],
                    volume,
                    diameter,
                    lesion.first_slice,
                    lesion.last_slice,
                ]
            )
    return text.getvalue()
