"""The one augmentation policy, for every family: what can differ between two CT scans.

Grey values are windowed HU, so brightness and contrast stand for the window and the contrast
phase, blur and sharpening for the reconstruction kernel, noise for the dose. There is no hue or
saturation in CT, and nobody is scanned upside down.
"""

import os
from dataclasses import dataclass
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else importing it asks the network for news
import albumentations as A


@dataclass(frozen=True)
class Geometry:
    """Geometric augmentation, as amplitudes of uniform draws.

    Attributes:
        rotation: degrees either way.
        translation: fraction of the image either way.
        scale: fraction either way.
        mirror: probability of exchanging left and right.
    """

    rotation: float = 5.0
    translation: float = 0.1
    scale: float = 0.25
    mirror: float = 0.0


GEOMETRY = Geometry()


def grey_transforms() -> list[Any]:
    """Albumentations transforms of grey values; boxes stay where they are."""
    return [
        A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.15, p=0.5),
        A.OneOf([A.GaussianBlur(sigma_limit=(0.3, 0.8)), A.Sharpen(alpha=(0.1, 0.3))], p=0.2),
        A.GaussNoise(std_range=(0.01, 0.03), per_channel=False, p=0.2),
    ]
