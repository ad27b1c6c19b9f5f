"""Scans with a planted truth, and SEG and RTSTRUCT objects of that truth."""

from collections.abc import Callable, Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from converters.masks.case_source import CaseSource
from converters.recipes.recipe import Recipe
from tests.helpers import dicom_series

FRAME, STUDY = generate_uid(), generate_uid()
LOW, HIGH = 1000, 1100  # stored values: outside and inside of the truth


def recipe(kind: str, classes: dict[str, object], **more: object) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "test",
            "title": "test",
            "image": "{case}",
            "mask": "{case}/{structure}" if kind == "structures" else "{case}",
            "mask_kind": kind,
            "classes": classes,
            "window": {"level": 0, "width": 400},
            **more,
        }
    )


def source(scan: Path, mask: Path, kind: str) -> CaseSource:
    return CaseSource("c", "c", scan, mask, parts=(("", mask),), mask_kind=kind)  # type: ignore


def write_scan(
    folder: Path, truth: np.ndarray, frame: str = FRAME, **geometry: tuple[float, ...]
) -> list[Path]:
    """A CT series that is brighter where ``truth`` (slices, rows, columns) is."""

    def complete(number: int, ds: FileDataset) -> FileDataset:
        ds.FrameOfReferenceUID, ds.StudyInstanceUID = frame, STUDY
        ds.StudyDate = ds.StudyTime = ds.PatientSex = ds.StudyID = ""
        ds.ReferringPhysicianName, ds.SeriesNumber, ds.InstanceNumber = "", 1, number + 1
        return ds

    return dicom_series.write_series(folder, np.where(truth, HIGH, LOW), edit=complete, **geometry)


def describe(number: int, label: str) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


def write_seg(
    path: Path,
    scan: Sequence[Path],
    pixels: np.ndarray | hd.Volume,
    labels: Sequence[str],
    kind: str = "BINARY",
    edit: Callable[[Dataset], None] | None = None,
    **more: object,
) -> None:
    """Write pixels (slices, rows, columns, segments), or a label map, in highdicom's own way."""
    images = [dcmread(file) for file in scan]
    seg = hd.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=[describe(k + 1, label) for k, label in enumerate(labels)],
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
        **more,
    )
    if edit:
        edit(seg)
    seg.save_as(path)


def write_rtstruct(
    path: Path,
    rois: dict[str, Sequence[np.ndarray]],
    series: str = "",
    frame: str = FRAME,
    kind: str = "CLOSED_PLANAR",
) -> None:
    """Write contours, each (n, 3) in patient mm."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    ds.Modality = "RTSTRUCT"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = dicom_series.SECRETS[:3]
    image, study, place = Dataset(), Dataset(), Dataset()
    image.SeriesInstanceUID = series or generate_uid()
    study.RTReferencedSeriesSequence = [image]
    place.FrameOfReferenceUID, place.RTReferencedStudySequence = frame, [study]
    ds.ReferencedFrameOfReferenceSequence = [place]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items(), 1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, frame
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType = kind
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{value:.6f}"[:16] for value in np.ravel(points)]
            drawn.ContourSequence.append(contour)
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(drawn)
    ds.save_as(path, enforce_file_format=True)
