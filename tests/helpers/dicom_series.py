"""Make small DICOM series on disk, right ones and wrong ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

SECRETS = ("DOE^JANE", "PID-4711", "19700101", "ACC-0815", "SECRET-DESCRIPTION")


def slice_dataset(
    pixels: np.ndarray,
    position: tuple[float, float, float],
    series: str,
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    spacing: tuple[float, float] = (0.75, 0.5),  # between rows, between columns
    slope: float = 1.0,
    intercept: float = -1024.0,
) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.SeriesInstanceUID = series
    ds.Modality = "CT"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = SECRETS[:3]
    ds.AccessionNumber, ds.SeriesDescription = SECRETS[3:]
    ds.ImagePositionPatient = [float(value) for value in position]
    ds.ImageOrientationPatient = [float(value) for value in orientation]
    ds.PixelSpacing = list(spacing)
    ds.SliceThickness = 2.5
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    put_pixels(ds, pixels)
    return ds


def put_pixels(ds: Dataset, pixels: np.ndarray) -> None:
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    ds.PixelData = np.ascontiguousarray(pixels, np.uint16).tobytes()


def write_series(
    folder: Path,
    pixels: np.ndarray,
    edit: Callable[[int, FileDataset], FileDataset | None] | None = None,
    origin: tuple[float, float, float] = (-10.0, 20.0, 30.0),
    step: tuple[float, float, float] = (0.0, 0.0, 2.0),
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
) -> list[Path]:
    """Write ``pixels`` (slices, rows, columns) under names whose order is not the slices'.

    ``edit`` may change slice ``n`` or return None to leave it out. Returns the paths by slice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series = generate_uid()
    names = np.random.default_rng(5).permutation(len(pixels))
    paths = []
    for number, plane in enumerate(pixels):
        position = tuple(np.array(origin) + number * np.array(step))
        ds = slice_dataset(plane, position, series, orientation)
        changed = edit(number, ds) if edit else ds
        if changed is not None:
            paths.append(folder / f"IM{names[number]:04d}")
            changed.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_enhanced(path: Path, pixels: np.ndarray, order: list[int]) -> None:
    """Write one enhanced CT file whose frames stand in ``order``."""
    ds = slice_dataset(pixels[0], (0, 0, 0), generate_uid())
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(ds, keyword)
    put_pixels(ds, pixels[order])
    ds.NumberOfFrames = len(order)
    measures, plane, values = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.75, 0.5], 2.0
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    values.RescaleSlope, values.RescaleIntercept = 1, -1024
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([plane])
    shared.PixelValueTransformationSequence = Sequence([values])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for number in order:
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = [-10.0, 20.0, 30.0 + 2.0 * number]
        frame.PlanePositionSequence = Sequence([place])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    ds.save_as(path, enforce_file_format=True)


def write_dicom(folder: Path, hu: np.ndarray, series: str = "1.2.826.0.1.3680043.2.1125.1") -> None:
    """Write a CT series through SimpleITK: an independent writer."""
    import SimpleITK as sitk

    folder.mkdir()
    for z, layer in enumerate(hu):
        image = sitk.GetImageFromArray(layer[None])
        image.SetSpacing((4.0, 4.0, 5.0))
        for tag, value in {
            "0008|0060": "CT",
            "0020|000e": series,
            "0020|0032": f"0\\0\\{5 * z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(z + 1),
        }.items():
            image.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{z}.dcm"))
        writer.Execute(image)
