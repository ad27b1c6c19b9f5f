"""A trained model, or an ensemble, as an object of the library: `detect.load_model`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.core.errors import InputError, ParameterError
from converters.imaging.orientation import SPACING_RANGE_MM
from converters.imaging.stored import Stored, intensities
from converters.imaging.volume import Volume
from detect.inference.case_names import name_cases
from detect.inference.detections import Detections
from detect.inference.find_scans import ScanTask, discover_at
from detect.inference.model_set import ModelPaths, ModelSet, load_models, read_models_for_scans
from detect.inference.scan import detect_lesions, hash_scan, load_scan, view_scan

_ARRAY_TASK = ScanTask(Path("scan"), name="scan")  # errors name the parameter


def load_model(
    model: ModelPaths,
    device: str | None = None,
    runtime: str | None = None,
    *,
    confidence: float | None = None,
    augment: bool = False,
) -> "Model":
    """Load a model of `detect train`, or several as an ensemble, to predict on single scans.

    Args:
        model: the model's folder, or several folders, whose boxes are fused.
        device: `auto`, `cpu`, or a GPU's number; None is `auto`.
        runtime: `torch`, or an export of `detect export`; None is `torch`.
        confidence: report boxes with this score or more, in [0, 1]; None takes the model's
            operating point, or the mean of several models'.
        augment: fuse the boxes of each slice, of its mirror image and of the slice with a margin.

    Returns:
        The loaded model; `model.predict("scan.nii.gz")` finds the lesions of a scan.

    Raises:
        InputError: there is no such model or export, or the models do not fit each other.
    """
    models = read_models_for_scans(model, confidence, runtime or "torch", augment)
    return Model(models, device or "auto")


class Model:
    """A loaded model, or an ensemble of several.

    Attributes:
        classes: class names in order of their index.
        modality: of the scans that it is for, as DICOM's code (`CT`, `MR`, …).
        confidence: boxes with this score or more are reported.
    """

    def __init__(self, models: ModelSet, device: str) -> None:
        """Load the weights of the models onto a device."""
        self._models, self._device = models, device
        self._detector = load_models(models, device)
        self.classes = list(models.spec.classes)
        self.modality = models.spec.representation.modality
        self.confidence = models.confidence

    def predict(
        self,
        scan: str | Path | NDArray[np.generic] | Volume,
        spacing_mm: Sequence[float] | None = None,
    ) -> Detections:
        """Find the lesions of one scan, exactly as `detect predict` does; nothing is written.

        Args:
            scan: a file, or a folder with one DICOM series, that `detect predict` reads; or a
                `Volume`; or an array ``(slices, rows, columns)`` of finite numbers, HU for CT, in
                the canonical frame: slice 0 is the most inferior, row 0 anterior, column 0 the
                patient's right (LPS), with its first voxel's centre at (0, 0, 0) mm.
            spacing_mm: of an array alone, and needed there: voxel size in mm along
                (slice, row, column), the order of the array's axes.

        Returns:
            The lesions, and the boxes of each slice.

        Raises:
            InputError: the scan cannot be read or does not suit the model, a folder holds no scan
                or several, or the array or its spacing is wrong.
        """
        models = self._models
        if isinstance(scan, np.ndarray):
            volume = _volume(scan, spacing_mm)
        elif spacing_mm is not None:
            raise ParameterError(
                "spacing_mm", "is given for a scan that states its own", "leave it out"
            )
        elif isinstance(scan, Volume):
            volume = replace(scan, array=_intensities(scan.array))
        elif isinstance(scan, str | Path):
            task = self._task(Path(scan))
            loaded = load_scan(task, hash_scan(task), models)
            return detect_lesions(loaded, self._detector, models, self._device)
        else:
            raise ParameterError(
                "scan",
                f"is a {type(scan).__name__}",
                "give a path, a numpy array or a Volume",
            )
        loaded = view_scan(_ARRAY_TASK, "", volume, models)
        return detect_lesions(loaded, self._detector, models, self._device)

    def __repr__(self) -> str:
        """Name the model, its classes and its confidence."""
        return (
            f"<Model {self._models.card.spec.model}: {self.modality}, classes"
            f" {', '.join(self.classes)}, confidence {self.confidence:.3g},"
            f" {self._models.runtime} on {self._device}>"
        )

    def _task(self, path: Path) -> ScanTask:
        """Return the one scan at a path."""
        discovered = discover_at(path, self.modality)
        if not discovered.scans:
            raise discovered.errors[0]
        if len(discovered.scans) > 1:
            raise InputError(
                path,
                f"holds {len(discovered.scans)} scans",
                "give one of them, or use `detect.predict` for all of them",
            )
        return name_cases(discovered.scans)[0]


def _volume(array: NDArray[np.generic], spacing_mm: Sequence[float] | None) -> Volume:
    """Place an array of the canonical frame at the origin."""
    if spacing_mm is None:
        raise ParameterError(
            "spacing_mm", "is missing", "give the voxel size in mm as (slice, row, column)"
        )
    return Volume(_intensities(array), np.diag([*_spacing(spacing_mm)[::-1], 1.0]), np.eye(4))


def _spacing(spacing_mm: Any) -> list[float]:
    try:
        sizes = [float(size) for size in spacing_mm]
    except (TypeError, ValueError):
        sizes = []
    low, high = SPACING_RANGE_MM
    if len(sizes) != 3 or not all(low <= size <= high for size in sizes):
        raise ParameterError(
            "spacing_mm",
            f"is {spacing_mm!r}, but must be three sizes from {low:g} to {high:g} mm",
            "give the voxel size in mm as (slice, row, column)",
        )
    return sizes


def _intensities(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Check an array, and convert it as `read_volume` does: int16, or float32."""
    if array.ndim != 3 or not array.size:
        raise ParameterError(
            "scan", f"has the shape {array.shape}", "give an array (slices, rows, columns)"
        )
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise ParameterError(
            "scan", f"is an array of {array.dtype}", "give whole or floating-point numbers"
        )
    if not np.isfinite(array).all():
        raise ParameterError(
            "scan",
            "holds values that are not finite numbers",
            "replace them, in CT by the HU of air (-1024)",
        )
    stored = Stored(np.ascontiguousarray(array), np.eye(4))
    return intensities(stored, _ARRAY_TASK.path)
