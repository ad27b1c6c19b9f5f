"""Write the boxes of lesions as a DICOM SEG: binary, one segment a lesion."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.imaging.volume import Volume
from detect.inference.dicom.source import MANUFACTURER, Result, building
from detect.inference.label_volume import Region, file_shape, regions
from detect.linking.linking import LinkedLesion

MOST_BYTES = 2**31  # of overlapping segments in memory, a byte a voxel each
_SERIES_NUMBER = 9802


def write_segmentation(
    path: Path,
    result: Result,
    volume: Volume,
    boxes: Sequence[Boxes],
    lesions: Sequence[LinkedLesion],
) -> None:
    """Write a SEG that names the patient, as its series does; segment n is `lesion_id` n.

    Its Image Comments hold the warnings.

    Args:
        path: to write to.
        result: the series, the model and the lesions' rows.
        volume: the scan.
        boxes: of each canonical slice, in px.
        lesions: at least one.

    Raises:
        InputError: the series' header allows no SEG, or too many lesions overlap.
    """
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import Segmentation, SegmentDescription

    filled = [regions(volume, boxes, lesion) for lesion in lesions]
    ranks = _ranks(result, filled)
    images = {id(image): image for image in map(result.image, ranks)}
    for image in images.values():
        if not image.get("FrameOfReferenceUID"):
            raise InputError(
                result.folder,
                "lacks FrameOfReferenceUID, without which a SEG has no place",
                "export the series again, or leave out --dicom-seg",
            )
    about = result.common("SEG")
    algorithm = AlgorithmIdentificationSequence(
        name=f"{MANUFACTURER} {about['manufacturer_model_name']}",
        family=codes.cid7162.ArtificialIntelligence,
        version=about["software_versions"],
    )
    columns, rows, _ = file_shape(volume)
    with building(result, "DICOM SEG"):
        segmentation = Segmentation(
            source_images=list(images.values()),
            pixel_array=_pixels(result, filled, ranks, (rows, columns)),
            segmentation_type="BINARY",
            segment_descriptions=[
                SegmentDescription(
                    segment_number=number,
                    segment_label=finding.text,
                    segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
                    segmented_property_type=finding.code,
                    algorithm_type="AUTOMATIC",
                    algorithm_identification=algorithm,
                    tracking_uid=finding.uid,
                    tracking_id=finding.text,
                )
                for number, finding in enumerate(result.findings(), start=1)
            ],
            series_number=_SERIES_NUMBER,
            series_description="Boxes of lesions found by detect",
            content_label="LESIONS",
            **about,
        )
        if result.warnings:
            segmentation.ContentDescription = "Scan unlike those the model was trained on"
            segmentation.ImageComments = "; ".join(result.warnings)
        segmentation.save_as(path, enforce_file_format=True)


def _ranks(result: Result, filled: Sequence[Sequence[Region]]) -> list[int]:
    """Return the ranks of the source slices: those with boxes, or all of a multi-frame file."""
    depths = [region[0] for of_lesion in filled for region in of_lesion]
    used = {rank for depth in depths for rank in range(depth.start, depth.stop)}
    if "PerFrameFunctionalGroupsSequence" not in result.image(min(used)):
        return sorted(used)
    files = {item.path for item in result.slices}
    if len(files) > 1:
        raise InputError(
            result.folder,
            f"spreads over {len(files)} multi-frame files, which one SEG cannot refer to",
            "leave out --dicom-seg, or convert the series to single-frame DICOM",
        )
    return sorted(range(len(result.slices)), key=lambda rank: result.slices[rank].frame)


def _pixels(
    result: Result,
    filled: Sequence[Sequence[Region]],
    ranks: Sequence[int],
    shape: tuple[int, int],
) -> NDArray[np.unsignedinteger]:
    """Return segment numbers ``(ranks, rows, columns)``, or a plane a segment if they overlap."""
    place = {rank: n for n, rank in enumerate(ranks)}
    parts = [
        (number, (place[rank], j, i))
        for number, of_lesion in enumerate(filled, start=1)
        for k, j, i in of_lesion
        for rank in range(k.start, k.stop)
    ]
    labels = np.zeros((len(ranks), *shape), np.uint16)
    for number, at in parts:
        if not np.isin(labels[at], (0, number)).all():
            break
        labels[at] = number
    else:
        return labels
    if labels.size * len(filled) > MOST_BYTES:
        raise InputError(
            result.folder,
            f"has {len(filled)} lesions that overlap, more than fit into one DICOM SEG",
            "raise --confidence, or leave out --dicom-seg",
        )
    planes = np.zeros((*labels.shape, len(filled)), np.uint8)
    for number, at in parts:
        planes[(*at, number - 1)] = 1
    return planes
