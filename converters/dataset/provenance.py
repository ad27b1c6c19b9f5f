"""Keep case, patient, lesion and size of the images and boxes of a split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Origins:
    """Case, patient, lesion and size of images and true boxes; all lists go by image.

    Attributes:
        case: scan of each image.
        patient: of each image; a patient can have several scans.
        lesion: int64 id of the 3D lesion of each true box, one count for each case; below 0: not
            known, and the box is a lesion of its own.
        diameter_mm: longest axial diameter of each true box's own component; NaN: not known.
        area: of each true box as COCO's size ranges read it, px²: of its component; NaN: not known.
    """

    case: Sequence[str]
    patient: Sequence[str]
    lesion: Sequence[NDArray[np.int64]]
    diameter_mm: Sequence[NDArray[np.float64]]
    area: Sequence[NDArray[np.float64]]
