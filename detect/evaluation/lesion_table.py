"""Gather true boxes into 3D lesions with case, patient, class and diameter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.dataset.provenance import Origins
from detect.evaluation.matching import Matches

DIAMETERS_MM = (0.0, 5.0, 10.0, 20.0, float("inf"))
"""Bounds of the ranges of lesion diameter: from the lower one on, below the upper one."""


@dataclass(frozen=True)
class Lesions:
    """The 3D lesions of a set, in an order that depends on the names of their cases alone.

    Attributes:
        of_box: ``(m,)`` int64 lesion of each true box.
        case: ``(lesions,)`` int64 index of its case among the sorted names of the cases.
        patient: ``(lesions,)`` int64 index of its patient among the sorted names of the patients.
        label: ``(lesions,)`` int64 class index.
        diameter_mm: ``(lesions,)`` the greatest diameter of its boxes: the longest axial diameter
            of the lesion, as RECIST 1.1 measures it (Eisenhauer et al., Eur J Cancer 2009); NaN
            where it is not known.
    """

    of_box: NDArray[np.int64]
    case: NDArray[np.int64]
    patient: NDArray[np.int64]
    label: NDArray[np.int64]
    diameter_mm: NDArray[np.float64]

    def __len__(self) -> int:
        """Count the lesions."""
        return len(self.label)


def index_names(names: Sequence[str]) -> tuple[NDArray[np.int64], int]:
    """Return the index of each name among the sorted names, and the number of different names."""
    unique, index = np.unique(np.asarray(names, dtype=np.str_), return_inverse=True)
    return index.astype(np.int64), len(unique)


def concatenated(parts: Sequence[NDArray[Any]], dtype: type) -> NDArray[Any]:
    """Join arrays that go by image."""
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)


def find_lesions(matches: Matches, origins: Origins) -> Lesions:
    """Gather the true boxes into lesions.

    Raises:
        ValueError: the origins are not those of the images and true boxes.
    """
    lesion, diameter = (
        concatenated(origins.lesion, np.int64),
        concatenated(origins.diameter_mm, np.float64),
    )
    counts = [len(ids) for ids in origins.lesion]
    expected = np.bincount(matches.truth_image, minlength=matches.num_images).tolist()
    if counts != expected or len(diameter) != len(lesion):
        raise ValueError("a lesion and a diameter is needed for each true box")
    if not len(origins.case) == len(origins.patient) == matches.num_images:
        raise ValueError("a case and a patient is needed for each image")
    case_of_image, _ = index_names(origins.case)
    patient_of_image, _ = index_names(origins.patient)
    case, patient = case_of_image[matches.truth_image], patient_of_image[matches.truth_image]
    alone = np.where(lesion < 0, 1 + np.arange(len(lesion)), 0)
    keys = np.stack([case, np.where(lesion < 0, -1, lesion), alone])
    _, first, of_box = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    of_box = of_box.reshape(-1)  # numpy 2.0 gives it another shape
    greatest = np.full(len(first), -np.inf)
    np.maximum.at(greatest, of_box, np.where(np.isnan(diameter), -np.inf, diameter))
    return Lesions(
        of_box=of_box.astype(np.int64),
        case=case[first],
        patient=patient[first],
        label=matches.truth_label[first],
        diameter_mm=np.where(np.isinf(greatest), np.nan, greatest),
    )


def in_range(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    """Tell for each value whether it lies from `low` on and below `high`."""
    return (values >= low) & (values < high)
