"""Build COCO's annotation file of a split, with the geometry that COCO lacks."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from converters.conversion.case import CaseState
from converters.masks.components import Component, decode_rle, encode_rle
from converters.preprocessing.frame import Frame
from converters.recipes.recipe import Recipe


def annotations(recipe: Recipe, cases: Iterable[CaseState]) -> dict[str, Any]:
    """Build the annotation file of one split.

    Args:
        recipe: gives the categories; `category_id` is the class index + 1.
        cases: of the split, with their pictures written.

    Returns:
        JSON-ready mapping; ids count from 1 in the order given. As DICOM's, `position_mm` (LPS) is
        the middle of the picture's first pixel and `spacing_mm` that of the picture; `frame` says
        where it lies on the canonical slice.
    """
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for case in cases:
        analysis, frame = case.analysis, case.written.frame
        affine = np.asarray(analysis.affine)
        voxel = tuple(float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
        spacing = list(frame.spacing(voxel))
        column, row = frame.first_pixel
        first = affine[:3, 0] * column + affine[:3, 1] * row
        by_slice = analysis.components_by_slice()
        for z in case.slices:
            images.append(
                {
                    "id": len(images) + 1,
                    "file_name": case.image_name(z),
                    "width": frame.width,
                    "height": frame.height,
                    "case_id": case.case_id,
                    "patient_id": case.patient_id,
                    "slice_index": z,
                    "position_mm": [float(v) for v in first + affine[:3, 2] * z + affine[:3, 3]],
                    "spacing_mm": spacing,
                    "frame": frame.model_dump(),
                }
            )
            for box in by_slice.get(z, []):
                boxes.append(
                    {
                        "id": len(boxes) + 1,
                        "image_id": len(images),
                        "category_id": box.label + 1,
                        "bbox": list(frame.box(box.x, box.y, box.width, box.height)),
                        "area": frame.area(box.area),
                        "iscrowd": 0,
                        "segmentation": _segmentation(box, analysis.shape, frame),
                        "lesion_id": box.lesion_id,
                        "area_mm2": box.area_mm2,
                        "diameter_mm": box.diameter_mm,
                    }
                )
    return {
        "info": {"description": recipe.title, "version": "1.0"},
        "licenses": [{"id": 1, "name": recipe.licence}],
        "categories": [
            {"id": i + 1, "name": name, "supercategory": "lesion"}
            for i, name in enumerate(recipe.class_names)
        ],
        "images": images,
        "annotations": boxes,
    }


def _segmentation(box: Component, shape: tuple[int, int, int], frame: Frame) -> dict[str, Any]:
    """Return a component's RLE in its picture; empty where no pixel's middle falls on it."""
    counts = box.rle
    if frame != Frame.whole(shape):
        rows, columns = np.nonzero(frame.cut_mask(decode_rle(box.rle, *shape[1:])))
        counts = encode_rle(rows, columns, frame.height, frame.width)
    return {"size": [frame.height, frame.width], "counts": counts}
