"""Write lesions as a DICOM SR: TID 1500 Measurement Report, one planar ROI (TID 1410) each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from converters.imaging.volume import Volume
from detect.inference.dicom.source import MANUFACTURER, Finding, Result, building
from detect.inference.label_volume import file_extent, file_shape
from detect.linking.linking import LinkedLesion

_SERIES_NUMBER = 9801
_PROCEDURES = {  # CID 100
    "CT": codes.LN.CTUnspecifiedBodyRegion,
    "MR": codes.LN.MRIUnspecifiedBodyRegion,
    "PT": codes.LN.PETUnspecifiedBodyRegion,
}


def write_structured_report(
    path: Path, result: Result, volume: Volume, lesions: Sequence[LinkedLesion]
) -> None:
    """Write a Comprehensive SR that names the patient, as its series does.

    Of each lesion it holds the class, the longest diameter (the longer side of its box in the axial
    plane: what boxes know of a RECIST diameter), the confidence in percent, and the box on the key
    slice, which is the one through the lesion's centre; and a comment for each of the warnings.

    Args:
        path: to write to.
        result: the series, the model and the lesions' rows.
        volume: the scan.
        lesions: at least one.

    Raises:
        InputError: the series' header allows no SR.
    """
    from highdicom.sr import (
        AlgorithmIdentification,
        ComprehensiveSR,
        DeviceObserverIdentifyingAttributes,
        ImageRegion,
        Measurement,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
        RelationshipTypeValues,
        SourceImageForRegion,
        TextContentItem,
        TrackingIdentifier,
    )
    from highdicom.sr import PlanarROIMeasurementsAndQualitativeEvaluations as Group

    about = result.common("SR")
    model, software = about["manufacturer_model_name"], about["software_versions"]
    algorithm = AlgorithmIdentification(name=f"{MANUFACTURER} {model}", version=software)

    def group(lesion: LinkedLesion, finding: Finding) -> Group:
        rank, rectangle = key_rectangle(volume, lesion)
        image = result.image(rank)
        enhanced = "PerFrameFunctionalGroupsSequence" in image
        frames = [result.slices[rank].frame + 1] if enhanced else None
        return Group(
            tracking_identifier=TrackingIdentifier(uid=finding.uid, identifier=finding.text),
            referenced_region=ImageRegion(
                "POLYLINE", rectangle, SourceImageForRegion.from_source_image(image, frames)
            ),
            finding_category=codes.SCT.MorphologicallyAbnormalStructure,
            finding_type=finding.code,
            algorithm_id=algorithm,
            measurements=[
                Measurement(
                    codes.SCT.LongAxis, longest_diameter(volume, lesion), codes.UCUM.Millimeter
                ),
                Measurement(
                    codes.DCM.CertaintyOfFinding, round(100 * lesion.score, 2), codes.UCUM.Percent
                ),
            ],
        )

    with building(result, "DICOM SR"):
        keys = [result.image(key_rectangle(volume, lesion)[0]) for lesion in lesions]
        evidence = list({str(image.SOPInstanceUID): image for image in keys}.values())
        content = MeasurementReport(
            observation_context=ObservationContext(
                observer_device_context=ObserverContext(
                    observer_type=codes.DCM.Device,
                    observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                        uid=result.device,
                        name=MANUFACTURER,
                        manufacturer_name=MANUFACTURER,
                        model_name=model,
                        serial_number=about["device_serial_number"],
                    ),
                )
            ),
            procedure_reported=_PROCEDURES.get(volume.modality, codes.SCT.ImagingProcedure),
            imaging_measurements=[
                group(*pair) for pair in zip(lesions, result.findings(), strict=True)
            ],
            referenced_images=_library(evidence),
        )
        for warning in result.warnings:
            content[0].ContentSequence.append(
                TextContentItem(codes.DCM.Comment, warning, RelationshipTypeValues.CONTAINS)
            )
        report = ComprehensiveSR(
            evidence=evidence,
            content=content,
            series_number=_SERIES_NUMBER,
            series_description="Lesions found by detect",
            is_complete=True,
            **about,
        )
        report.save_as(path, enforce_file_format=True)


def _library(images: list[Dataset]) -> list[Dataset] | None:
    """Return the images for the Image Library; highdicom cannot describe enhanced ones there."""
    return None if "PerFrameFunctionalGroupsSequence" in images[0] else images


def key_rectangle(volume: Volume, lesion: LinkedLesion) -> tuple[int, NDArray[np.float64]]:
    """Return the rank of the slice through a lesion's centre, and its box as a closed polyline.

    The corners ``(5, 2)`` are (column, row) in SCOORD's terms (PS3.3, C.18.6.1.2): 0\\0 is the top
    left corner of the top left pixel, whose centre is 0.5\\0.5.
    """
    low, high = file_extent(volume, lesion.low, lesion.high)
    columns, rows, slices = file_shape(volume)
    (x1, y1, _), (x2, y2, _) = (end.clip(0, (columns, rows, slices)) for end in (low, high))
    # between two slices: the lower one
    rank = int(np.clip(np.ceil((low[2] + high[2]) / 2) - 1, 0, slices - 1))
    return rank, np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)])


def longest_diameter(volume: Volume, lesion: LinkedLesion) -> float:
    """Return the longer side in mm of a lesion's box in the axial plane, to 0.01 mm."""
    return round(float(((lesion.high - lesion.low) * volume.spacing)[:2].max()), 2)
