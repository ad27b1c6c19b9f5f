"""Write the files that describe a dataset: COCO, `data.yaml`, `lesions.csv`, the manifest."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from converters.conversion.case import CaseState
from converters.conversion.coco import annotations
from converters.core.errors import InputError
from converters.core.files import write_json, write_text
from converters.dataset.manifest import CaseEntry, FailedCase, Manifest, Request, tool_versions
from converters.dataset.stratify import SPLITS
from converters.dataset.yolo import data_yaml

LESION_COLUMNS = (
    "case",
    "lesion_id",
    "class",
    "volume_mm3",
    "max_axial_diameter_mm",
    "first_slice",
    "last_slice",
)


def describe(folder: Path, request: Request, cases: Sequence[CaseState]) -> Manifest:
    """Write everything but the pictures and labels.

    Args:
        folder: of the dataset.
        request: what was asked for.
        cases: in order; those with an error are listed as failed.
    """
    names = request.recipe.class_names
    written = [case for case in cases if case.error is None]
    for split in SPLITS:
        content = annotations(request.recipe, [case for case in written if case.split == split])
        write_json(folder / "annotations" / f"instances_{split}.json", content)
    write_text(folder / "data.yaml", data_yaml(names))
    write_text(folder / "lesions.csv", _lesion_table(names, written))
    manifest = Manifest(
        request=request,
        versions=tool_versions(),
        cases=[_entry(case, names) for case in written],
        failed=[_failed(case, case.error) for case in cases if case.error],
    )
    manifest.write(folder)
    return manifest


def _entry(case: CaseState, names: Sequence[str]) -> CaseEntry:
    analysis = case.analysis
    boxes = Counter(component.label for component in analysis.components)
    lesions = Counter(lesion.label for lesion in analysis.lesions)
    return CaseEntry.model_validate(
        {
            "id": case.case_id,
            "patient": case.patient_id,
            "split": case.split,
            "spacing_mm": np.linalg.norm(np.asarray(analysis.affine)[:3, :3], axis=0).tolist(),
            "shape": analysis.shape,
            "affine": analysis.affine,
            "slices": len(case.slices),
            "boxes": {name: boxes[i] for i, name in enumerate(names)},
            "lesions": {name: lesions[i] for i, name in enumerate(names)},
            "small_boxes": analysis.small,
            "dropped_boxes": analysis.dropped,
            "mask_sha256": analysis.mask_sha256,
            "synthetic": case.synthetic,
            "notes": analysis.notes,
            **dict(case.written),
        }
    )


def _failed(case: CaseState, error: InputError) -> FailedCase:
    """State what is wrong with a case, without the paths of this machine."""
    source = case.source
    problem = error.problem.replace(str(source.image), "the scan")
    problem = problem.replace(str(source.mask), "the mask")
    for _, path in source.parts:
        problem = problem.replace(str(path), "a mask")
    return FailedCase(id=case.case_id, problem=problem)


def _lesion_table(names: Sequence[str], cases: Sequence[CaseState]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(LESION_COLUMNS)
    for case in cases:
        for lesion in case.analysis.lesions:
            table.writerow(
                [
                    case.case_id,
                    lesion.lesion_id,
                    names[lesion.label],
                    "" if lesion.volume_mm3 is None else f"{lesion.volume_mm3:.3f}",
                    f"{lesion.max_axial_diameter_mm:.3f}",
                    lesion.first_slice,
                    lesion.last_slice,
                ]
            )
    return text.getvalue()
